"""How runs are set in motion: new ones of a team, and interrupted ones where they stopped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from functools import partial
from random import Random
from typing import TypeAlias

import anyio
import anyio.to_thread

from massgen_mcp import __version__
from massgen_mcp.errors import MassgenError
from massgen_mcp.journal import Journal, MemoryJournal, Record, RunLog
from massgen_mcp.journal.summary import RESUMED
from massgen_mcp.runs.ask import Ask
from massgen_mcp.runs.asked import without_secrets
from massgen_mcp.runs.attach import Seated, attach
from massgen_mcp.runs.given import keep_given, load_given, restore_seated
from massgen_mcp.runs.handle import RunHandle
from massgen_mcp.runs.material import Material
from massgen_mcp.runs.names import new_run_id
from massgen_mcp.runs.opening import Opening, opening_body, read_opening
from massgen_mcp.runs.past import LATELY, usual_seconds
from massgen_mcp.runs.remains import Remains
from massgen_mcp.runs.result import TeamInfo
from massgen_mcp.runs.session import FollowUp, asked_of
from massgen_mcp.runs.spec import new_spec, old_spec
from massgen_mcp.runs.world import ResolvedTeam, World
from massgen_mcp.secrets import Secrets
from massgen_mcp.team import EventLog, Ports, TeamRun, TeamSpec
from massgen_mcp.team.spec import EarlierWork
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.kept_folder import KeptFolder

__all__ = ["Admitted", "Launcher"]

Admitted: TypeAlias = Callable[[Ask, ResolvedTeam], AbstractAsyncContextManager[tuple[Ask, ResolvedTeam]]]
"""Lets a question in with what it may spend, for the time in which its run is set in motion."""
_RESUMED_WARNING = "It was interrupted and taken up again; what was paid for before was used."


class Launcher:
    """Sets runs in motion.

    Args:
        world: everything outside, as it is now.
        journal: the journal of the state folder.
        go: drives a run from here on.
    """

    def __init__(
        self,
        world: Callable[[], World],
        journal: Callable[[], Awaitable[Journal]],
        go: Callable[[RunHandle], None],
    ) -> None:
        self._current = world
        self._journal = journal
        self._go = go

    @property
    def _world(self) -> World:
        return self._current()

    @property
    def _secrets(self) -> Secrets:
        return self._world.secrets

    async def begin(
        self,
        ask: Ask,
        material: Material,
        digest: str,
        *,
        follow: FollowUp | None,
        admitted: Admitted,
        join: bool = False,
    ) -> RunHandle:
        """Put a question to a team that has not been asked it.

        Args:
            ask: the question.
            material: the files and images that came with it.
            digest: what tells it from others.
            follow: the run that it goes on from.
            admitted: lets in what its user may spend.
            join: whether a run of the same question, of any process, is to be told instead.

        Raises:
            AlreadyAsked: with `join`: there is such a run by now; nothing was spent.
            ConfigError, RequestRefused: it can't be asked; nothing was spent.
            JournalError: there is nowhere to keep what will be paid for; nothing was spent.
        """
        if follow is not None:
            ask = asked_of(ask, follow)
        team = await self._world.teams.resolve(ask)
        self._keep_secret(team)
        ask = without_secrets(ask, self._secrets.redact)
        seated = attach(
            team.agents,
            team.equipment,
            material,
            least=team.settings.min_agents,
            project=self._world.project,
        )
        texts = {agent: self._secrets.redact(text) for agent, text in seated.attached.texts.items()}
        seated = replace(seated, attached=replace(seated.attached, texts=texts))
        team = _seat(team, seated, work=follow.work if follow else None)
        team = replace(team, warnings=(*team.warnings, *(follow.warnings if follow else ())))
        async with admitted(ask, team) as (ask_within, team_within):
            random = self._world.random()
            spec = new_spec(ask_within, team_within, random, seated.attached, follow)
            return await self._launch(ask_within, spec, team_within, seated, random, digest, join=join)

    async def _launch(
        self,
        ask: Ask,
        spec: TeamSpec,
        team: ResolvedTeam,
        seated: Seated,
        random: Random,
        digest: str,
        *,
        join: bool,
    ) -> RunHandle:
        journal = await self._journal() if team.journalled else self._unkept()
        usual = usual_seconds(await journal.rows(limit=LATELY), team.name)
        run_id = new_run_id(self._world.clock.now(), random)
        if team.journalled and self._world.state_dir is not None:
            await anyio.to_thread.run_sync(keep_given, self._world.state_dir, run_id, seated)
        body = opening_body(ask, spec, team)
        begin = partial(journal.begin, run_id, question=spec.question, team=team.name, body=body)
        try:
            log = await begin(digest=digest, join=join)
        except MassgenError:
            if self._world.state_dir is not None:
                with suppress(PathRefused):
                    await anyio.to_thread.run_sync(KeptFolder.remove, self._world.state_dir, run_id)
            raise
        return self._handle(log, spec, team, journal, random=random, usual=usual, digest=digest)

    def _handle(
        self,
        log: RunLog,
        spec: TeamSpec,
        team: ResolvedTeam,
        journal: Journal,
        *,
        random: Random,
        past: Sequence[Record] = (),
        usual: float | None = None,
        digest: str = "",
    ) -> RunHandle:
        """A run in motion from here on."""
        remains = Remains(self._world.open_workshop)
        ports = Ports(
            clock=self._world.clock,
            random=random,
            open_backend=self._world.open_backend,
            place=self._world.place,
            open_workshop=remains.open_workshop,
        )
        run = TeamRun(
            spec,
            ports=ports,
            prices=self._world.prices,
            log=EventLog(log, redact=self._world.secrets.redact),
            past=past,
        )
        handle = RunHandle(
            run,
            team=TeamInfo(name=team.name, why=team.why),
            warnings=list(team.warnings),
            usual_seconds=usual,
            journal=journal,
            digest=digest,
            past=past,
            remains=remains,
        )
        self._go(handle)
        return handle

    async def resume(self, run_id: str, *, admitted: Admitted) -> RunHandle:
        """Take an interrupted run up where it stopped. What is journalled is neither paid nor done again.

        Raises:
            RunNotFound: there is no such run.
            RunTaken: it is alive, in this process or another.
            RunOver: it is finished.
            ReplayRefused: its team or this program have changed since; it stays as it is.
            ConfigError, RequestRefused: its team can't be used now, or there is no money left for it.
            JournalError: its records can't be read.
        """
        journal = await self._journal()
        opening = read_opening((await journal.read(run_id, limit=1))[0])
        if (await journal.row(run_id)).state != "interrupted":
            # Alive or over: that is for the journal to say, and it leaves everything as it is.
            await (await journal.take_over(run_id, body={"event": RESUMED})).leave()
        team = await self._world.teams.resolve(opening.ask)
        self._keep_secret(team)
        opening.check(team, self._secrets.redact_value)
        team, seated = await self._seated_again(opening, team)
        await journal.read(run_id)  # damaged records are found before it is taken
        spent = (await journal.row(run_id)).cost_usd
        async with admitted(opening.rest(spent), team) as (ask, team_within):
            spec = old_spec(opening, team_within, seated.attached, spent=spent, rest=ask.budget.usd)
            return await self._go_on(run_id, spec, team_within, journal)

    async def _go_on(self, run_id: str, spec: TeamSpec, team: ResolvedTeam, journal: Journal) -> RunHandle:
        log = await journal.take_over(run_id, body={"event": RESUMED, "version": __version__})
        try:
            records, row = await journal.read(run_id), await journal.row(run_id)
            random = self._world.random()
            return self._handle(log, spec, team, journal, random=random, past=records, digest=row.digest)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await log.leave()
            raise

    async def _seated_again(self, opening: Opening, team: ResolvedTeam) -> tuple[ResolvedTeam, Seated]:
        given = None
        if self._world.state_dir is not None:
            load = partial(load_given, digests=opening.digests)
            given = await anyio.to_thread.run_sync(load, self._world.state_dir, opening.run_id)
        agents = [agent for agent in team.agents if agent.id in opening.agents]
        seated = restore_seated(given, agents, team.equipment)
        again = replace(
            _seat(team, seated, work=opening.work),
            why=opening.why,
            warnings=(*team.warnings, *seated.warnings, _RESUMED_WARNING),
        )
        return again, seated

    def _unkept(self) -> Journal:
        """The journal of a team that wants none on disk; what is shown of it is redacted all the same."""
        return MemoryJournal(clock=self._world.clock, redact=self._secrets.redact_value)

    def _keep_secret(self, team: ResolvedTeam) -> None:
        """Know every secret of the team before a word of the question is written down."""
        for agent in team.agents:
            keys = (agent.api_key, agent.options.api_key)
            for key in keys:
                if key is not None:
                    self._secrets.add(key.get_secret_value(), agent.key_name or f"{agent.id}.api_key")
            for name, value in agent.options.extra_headers.items():
                self._secrets.add(value, f"{agent.id}.{name}")
        for agent, tools in team.equipment.tools.items():
            for server in tools.mcp_servers:
                for name, value in server.secrets:
                    self._secrets.add(value, f"{agent}.{server.name}.{name}")


def _seat(team: ResolvedTeam, seated: Seated, *, work: EarlierWork | None) -> ResolvedTeam:
    """The team as it takes part."""
    return replace(
        team,
        agents=seated.agents,
        equipment=replace(seated.equipment, earlier=work),
        warnings=(*team.warnings, *seated.warnings),
    )
