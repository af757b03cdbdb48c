"""The operator's teams: files by name or path, the default team, teams made of model names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anyio.lowlevel
import yaml

from massgen_mcp.backends.claude_code_access import is_logged_in
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.backends.registry import options_class, public_backends
from massgen_mcp.clock import Clock
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_file, load_text
from massgen_mcp.config.models import AgentConfig, TeamConfig
from massgen_mcp.config.schema import json_schema
from massgen_mcp.config.search import Search, TeamFile, find_team, list_teams
from massgen_mcp.config.shorthand import resolve_agents
from massgen_mcp.engine import AgentId, available_strategies
from massgen_mcp.errors import Problem, RequestRefused
from massgen_mcp.runs.ask import Ask
from massgen_mcp.runs.catalogue import agent_states, backend_row, backend_rows, matrix_rows, team_row
from massgen_mcp.runs.cost import course_of, expected, expected_seconds, expected_usd
from massgen_mcp.runs.default_team import Candidate, Choice, candidates, choose
from massgen_mcp.runs.equipment import equip, needs_sandbox, writes_project
from massgen_mcp.runs.holding import Holding
from massgen_mcp.runs.kept import KeptTeams
from massgen_mcp.runs.local_servers import Here, local_servers
from massgen_mcp.runs.roots import Roots
from massgen_mcp.runs.settings import Settings
from massgen_mcp.runs.specs import (
    agent_spec,
    allowance_of,
    course_of_team,
    engine_settings,
    members_of,
    ready_team,
)
from massgen_mcp.runs.world import ResolvedTeam
from massgen_mcp.team.spec import Equipment
from massgen_mcp.workspace.sandbox import SandboxUnavailable, find_sandbox

__all__ = ["DEFAULT_TEAM", "DEMO_TEAM", "OperatorTeams", "Place"]

DEFAULT_TEAM = "default"
DEMO_TEAM = "demo"
Place: TypeAlias = Literal["terminal", "server"]
_INLINE = "inline"
_CLAUDE_EXTRA = ", and pip install 'massgen-mcp[claude-code]'"
_USUAL_KEYS = 4
"""Keys that are named as examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTeams:
    """Where this process's teams come from. Files are read anew for each question."""

    settings: Settings
    place: Place
    environment: Environment
    search: Callable[[], Search]
    pool: Pool
    prices: Prices
    clock: Clock
    roots: Roots
    home: Path
    holding: Holding
    kept: KeptTeams = field(default_factory=KeptTeams)
    find_sandbox: Callable[[Mapping[str, str]], Awaitable[object]] = find_sandbox

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        """The team a question is for, its strategy checked.

        Raises:
            ConfigError: its file can't be used.
            RequestRefused: there is no such team, nothing is ready to answer, or a team asks itself.
        """
        if self.settings.too_deep:
            raise RequestRefused(f"{self.settings.too_deep} Nothing was spent.")
        team = await self._resolve(ask)
        if ask.strategy is None:
            return team
        if ask.strategy not in available_strategies():
            known = ", ".join(available_strategies())
            raise RequestRefused(
                f'Strategy "{ask.strategy}" is not available. Use one of: {known}. Nothing was spent.'
            )
        return replace(team, strategy=ask.strategy)

    async def _resolve(self, ask: Ask) -> ResolvedTeam:
        if ask.agents:
            team = resolve_agents(ask.agents, environment=self.environment)
            return self._made(team, "as the caller named them")
        name = ask.team or self.settings.team
        if name is not None and name != DEFAULT_TEAM:
            why = "as asked" if ask.team else "MASSGEN_MCP_TEAM names it"
            return await self._from_file(name, why)
        choice = await self._choice()
        if choice is not None:
            return self._made(self._default(choice), choice.why)
        if self.place == "terminal":
            return await self._from_file(DEMO_TEAM, "nothing else is configured here")
        raise RequestRefused(self._nothing_ready())

    async def _from_file(self, name: str, why: str) -> ResolvedTeam:
        file = find_team(name, self.search())
        loaded = self._load(file)
        seat = partial(ready_team, loaded, name=file.name, defaults=self.settings.allowance, why=why)
        ready, team = seat(), loaded.require(file.name)
        equipment = self._equipped(team, ready, file)
        away: dict[AgentId, str] = {}
        # Who takes the seat of one that sits out may need a sandbox, too.
        while why_not := await self._without_sandbox(equipment):
            away |= why_not
            ready = seat(away=away)
            equipment = self._equipped(team, ready, file)
        always = writes_project(equipment) or equipment.planning
        settings = replace(ready.settings, present_always=always)
        return replace(ready, equipment=equipment, settings=settings)

    def _equipped(self, team: TeamConfig, ready: ResolvedTeam, file: TeamFile) -> Equipment:
        return equip(
            team,
            {agent.id for agent in ready.agents},
            roots=self.roots,
            home=self.home,
            private=(self.settings.state_dir, self.settings.cache_dir),
            approved=(file.folder,),
        )

    async def _without_sandbox(self, equipment: Equipment) -> dict[AgentId, str]:
        """The optional agents whose tools can't be had here, and why; empty where all can.

        Raises:
            RequestRefused: others can't be done without. Nothing was spent.
        """
        confined = needs_sandbox(equipment)
        if not confined:
            return {}
        try:
            await self.find_sandbox(self.environment.merged())
        except SandboxUnavailable as error:
            needed = [agent for agent in confined if agent not in equipment.optional]
            if needed:
                raise RequestRefused(f"{', '.join(needed)}: {error} Nothing was spent.") from error
            return dict.fromkeys(confined, str(error))
        return {}

    async def _team_rows(self, files: Sequence[TeamFile], here: Here) -> list[dict[str, Any]]:
        """A row each. Of what has not changed since the last list, nothing is read or made again."""
        looked: dict[Path, Hashable] = {}
        depends = (self._today(), tuple(self.roots.folders))
        rows: list[dict[str, Any]] = []
        for file in files:
            await anyio.lowlevel.checkpoint()  # nobody waits for longer than one file takes
            loaded = self.kept.load(file.path, partial(self._load, file), depends=depends, looked=looked)
            make = partial(team_row, file, loaded, here, self.prices)
            rows.append(await self.kept.row(file.path, loaded, agent_states(loaded, here), make))
        return rows

    def _load(self, file: TeamFile) -> Loaded:
        return load_file(
            file.path,
            approved=[file.folder],
            environment=self.environment,
            roots=self.roots.folders,
            today=self._today(),
        )

    def _made(self, team: TeamConfig, why: str) -> ResolvedTeam:
        specs = tuple(
            agent_spec(agent, self.environment, number=number) for number, agent in enumerate(team.agents)
        )
        return ResolvedTeam(
            name=team.name,
            agents=specs,
            strategy=team.orchestrator.effective_strategy,
            settings=engine_settings(team, {agent.id for agent in team.agents}),
            allowance=allowance_of(team, self.settings.allowance),
            why=why,
            config={
                "name": team.name,
                "agents": [
                    {"id": agent.id, "backend": {"type": agent.backend.type, "model": agent.backend.model}}
                    for agent in team.agents
                ],
            },
        )

    async def _logged_in(self) -> bool:
        """Whether a subscription could pay for Claude Code here."""
        if find_spec("claude_agent_sdk") is None:
            return False
        return await is_logged_in(self.environment.merged(), now=self.clock.now())

    async def _choice(self, here: Here | None = None) -> Choice | None:
        logged_in = await self._logged_in() if here is None else here.logged_in
        found = await candidates(
            lambda name: self.environment.get(name) is not None,
            pool=self.pool,
            prices=self.prices,
            loaded=None if here is None else {kind: each.loaded for kind, each in here.servers.items()},
            logged_in=("claude_code",) if logged_in else (),
        )
        return await choose(found, prices=self.prices, today=self._today())

    def _default(self, choice: Choice) -> TeamConfig:
        agents = tuple(
            AgentConfig(
                id=identifier,
                backend=options_class(member.info)(type=member.info.type, model=member.model),
            )
            for identifier, member in zip(_ids(choice.members), choice.members, strict=True)
        )
        return TeamConfig(name=DEFAULT_TEAM, agents=agents)

    def _today(self) -> date:
        return datetime.fromtimestamp(self.clock.now(), tz=UTC).date()

    def _nothing_ready(self) -> str:
        hosted = [info for info in public_backends() if info.executes and info.env and not info.local]
        usual = " or ".join(info.env[0] for info in hosted[:_USUAL_KEYS])
        names = {name for info in hosted for name in info.env}
        near = sorted({found for name in names for found in self.environment.near(name)})
        meant = f" These are set and may be meant as keys: {', '.join(near)}." if near else ""
        installed = find_spec("claude_agent_sdk") is not None
        return (
            "No backend is ready to answer on this machine. Nothing was spent. Do one of these:\n"
            f"1. Set a key, such as {usual}, in the environment of this server "
            '(in .mcp.json: "env"; desktop apps do not hand over the shell\'s variables) or in a .env file.\n'
            "2. Start a server with a model on this machine: Ollama, LM Studio, vLLM (port 8000) or SGLang "
            "(30000); a team file names any other.\n"
            f"3. Log in with Claude Code: run `claude`{'' if installed else _CLAUDE_EXTRA}.\n"
            f"list_backends says what each backend needs ({self.environment.where()}).{meant}\n"
            'Or call with team="demo" to see the machinery on a small embedded model.'
        )

    # What there is.

    async def catalogue(self, backend: str | None = None, task: str | None = None) -> dict[str, Any]:
        """Backends and teams, ready or why not.

        Raises:
            RequestRefused: there is no such backend or task.
        """
        here = Here(servers=await local_servers(self.pool), logged_in=await self._logged_in())
        if backend is not None:
            return {"backends": [await backend_row(backend, self.environment, here, self.prices)]}
        rows = backend_rows(self.environment, here, task)
        choice = await self._choice(here)
        found: dict[str, Any] = {
            "backends": rows,
            "default_team": await self._default_row(choice),
        }
        search = self.search()
        found["teams"] = await self._team_rows(list_teams(search), here)
        if search.untrusted is not None:
            command = f"massgen-mcp trust {search.untrusted.parent}"
            found["found_not_trusted"] = {"folder": str(search.untrusted), "to_trust": command}
        notes = [*self.settings.problems, *self.environment.troubles]
        found["sandbox"] = await self.holding.words()
        return found | ({"notes": notes} if notes else {})

    async def _default_row(self, choice: Choice | None) -> dict[str, Any]:
        if self.settings.team is not None:
            return {"name": self.settings.team, "why": "MASSGEN_MCP_TEAM names it"}
        if choice is None:
            return {"ready": False, "why": "nothing is configured", "remedy": self._nothing_ready()}
        row: dict[str, Any] = {
            "members": [f"{item.info.type}/{item.model}" for item in choice.members],
            "why": choice.why,
            "expected_seconds": "{} to {}".format(*expected_seconds(course_of("auto", len(choice.members)))),
        }
        agents = zip(choice.members, self._default(choice).agents, strict=True)
        usd = await expected_usd([(item.info, agent.backend) for item, agent in agents], self.prices)
        return row | ({} if usd is None else {"expected_usd": usd})

    async def matrix(self) -> dict[str, Any]:
        """Every backend with everything its row says."""
        return matrix_rows()

    async def validate(self, config: str) -> dict[str, Any]:
        """Problems of a config given by name, path in an approved folder, or as YAML text.

        Of one that can be used also what a question costs at most, and of one that can be run what a typical
        one is expected to need.
        """
        loaded, name, source = self._loaded(config)
        data: dict[str, Any] = {
            "ok": loaded.team is not None,
            "name": name,
            "source": source,
            "problems": [_problem(problem) for problem in loaded.problems],
            "resolved": dict(loaded.resolved),
        }
        if loaded.team is not None:
            data["runs"] = not loaded.unavailable
            limits = allowance_of(loaded.team, self.settings.allowance)
            data["costs_at_most"] = {
                key: value
                for key, value in (
                    ("usd", limits.usd),
                    ("tokens", limits.tokens),
                    ("requests", limits.requests),
                    ("seconds", limits.seconds),
                )
                if value is not None
            }
        if loaded.team is not None and not loaded.unavailable:
            # Who sends YAML is not told here, either, for which of its agents there is a key.
            members = members_of(loaded, loaded.team, everybody=source == _INLINE)
            course = course_of_team(loaded.team, len(members))
            data["expected"] = await expected(members, course, self.prices)
        return data

    def _loaded(self, config: str) -> tuple[Loaded, str, str]:
        text = config.strip()
        if "\n" in text or text.startswith("{") or ": " in text:
            loaded = load_text(
                text, environment=self.environment, origin="inline", name=_INLINE, today=self._today()
            )
            return loaded, _INLINE, _INLINE
        file = find_team(text, self.search())
        return self._load(file), file.name, str(file.path)

    def names(self) -> list[str]:
        """Names of teams that can be asked."""
        return [file.name for file in list_teams(self.search())]

    async def show(self, name: str) -> str:
        """What a team's file resolves to, as YAML; secrets only by the names of their variables.

        Raises:
            RequestRefused: there is no such team.
            ConfigError: its file can't be used.
        """
        file = find_team(name, self.search())
        loaded = self._load(file)
        loaded.require(file.name)
        return yaml.safe_dump(dict(loaded.resolved), sort_keys=False, allow_unicode=True)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a team file."""
        return json_schema()


def _ids(members: Sequence[Candidate]) -> list[str]:
    """The vendor's name for each member, numbered where there are several of one."""
    types = [member.info.type for member in members]
    if len(set(types)) == len(types):
        return types
    return [f"{kind}-{number}" for number, kind in enumerate(types, 1)]


def _problem(problem: Problem) -> dict[str, Any]:
    row = asdict(problem)
    return {key: value for key, value in row.items() if value not in (None, "")}
