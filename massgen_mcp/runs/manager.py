"""The life of runs in this process: start, find, wait, cancel; and what the journal knows of all others."""

from __future__ import annotations

import logging
import platform
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from massgen_mcp import __version__
from massgen_mcp.engine import Board, Member
from massgen_mcp.errors import JournalError, MassgenError, RunNotFound
from massgen_mcp.journal import Journal, MemoryJournal, RunLog, RunRow, read_intact, summarise
from massgen_mcp.runs.ask import Ask
from massgen_mcp.runs.attach import attach
from massgen_mcp.runs.catalogue import fitting
from massgen_mcp.runs.handle import RunHandle
from massgen_mcp.runs.made import read_change, read_file
from massgen_mcp.runs.names import new_run_id
from massgen_mcp.runs.past import result_of_record, with_warning
from massgen_mcp.runs.places import Places, load_of
from massgen_mcp.runs.result import RunResult, TeamInfo
from massgen_mcp.runs.retention import Retention, prune
from massgen_mcp.runs.shape import finished_result
from massgen_mcp.runs.users import User, UserJournal, UserTeams, allowed
from massgen_mcp.runs.world import ResolvedTeam, Teams, World
from massgen_mcp.secrets import Secrets
from massgen_mcp.team import EventLog, Limits, Ports, TeamRun, TeamSpec
from massgen_mcp.team.prompts import PROMPTS_VERSION
from massgen_mcp.team.spec import Attached
from massgen_mcp.telemetry import run_span

__all__ = ["Runs"]

_logger = logging.getLogger(__name__)
_KEPT = 100
"""Finished runs kept in memory; all others are read back from the journal."""
_CLOSING_SECONDS = 5.0


