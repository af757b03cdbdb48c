"""The life of runs in this process: start, find, wait, cancel; and what the journal knows of all others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from massgen_mcp.errors import AlreadyAsked, JournalError, RequestRefused, RunNotFound
from massgen_mcp.journal import Journal, RunRow
from massgen_mcp.runs.admission import Admission, Books
from massgen_mcp.runs.ask import Ask, digest_of
from massgen_mcp.runs.asked import Asked, Asking, without_secrets
from massgen_mcp.runs.attach import digests_of
from massgen_mcp.runs.catalogue import fitting
from massgen_mcp.runs.driving import drive
from massgen_mcp.runs.handle import RunHandle
from massgen_mcp.runs.joining import Joining
from massgen_mcp.runs.launch import Launcher
from massgen_mcp.runs.made import read_change, read_file
from massgen_mcp.runs.others import Others
from massgen_mcp.runs.places import Places
from massgen_mcp.runs.result import RunResult
from massgen_mcp.runs.retention import Retention, prune
from massgen_mcp.runs.settings import OnDisconnect
from massgen_mcp.runs.taking_up import take_up_interrupted
from massgen_mcp.runs.users import User, UserJournal, UserTeams
from massgen_mcp.runs.world import ResolvedTeam, Teams, World
from massgen_mcp.secrets import Secrets

__all__ = ["Runs"]

_logger = logging.getLogger(__name__)
_KEPT = 100
"""Finished runs kept in memory; all others are read back from the journal."""
_CLOSING_SECONDS = 5.0
_DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """What all users of a process share."""

    places: Places
    retention: Retention
    admission: Admission


class Runs:
    """All runs, whoever asks for them. Make it inside the task group that owns their work.

    Args:
        world: everything outside.
        tasks: owns the work of all runs.
        users: a user by name, as they are now; of a name that is nobody's any more, None. Without it this
            process serves no users.
        shared: of the runs of everybody, where these are one user's.
    """

    def __init__(
        self,
        world: World,
        tasks: TaskGroup,
        *,
        users: Callable[[str], User | None] | None = None,
        shared: _Shared | None = None,
    ) -> None:
        self._world = world
        self._users = users
        self._tasks = tasks
        self._handles: dict[str, RunHandle] = {}
        self._journal: Journal | None = None
        self._opening = anyio.Lock()
        self._launcher = Launcher(lambda: self._world, self.journal, self._go)
        self._asking = Asking()
        self._joining = Joining(
            handles=self._handles, journal=self.journal, journal_of=self.journal_of, resume=self.resume
        )
        self._others = Others(journal=self.journal, clock=world.clock)
        self._user: User | None = None
        self._views: dict[str, Runs] = {}
        self._books = Books(journal=self.journal, handles=self._everybodys, clock=world.clock)
        self._shared = shared or _Shared(
            places=Places(runs=world.max_runs, agents=world.max_agents, memory=world.max_memory),
            retention=Retention(
                state=world.state_dir, keep_days=world.keep_days, clock=world.clock, journal=self.journal
            ),
            admission=Admission(self._books, usd_per_day=world.usd_per_day, state=world.state_dir),
        )

    def for_user(self, user: User) -> Runs:
        """The runs as one user has them: only their own, within what they are allowed."""
        view = self._views.get(user.name)
        if view is None:
            view = self._views[user.name] = Runs(self._world, self._tasks, shared=self._shared)
        if view._user != user:

            async def open_journal() -> Journal:
                return UserJournal(await self.journal(), user.name)

            view._user = user
            view._world = replace(
                self._world, teams=UserTeams(self._world.teams, user), open_journal=open_journal
            )
        return view

    def _everybodys(self) -> list[RunHandle]:
        """The runs of this process that may be seen here, those of users included."""
        found = dict(self._handles)
        for view in self._views.values():
            found |= view._handles  # noqa: SLF001 - of this class
        return list(found.values())

    @property
    def teams(self) -> Teams:
        """Where teams come from."""
        return self._world.teams

    @property
    def secrets(self) -> Secrets:
        """What must not be shown."""
        return self._world.secrets

    @property
    def on_disconnect(self) -> OnDisconnect:
        """What becomes of a run whose caller goes away."""
        return self._world.on_disconnect

    @property
    def keep_days(self) -> float | None:
        """How long a run is kept once it is over; None: until someone deletes it."""
        return self._world.keep_days

    async def catalogue(
        self, backend: str | None = None, task: str | None = None, *, limit: int | None = None
    ) -> dict[str, Any]:
        """Backends and teams, ready or why not, and what was spent today, as `list_backends` returns it.

        With `limit`, details that are to be had elsewhere are left out until it fits so many bytes of JSON.

        Raises:
            RequestRefused: there is no such backend or task.
        """
        found = await self._world.teams.catalogue(backend, task)
        try:
            found |= {"spent_today_usd": await self._books.spent_today()}
        except JournalError as error:
            found |= {"journal": str(error)}
        return found if limit is None or backend is not None else fitting(found, limit)

    # Asking.

    async def ask(self, ask: Ask) -> Asked:
        """Put a question to a team, or join the run of the same one. The run goes on by itself from here.

        Joined is a run that is live, in any process, or that is over with an answer nobody has collected.

        Raises:
            ConfigError, RequestRefused: it can't be asked; nothing was spent.
            RunNotFound: there is no run to continue.
            ReplayRefused: the run to continue can't be taken up again.
            JournalError: there is nowhere to keep what will be paid for; nothing was spent.
        """
        return await self._ask(ask, join=True)

    async def start(self, ask: Ask) -> RunHandle:
        """Put a question to a team, whoever has asked the same. Raises as `ask` does."""
        asked = await self._ask(ask, join=False)
        if asked.handle is None:
            raise await self._joining.held_elsewhere(asked.run_id)
        return asked.handle

    async def _ask(self, ask: Ask, *, join: bool) -> Asked:
        ask = without_secrets(ask, self.secrets.redact)
        material = await self._world.gather(ask)
        digests = digests_of(material)
        if ask.continue_run:
            asked = await self._joining.gone_on(ask, digests)
            if asked is not None:
                return asked
        digest = digest_of(ask, digests, project=str(self._world.project or ""))
        async with self._asking.of(digest):
            asked = await self._joining.same(digest) if join else None
            if asked is not None:
                return asked
            follow = None
            if ask.continue_run:
                follow = await self._joining.followed(ask.continue_run, self.secrets.redact)
            left = await self._joining.left(digest, since=self._world.clock.now() - _DAY, user=self._user)
            begin = partial(
                self._launcher.begin, ask, material, digest, follow=follow, admitted=self._admitted
            )
            try:
                handle = await begin(join=join)
            except AlreadyAsked as error:
                if error.run_id not in self._handles:
                    return Asked(run_id=error.run_id, attached=True)
                handle = await begin()  # that one is known better here: it is about to stop, or was answered
            handle.warnings += [left] if left else []
        self._tasks.start_soon(self._shared.retention.tidy)
        return Asked(run_id=handle.run_id, handle=handle)

    def _admitted(
        self, ask: Ask, team: ResolvedTeam
    ) -> AbstractAsyncContextManager[tuple[Ask, ResolvedTeam]]:
        return self._shared.admission.admitted(ask, team, user=self._user, theirs=self._books)

    def _go(self, handle: RunHandle) -> None:
        """The run is in motion from here on."""
        self._handles.pop(handle.run_id, None)  # what was known of it here before it was interrupted
        self._handles[handle.run_id] = handle
        self._tasks.start_soon(self._drive, handle)

    async def _drive(self, handle: RunHandle) -> None:
        await drive(handle, self._shared.places, note=self._books.note)
        if handle.result is not None and handle.result.status == "interrupted":
            self._handles.pop(handle.run_id, None)  # its records say more than this process can
        self._forget()

    # Going on after an end of the process.

    async def resume(self, run_id: str) -> RunHandle:
        """Take an interrupted run up where it stopped. What is journalled is neither paid nor done again.

        Raises:
            RunNotFound: there is no such run.
            RunTaken: it is alive, in this process or another.
            RunOver: it is finished.
            ReplayRefused: its team or this program have changed since; it stays as it is.
            ConfigError, RequestRefused: its team can't be used now.
            JournalError: its records can't be read.
        """
        return await self._launcher.resume(run_id, admitted=self._admitted)

    async def team_of(self, run_id: str) -> str:
        """The team that a run was asked of, as its caller named it; empty where none was named.

        Raises:
            RunNotFound: there is no such run.
            JournalError: its first record can't be read.
        """
        first = (await (await self.journal()).read(run_id, limit=1))[0]
        return str(first.body.get("asked", {}).get("team") or "")

    async def resume_interrupted(self) -> None:
        """Go on with all runs of the last day whose processes are gone, each within what its user may do now.

        Where no users are served, theirs are left alone. One that can't go on stays as it is; the log says
        why.
        """
        await take_up_interrupted(
            self.journal,
            since=self._world.clock.now() - _DAY,
            mine=lambda row: not row.user or self._users is not None,
            resume=lambda row: self._of(row.user).resume(row.run_id),
        )

    def _of(self, user: str) -> Runs:
        """The runs of a user who may not have come by yet; without a name, of everybody.

        Raises:
            RequestRefused: nobody is called so any more.
        """
        if not user:
            return self
        known = None if self._users is None else self._users(user)
        if known is None:
            raise RequestRefused(f"it is {user}'s, whose token is no good any more.")
        return self.for_user(known)

    def live(self, run_id: str) -> RunHandle | None:
        """The handle of a run of this process, in motion or lately over."""
        return self._handles.get(run_id)

    async def result(self, run_id: str) -> RunResult:
        """What is known of a run, of this process or any other on the same state folder.

        Raises:
            RunNotFound: there is no such run.
        """
        handle = self._handles.get(run_id)
        return await self._others.result(run_id) if handle is None else handle.status()

    async def wait(self, run_id: str, seconds: float) -> RunResult:
        """The result as soon as the run is over, or how far it is after `seconds`.

        Raises:
            RunNotFound: there is no such run.
        """
        handle = self._handles.get(run_id)
        return await (self._others.wait(run_id, seconds) if handle is None else handle.wait(seconds))

    async def cancel(self, run_id: str, reason: str) -> RunResult:
        """Stop a run and return what it has. One that is over stays as it is.

        Raises:
            RunNotFound: there is no such run.
        """
        handle = self._handles.get(run_id)
        if handle is None:
            return await self._others.cancel(run_id, reason, within=_CLOSING_SECONDS)
        handle.cancel(reason)
        return await handle.wait(_CLOSING_SECONDS)

    async def deliver(self, run_id: str) -> None:
        """Keep that a caller has been handed a run's result: who asks the same again starts anew."""
        handle = self._handles.get(run_id)
        try:
            await (await self.journal_of(run_id)).deliver(run_id)
        except (JournalError, RunNotFound) as error:  # the disk is full, or it was deleted just now
            _logger.warning("run %s: that its result was handed over is not kept: %s", run_id, error)
        if handle is not None:
            handle.delivered = True

    async def file(self, run_id: str, path: str) -> tuple[str, bytes]:
        """Media type and content of a file that came with a run's answer.

        Raises:
            RunNotFound: there is none, or it is too large to hand on.
        """
        return await anyio.to_thread.run_sync(read_file, await self._folders(run_id), run_id, path)

    async def change(self, run_id: str, path: str) -> str:
        """How a run changed a file of the project, as a unified diff.

        Raises:
            RunNotFound: it did not.
        """
        return await anyio.to_thread.run_sync(read_change, await self._folders(run_id), run_id, path)

    async def _folders(self, run_id: str) -> Path:
        """Where the folders of runs lie, for who may see this run."""
        if self._user is not None:
            await (await self.journal_of(run_id)).row(run_id)
        if self._world.state_dir is None:
            raise RunNotFound(f"Run {run_id} has no files.")
        return self._world.state_dir

    async def prune(self, days: float) -> Sequence[str]:
        """Delete the runs that have been over for so long, with their files. Returns their ids."""
        now = self._world.clock.now()
        return await prune(await self.journal(), self._world.state_dir, days, now=now)

    async def tidy(self) -> None:
        """Delete what is kept no longer, unless that was done today, and what is half deleted."""
        await self._shared.retention.sweep()
        await self._shared.retention.tidy()

    async def rows(self, *, limit: int = 20, before: float | None = None) -> Sequence[RunRow]:
        """The latest runs, newest first, of every process on this state folder."""
        return await (await self.journal()).rows(limit=limit, before=before)

    async def journal(self) -> Journal:
        """The journal of the state folder, opened at first use.

        Raises:
            JournalError: it can't be opened; the text says why and what to do.
        """
        async with self._opening:
            if self._journal is None:
                self._journal = await self._world.open_journal()
            return self._journal

    async def journal_of(self, run_id: str) -> Journal:
        """The journal that holds a run's records: a team with `journal: off` has one in memory.

        Raises:
            JournalError: it can't be opened.
        """
        handle = self._handles.get(run_id)
        return await self.journal() if handle is None else handle.journal

    async def aclose(self) -> None:
        """Let go of the journal. Runs still in motion show as interrupted."""
        if self._journal is not None:
            for runs in (self, *self._views.values()):
                for handle in runs._handles.values():  # noqa: SLF001 - of this class
                    await runs._books.note(handle)  # noqa: SLF001 - of this class
            with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                await self._journal.aclose()

    def _forget(self) -> None:
        over = [run_id for run_id, handle in self._handles.items() if handle.result is not None]
        for run_id in over[: max(0, len(over) - _KEPT)]:
            del self._handles[run_id]
