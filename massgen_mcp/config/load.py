"""From the text of a team file to a team, or to everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.registry import backend_info, options_class, public_backends, suggest
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.config.available import not_yet, soft
from massgen_mcp.config.check_backend import check_backend
from massgen_mcp.config.check_custom import check_custom
from massgen_mcp.config.check_team import check_team
from massgen_mcp.config.check_tools import check_private, check_tools, check_trifecta
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.expand import Expansion, expand_agent, refuse_elsewhere
from massgen_mcp.config.gate import read_text
from massgen_mcp.config.models import (
    AgentConfig,
    AgentKeys,
    Coordination,
    Orchestrator,
    TeamConfig,
    TeamKeys,
    Timeouts,
)
from massgen_mcp.config.paths import KeyPath, Places
from massgen_mcp.config.problems import in_order, of_validation
from massgen_mcp.config.resolve import resolve
from massgen_mcp.config.seat import Seat
from massgen_mcp.config.servers import McpServer
from massgen_mcp.config.sift import keys_of, sift
from massgen_mcp.config.tree import Value, parse
from massgen_mcp.errors import ConfigError, Problem

__all__ = ["Loaded", "Origin", "load_file", "load_text"]

Origin: TypeAlias = Literal["file", "inline"]
"""`file`: the operator's own. `inline`: it came over the wire; nothing is expanded, and it is never run."""