class Runs:
    """All runs, whoever asks for them. Make it inside the task group that owns their work."""

    def __init__(self, world: World, tasks: TaskGroup) -> None:
        self._world = world
        self._tasks = tasks
        self._handles: dict[str, RunHandle] = {}
        self._journal: Journal | None = None
        self._opening = anyio.Lock()
        self._places = Places(runs=world.max_runs, agents=world.max_agents, memory=world.max_memory)
        self._retention = Retention(
            state=world.state_dir,
            keep_days=world.keep_days,
            clock=world.clock,
            journal=self.journal,
        )
        self._user: User | None = None
        self._views: dict[str, Runs] = {}
        self._admission = anyio.Lock()

    def for_user(self, user: User) -> Runs:
        """The runs as one user has them: only their own, within what they are allowed."""
        view = self._views.get(user.name)
        if view is None:
            view = self._views[user.name] = Runs(self._world, self._tasks)
            view._places = self._places
            view._retention = self._retention
        if view._user != user:

            async def open_journal() -> Journal:
                return UserJournal(await self.journal(), user.name)

            view._user = user
            view._world = replace(
                self._world, teams=UserTeams(self._world.teams, user), open_journal=open_journal
            )
        return view

    def _everybodys(self) -> dict[str, RunHandle]:
        """The runs of this process that may be seen here, those of users included."""
        found = dict(self._handles)
        for view in self._views.values():
            found |= view._handles  # noqa: SLF001 - of this class
        return found

    @property
    def teams(self) -> Teams:
        """Where teams come from."""
        return self._world.teams

    @property
    def secrets(self) -> Secrets:
        """What must not be shown."""
        return self._world.secrets

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
            found |= {"spent_today_usd": await self._spent_today()}
        except JournalError as error:
            found |= {"journal": str(error)}
        return found if limit is None or backend is not None else fitting(found, limit)

    async def _spent_today(self) -> float:
        """US dollars of all runs on this state folder that began today, UTC, and of those not kept there."""
        now = self._world.clock.now()
        journal = await self.journal()
        journals = [handle.journal for handle in self._everybodys().values()]
        unkept = [place for place in journals if isinstance(place, MemoryJournal)]
        unkept = [place for place in unkept if place is not journal]
        return round(sum([await place.spent(now - now % 86_400) for place in (journal, *unkept)]), 6)

    async def start(self, ask: Ask) -> RunHandle:
        """Put a question to a team. The run goes on by itself from here.

        Raises:
            ConfigError, RequestRefused: it can't be asked; nothing was spent.
            JournalError: there is nowhere to keep what will be paid for; nothing was spent.
        """
        material = await self._world.gather(ask)
        team = await self._world.teams.resolve(ask)
        self._keep_secret(team)
        seated = attach(
            team.agents,
            team.equipment,
            material,
            least=team.settings.min_agents,
            project=self._world.project,
        )
        team = replace(
            team,
            agents=seated.agents,
            equipment=seated.equipment,
            warnings=(*team.warnings, *seated.warnings),
        )
        async with self._admitted(ask) as ask_within:
            return await self._launch(ask_within, team, seated.attached)

    @asynccontextmanager
    async def _admitted(self, ask: Ask) -> AsyncGenerator[Ask]:
        """The question within what its user may spend; one at a time, so that no two spend the same.

        Raises:
            RequestRefused: no further run fits. Nothing was spent.
        """
        user = self._user
        if user is None:
            yield ask
            return
        async with self._admission:
            live = [handle for handle in self._handles.values() if handle.result is None]
            spent = 0.0 if user.usd_per_day is None else await self._spent_today()
            yield allowed(user, ask, running=len(live), spent=spent, committed=sum(map(_unspent, live)))

    async def _launch(self, ask: Ask, team: ResolvedTeam, attached: Attached) -> RunHandle:
        random = self._world.random()
        spec = _spec(ask, team, random, attached)
        journal = await self.journal() if team.journalled else self._unkept()
        log, usual = await self._begin(spec, team, random, journal)
        ports = Ports(
            clock=self._world.clock,
            random=random,
            open_backend=self._world.open_backend,
            place=self._world.place,
            open_workshop=self._world.open_workshop,
        )
        run = TeamRun(
            spec, ports=ports, prices=self._world.prices, log=EventLog(log, redact=self._world.secrets.redact)
        )
        info = TeamInfo(name=team.name, why=team.why)
        handle = RunHandle(run, team=info, warnings=list(team.warnings), usual_seconds=usual, journal=journal)
        self._handles[handle.run_id] = handle
        self._tasks.start_soon(self._drive, handle)
        self._tasks.start_soon(self._retention.tidy)
        return handle

    def _unkept(self) -> Journal:
        """The journal of a team that wants none on disk; what is shown of it is redacted all the same."""
        return MemoryJournal(clock=self._world.clock, redact=self.secrets.redact_value)

    def _keep_secret(self, team: ResolvedTeam) -> None:
        """Know every secret of the team before a word of the question is written down."""
        for agent in team.agents:
            keys = (agent.api_key, agent.options.api_key)
            for key in keys:
                if key is not None:
                    self.secrets.add(key.get_secret_value(), agent.key_name or f"{agent.id}.api_key")
            for name, value in agent.options.extra_headers.items():
                self.secrets.add(value, f"{agent.id}.{name}")
        for agent, tools in team.equipment.tools.items():
            for server in tools.mcp_servers:
                for name, value in server.secrets:
                    self.secrets.add(value, f"{agent}.{server.name}.{name}")

    def live(self, run_id: str) -> RunHandle | None:
        """The handle of a run of this process, in motion or lately over."""
        return self._handles.get(run_id)

    async def result(self, run_id: str) -> RunResult:
        """What is known of a run, of this process or any other on the same state folder.

        Raises:
            RunNotFound: there is no such run.
        """
        handle = self._handles.get(run_id)
        if handle is not None:
            return handle.status()
        journal = await self.journal()
        row = await journal.row(run_id)
        records, damage = await read_intact(journal, run_id)
        result = result_of_record(row, summarise(records, state=row.state))
        return result if damage is None else with_warning(result, str(damage))

    async def wait(self, run_id: str, seconds: float) -> RunResult:
        """The result as soon as the run is over, or how far it is after `seconds`.

        Raises:
            RunNotFound: there is no such run.
        """
        handle = self._handles.get(run_id)
        if handle is not None:
            return await handle.wait(seconds)
        result = await self.result(run_id)
        deadline = self._world.clock.monotonic() + seconds
        while result.status == "running" and self._world.clock.monotonic() < deadline:
            await self._world.clock.sleep(0.25)
            result = await self.result(run_id)
        return result

    async def cancel(self, run_id: str, reason: str) -> RunResult:
        """Stop a run and return what it has. One that is over stays as it is.

        Raises:
            RunNotFound: there is no such run.
        """
        handle = self._handles.get(run_id)
        if handle is not None:
            handle.cancel(reason)
            return await handle.wait(_CLOSING_SECONDS)
        result = await self.result(run_id)
        if result.status != "running":
            return result
        await (await self.journal()).request_cancel(run_id, reason)
        return await self.wait(run_id, _CLOSING_SECONDS)

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
        await self._retention.sweep()
        await self._retention.tidy()

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
            with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                await self._journal.aclose()

    # One run.

    async def _begin(
        self, spec: TeamSpec, team: ResolvedTeam, random: Random, journal: Journal
    ) -> tuple[RunLog, float | None]:
        run_id = new_run_id(self._world.clock.now(), random)
        usual = _usual_seconds(await journal.rows(limit=50), team.name)
        body = {
            "question": spec.question,
            "context": spec.context,
            **({"attached": dict(spec.attached.digests)} if spec.attached.digests else {}),
            "team": team.name,
            "why": team.why,
            "strategy": spec.strategy,
            "config": dict(spec.config),
            "agents": [
                {"id": agent.id, "backend": agent.info.type, "model": agent.options.model}
                for agent in spec.agents
            ],
            "labels": dict(Board.begin([Member(id=agent.id) for agent in spec.agents], spec.settings).labels),
            "seed": spec.settings.seed,
            "prompts": PROMPTS_VERSION,
            "version": __version__,
            "host": platform.node(),
        }
        log = await journal.begin(run_id, question=spec.question, team=team.name, body=body)
        return log, usual

    async def _drive(self, handle: RunHandle) -> None:
        """The edge of a run: whatever ends it, its callers get a result."""
        log = handle.run.log
        try:
            result = await self._in_turn(handle)
        except MassgenError as error:
            result = await _kept(handle, self._broken(handle, str(error)))
        except Exception:
            # A defect of ours must not take down the server and the runs beside this one.
            _logger.exception("run %s broke", handle.run_id)
            why = "a defect in massgen-mcp; its log on stderr has the details"
            result = await _kept(handle, self._broken(handle, why))
        handle.finish(result)
        log.close()
        self._forget()

    async def _in_turn(self, handle: RunHandle) -> RunResult:
        """Drive the run once there is a place for it; one that is cancelled while it queues never begins."""
        run = handle.run
        begun = False

        def queued(words: str) -> None:
            handle.queued = words

        async with AsyncExitStack() as stack:
            with handle.queue:
                await stack.enter_async_context(self._places.place(load_of(run.spec.agents), queued))
                begun = True
            if not begun:
                return await self._never_begun(handle)
            with run_span(run_id=handle.run_id, team=handle.team.name, strategy=run.spec.strategy):
                ended = await run.drive()
        return await _kept(handle, finished_result(run, ended, team=handle.team, warnings=handle.warnings))

    async def _never_begun(self, handle: RunHandle) -> RunResult:
        handle.queued = ""
        stopped = handle.status().model_copy(
            update={"status": "cancelled", "stopped_by": "cancelled", "next": "", "phase": "", "done": ""}
        )
        return await _kept(handle, stopped)

    def _broken(self, handle: RunHandle, why: str) -> RunResult:
        """The run can't go on although its agents could: say so with everything it has."""
        status = handle.status()
        best = handle.run.board.current
        return status.model_copy(
            update={
                "status": "partial" if best else "failed",
                "answer": best[0].content if best else "",
                "winner": best[0].agent if best else "",
                "error": f"The run was stopped: {why}",
                "next": "",
                "phase": "",
            }
        )

    def _forget(self) -> None:
        over = [run_id for run_id, handle in self._handles.items() if handle.result is not None]
        for run_id in over[: max(0, len(over) - _KEPT)]:
            del self._handles[run_id]


async def _kept(handle: RunHandle, result: RunResult) -> RunResult:
    """The result, in the journal. One that can't be kept is still given to who waits for it."""
    try:
        await handle.run.log.append("Finished", _finished_body(result))
    except JournalError as error:
        return with_warning(result, f"This result could not be kept: {error}")
    return result


def _spec(ask: Ask, team: ResolvedTeam, random: Random, attached: Attached) -> TeamSpec:
    allowance = team.allowance.within(ask.budget)
    limits = Limits(
        seconds=allowance.seconds if allowance.seconds is not None else 600.0,
        first_round_seconds=team.first_round_seconds,
        round_seconds=team.round_seconds,
        usd=allowance.usd,
        tokens=None if allowance.tokens is None else int(allowance.tokens),
        requests=None if allowance.requests is None else int(allowance.requests),
    )
    return TeamSpec(
        question=ask.question,
        context=ask.context,
        agents=team.agents,
        strategy=ask.strategy or team.strategy,
        settings=replace(team.settings, seed=team.settings.seed or random.getrandbits(32)),
        limits=limits,
        attached=attached,
        equipment=team.equipment,
        config=team.config or {},
    )


def _unspent(handle: RunHandle) -> float:
    """US dollars that a run may still spend."""
    limit = handle.run.spec.limits.usd
    return 0.0 if limit is None else max(0.0, limit - (handle.run.budget.spent.cost_usd or 0.0))


def _usual_seconds(rows: Sequence[RunRow], team: str) -> float | None:
    """How long this team's runs have taken, from those that are over."""
    times = [row.ended - row.started for row in rows if row.team == team and row.ended is not None]
    return median(times) if times else None


def _finished_body(result: RunResult) -> dict[str, Any]:
    data = result.model_dump(mode="json")
    keys = ("status", "stopped_by", "winner", "answer", "warnings", "usage")
    return {key: data[key] for key in keys} | {
        "rule": result.agreement.rule if result.agreement else "",
        "result": data,
    }