_MOST_AGENTS = 64
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A team file, read. `team` is there when no problem is an error."""

    team: TeamConfig | None
    problems: tuple[Problem, ...]
    """All of them, sorted by line."""
    unavailable: tuple[Problem, ...] = ()
    """Those of `problems` for which a run is refused by this version."""
    resolved: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The team as JSON: secrets as references to their variables, paths resolved."""
    environment: Environment = field(default_factory=lambda: Environment(()))
    """The variables that hold for this team."""
    variables: tuple[str, ...] = ()
    """Variables whose values stand in the team's secrets."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep it from being used."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def require(self, name: str = "") -> TeamConfig:
        """The team.

        Raises:
            ConfigError: there is none, with every problem.
        """
        if self.team is None:
            raise ConfigError(self.problems, name=name)
        return self.team


def load_file(
    path: Path,
    *,
    approved: Sequence[Path],
    environment: Environment,
    roots: Sequence[Path] = (),
    today: date | None = None,
) -> Loaded:
    """Read a team file inside one of the approved folders. Never raises for what is in it.

    Args:
        path: the file.
        approved: folders whose files are the operator's own.
        environment: the variables, without those beside the file, which are added here.
        roots: the project's folders, for `context_paths`; none: their paths are not resolved.
        today: the day that retirements are compared with.
    """
    try:
        text = read_text(path, approved=approved)
    except ConfigError as error:
        return Loaded(team=None, problems=tuple(error.problems), environment=environment)
    return load_text(
        text,
        environment=environment.beside(path.parent),
        origin="file",
        name=path.stem,
        source=path,
        roots=roots,
        today=today,
        tools_from=(path.parent, *approved),
    )


def load_text(
    text: str,
    *,
    environment: Environment,
    origin: Origin,
    name: str,
    source: Path | None = None,
    roots: Sequence[Path] = (),
    today: date | None = None,
    tools_from: Sequence[Path] = (),
) -> Loaded:
    """Read a team file's text. Never raises for what is in it.

    Pure: no process, no network, no file but those already in `environment`, and the sources of custom tools
    below `tools_from`, the team file's own folder first; with none of them, they are not looked at.
    """
    tree = parse(text)
    if tree.broken:
        return Loaded(team=None, problems=tree.problems, environment=environment)
    reader = _Reader(
        value=tree.value,
        places=tree.places,
        environment=environment,
        inline=origin == "inline",
        today=today or datetime.now(UTC).date(),
        tools_from=tools_from,
    )
    reader.problems += tree.problems
    return reader.read(name, source, roots)


@dataclass(slots=True)
class _Reader:
    value: dict[str, Value]
    places: Places
    environment: Environment
    inline: bool
    today: date
    tools_from: Sequence[Path] = ()
    problems: list[Problem] = field(default_factory=list[Problem])
    seats: list[Seat] = field(default_factory=list[Seat])

    def read(self, name: str, source: Path | None, roots: Sequence[Path]) -> Loaded:
        top = {key: value for key, value in self.value.items() if key not in ("agents", "agent")}
        for key, value in top.items():
            self.problems += refuse_elsewhere(value, (key,), self.places)
        keys = self._team_keys(top)
        for path, agent in self._agents():
            self._agent(agent, path)
        team = self._team(keys, name, source)
        unavailable: tuple[Problem, ...] = ()
        if team is not None:
            paths = {seat.agent.id: seat.path for seat in self.seats}
            unavailable = in_order(not_yet(team, paths, self.places))
            self.problems += unavailable
            self.problems += soft(team, paths, self.places)
        problems = in_order(_first_at_each_place(self.problems))
        if any(problem.severity == "error" for problem in problems):
            team = None
        return Loaded(
            team=team,
            problems=problems,
            unavailable=unavailable,
            resolved=resolve(team, self.seats, roots=roots) if team else {},
            environment=self.environment,
            variables=self._variables(),
        )

    def _variables(self) -> tuple[str, ...]:
        named = [
            name for seat in self.seats for reference in seat.references.values() for name in reference.names
        ]
        return tuple(dict.fromkeys(named))

    def _sift(
        self, mapping: dict[str, Value], path: KeyPath, section: str, known: Collection[str]
    ) -> dict[str, Value]:
        return sift(mapping, path, section, known, self.places, self.problems)

    def _validate(
        self, model: type[_Model], value: Value, path: KeyPath, *, shown: Value = None
    ) -> _Model | None:
        """The model, or None after noting what is wrong. Strict: a switch is not a number, nor text one."""
        try:
            return model.model_validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            self.problems += of_validation(error, model, value if shown is None else shown, path, self.places)
            return None

    def _team_keys(self, top: dict[str, Value]) -> TeamKeys | None:
        kept = self._sift(top, (), "team", TeamKeys.model_fields)
        orchestrator = kept.get("orchestrator")
        if orchestrator is None:
            kept.pop("orchestrator", None)  # `orchestrator:` with everything below it commented out
        if isinstance(orchestrator, dict):
            kept["orchestrator"] = self._orchestrator(orchestrator)
        timeouts = kept.get("timeout_settings")
        if isinstance(timeouts, dict):
            sifted = self._sift(timeouts, ("timeout_settings",), "timeout_settings", Timeouts.model_fields)
            kept["timeout_settings"] = {key: value for key, value in sifted.items() if value is not None}
        elif timeouts is None:
            kept.pop("timeout_settings", None)
        return self._validate(TeamKeys, kept, ())

    def _orchestrator(self, value: dict[str, Value]) -> dict[str, Value]:
        kept = self._sift(value, ("orchestrator",), "orchestrator", Orchestrator.model_fields)
        coordination = kept.get("coordination")
        if isinstance(coordination, dict):
            at = ("orchestrator", "coordination")
            kept["coordination"] = self._sift(coordination, at, "coordination", Coordination.model_fields)
        return {key: item for key, item in kept.items() if item is not None}

    def _agents(self) -> Iterator[tuple[KeyPath, dict[str, Value]]]:
        many, one = self.value.get("agents"), self.value.get("agent")
        if "agents" in self.value and "agent" in self.value:
            self._error(("agent",), "give agents or agent, not both.")
            return
        if "agent" in self.value:
            found: Value = [one]
        elif "agents" in self.value:
            found = many
        else:
            self._error((), "no agents: give `agents:` with at least one.")
            return
        if not isinstance(found, list) or not found:
            self._error(("agents",), "must be a list of at least one agent.")
            return
        if len(found) > _MOST_AGENTS:
            self._error(("agents", _MOST_AGENTS), f"more than {_MOST_AGENTS} agents.")
        for index, agent in enumerate(found[:_MOST_AGENTS]):
            path: KeyPath = ("agent",) if "agent" in self.value else ("agents", index)
            if isinstance(agent, dict):
                yield path, agent
            else:
                self._error(path, "must be a mapping of keys.")

    def _error(self, path: KeyPath, message: str, hint: str = "") -> None:
        self.problems.append(self.places.problem(path, message, hint=hint))

    def _agent(self, raw: dict[str, Value], path: KeyPath) -> None:
        expansion = expand_agent(
            raw, path, environment=self.environment, places=self.places, inline=self.inline
        )
        self.problems += expansion.problems
        agent = dict(expansion.value)
        block = agent.pop("backend", None)
        kept = self._sift(agent, path, "agent", AgentKeys.model_fields)
        keys = self._validate(AgentKeys, kept, path)
        if not isinstance(block, dict):
            missing = "backend" not in expansion.value
            self._error(
                (*path, "backend"), "required, and missing." if missing else "must be a mapping of keys."
            )
            return
        found = self._backend(block, (*path, "backend"))
        if found is None or keys is None:
            return
        info, options, tools = found
        config = AgentConfig(
            **{name: getattr(keys, name) for name in keys.model_fields_set},
            backend=options,
            tools=tools,
            unset=expansion.unset,
        )
        self._seat(config, info, path, raw, expansion)

    def _backend(
        self, block: dict[str, Value], path: KeyPath
    ) -> tuple[BackendInfo, Options, AgentTools] | None:
        info = self._info(block, path)
        if info is None:
            return None
        model = options_class(info)
        if "mcp_servers" in block:
            block["mcp_servers"] = self._servers(block["mcp_servers"], (*path, "mcp_servers"))
        options_keys = keys_of(model)
        kept = self._sift(block, path, "backend", options_keys | keys_of(AgentTools))
        # A key may be both: claude_code is told itself which of its native tools are refused.
        own = {key: value for key, value in kept.items() if key in options_keys}
        shared = {key: value for key, value in kept.items() if key in AgentTools.model_fields}
        options = self._validate(model, own, path, shown=kept)
        tools = self._validate(AgentTools, shared, path, shown=kept)
        return (info, options, tools) if options is not None and tools is not None else None

    def _servers(self, value: Value, path: KeyPath) -> Value:
        """Downstream servers, a list or a mapping of names, each sifted."""

        def sifted(entry: Value, at: KeyPath) -> Value:
            if not isinstance(entry, dict):
                return entry
            return self._sift(entry, at, "mcp_server", McpServer.model_fields)

        match value:
            case list():
                return [sifted(entry, (*path, index)) for index, entry in enumerate(value)]
            case dict():
                return {name: sifted(entry, (*path, name)) for name, entry in value.items()}
            case _:
                return value

    def _info(self, block: dict[str, Value], path: KeyPath) -> BackendInfo | None:
        at = (*path, "type")
        kind = block.get("type")
        known = ", ".join(sorted(row.type for row in public_backends()))
        if kind is None:
            self._error(at, "required, and missing.", f"Known backends: {known}.")
            return None
        if not isinstance(kind, str):
            self._error(at, "must be text.", f"Known backends: {known}.")
            return None
        info = backend_info(kind)
        if info is None:
            meant = suggest(kind)
            hint = f"Did you mean {meant!r}?" if meant else f"Known: {known}."
            self._error(at, f"unknown backend {kind[:40]!r}.", hint)
        return info

    def _seat(
        self,
        config: AgentConfig,
        info: BackendInfo,
        path: KeyPath,
        raw: dict[str, Value],
        expansion: Expansion,
    ) -> None:
        seat = Seat(
            agent=config,
            info=info,
            path=path,
            places=self.places,
            environment=self.environment,
            inline=self.inline,
            raw=raw,
            references=expansion.references,
        )
        self.problems += check_backend(seat, today=self.today)
        self.problems += check_tools(seat)
        if self.tools_from:
            beside, *approved = self.tools_from
            self.problems += check_custom(seat, beside=beside, approved=approved)
        self.seats.append(seat)

    def _team(self, keys: TeamKeys | None, name: str, source: Path | None) -> TeamConfig | None:
        if keys is None:
            return None
        self.problems += check_team(keys, self.seats, self.places)
        for seat in self.seats:
            self.problems += check_trifecta(seat, keys.orchestrator.context_paths)
            if keys.private:
                self.problems += check_private(seat)
        if not self.seats:
            return None
        given = {field: getattr(keys, field) for field in keys.model_fields_set if field != "name"}
        agents = tuple(seat.agent for seat in self.seats)
        return TeamConfig(**given, name=keys.name or name, agents=agents, source=source)


def _first_at_each_place(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Of several errors at one key the first: those that follow from it would only repeat it."""
    seen: set[tuple[str, int | None]] = set()
    for problem in problems:
        place = (problem.path, problem.line)
        if problem.severity == "error":
            if place in seen:
                continue
            seen.add(place)
        yield problem
