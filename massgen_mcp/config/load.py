"""From the text of a team file to a team, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from massgen_mcp.config.agents import agents_in, read_agent
from massgen_mcp.config.available import not_yet, soft
from massgen_mcp.config.check_backend import check_backend
from massgen_mcp.config.check_custom import check_custom
from massgen_mcp.config.check_privacy import check_private, check_trifecta
from massgen_mcp.config.check_team import check_team
from massgen_mcp.config.check_tools import check_tools
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.expand import refuse_elsewhere
from massgen_mcp.config.folders import check_contexts_lie, check_paths
from massgen_mcp.config.gate import read_text
from massgen_mcp.config.models import Coordination, Orchestrator, TeamConfig, TeamKeys, Timeouts
from massgen_mcp.config.paths import KeyPath
from massgen_mcp.config.problems import in_order
from massgen_mcp.config.resolve import resolve
from massgen_mcp.config.seat import Seat
from massgen_mcp.config.sections import Sections
from massgen_mcp.config.tree import Tree, Value, parse
from massgen_mcp.errors import ConfigError, Problem

__all__ = ["Loaded", "Origin", "load_file", "load_text"]

Origin: TypeAlias = Literal["file", "inline"]
"""`file`: the operator's own. `inline`: it came over the wire; nothing is expanded, and it is never run."""


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
        tree,
        environment=environment,
        inline=origin == "inline",
        today=today or datetime.now(UTC).date(),
        source=source,
        roots=roots,
        tools_from=tools_from,
    )
    return reader.read(name)


class _Reader:
    def __init__(
        self,
        tree: Tree,
        *,
        environment: Environment,
        inline: bool,
        today: date,
        source: Path | None,
        roots: Sequence[Path],
        tools_from: Sequence[Path],
    ) -> None:
        self._value = tree.value
        self._sections = Sections(tree.places, list(tree.problems))
        self._environment = environment
        self._inline = inline
        self._today = today
        self._source = source
        self._roots = roots
        self._tools_from = tools_from
        self._ids: list[str | None] = []
        self._seats: list[Seat] = []

    def read(self, name: str) -> Loaded:
        places, found = self._sections.places, self._sections.problems
        keys = self._team_keys()
        for path, agent in agents_in(self._value, self._sections):
            self._agent(agent, path)
        team = self._team(keys, name)
        unavailable: tuple[Problem, ...] = ()
        if team is not None:
            paths = {seat.agent.id: seat.path for seat in self._seats}
            unavailable = in_order(not_yet(team, paths, places))
            found += unavailable
            found += soft(team, paths, places)
        problems = in_order(_first_at_each_place(found))
        if any(problem.severity == "error" for problem in problems):
            team = None
        return Loaded(
            team=team,
            problems=problems,
            unavailable=unavailable,
            resolved=resolve(team, self._seats, roots=self._roots) if team else {},
            environment=self._environment,
            variables=self._variables(),
        )

    def _variables(self) -> tuple[str, ...]:
        named = [
            name for seat in self._seats for reference in seat.references.values() for name in reference.names
        ]
        return tuple(dict.fromkeys(named))

    def _team_keys(self) -> TeamKeys:
        sections = self._sections
        top = {key: value for key, value in self._value.items() if key not in ("agents", "agent")}
        for key, value in top.items():
            sections.problems += refuse_elsewhere(value, (key,), sections.places)
        kept = sections.sift(top, (), "team", TeamKeys.model_fields)
        sections.sift_below(kept, "timeout_settings", (), "timeout_settings", Timeouts.model_fields)
        sections.sift_below(kept, "orchestrator", (), "orchestrator", Orchestrator.model_fields)
        orchestrator = kept.get("orchestrator")
        if isinstance(orchestrator, dict):
            below = ("orchestrator",)
            sections.sift_below(
                orchestrator, "coordination", below, "coordination", Coordination.model_fields
            )
        keys, _ = sections.validate(TeamKeys, kept, ())
        return keys or TeamKeys()

    def _agent(self, raw: dict[str, Value], path: KeyPath) -> None:
        named = raw.get("id")
        self._ids.append(named if isinstance(named, str) else None)
        seat = read_agent(
            raw,
            path,
            self._sections,
            environment=self._environment,
            inline=self._inline,
            beside=self._source.parent if self._source else None,
        )
        if seat is None:
            return
        problems = self._sections.problems
        problems += check_backend(seat, today=self._today)
        problems += check_tools(seat)
        problems += check_paths(seat, self._folders())
        if self._tools_from:
            beside, *approved = self._tools_from
            problems += check_custom(seat, beside=beside, approved=approved)
        self._seats.append(seat)

    def _folders(self) -> tuple[Path, ...]:
        """What absolute paths of the operator's file must lie in; none where nothing is known of it."""
        if self._source is None:
            return ()
        return tuple(dict.fromkeys((*self._roots, self._source.parent, *self._tools_from)))

    def _team(self, keys: TeamKeys, name: str) -> TeamConfig | None:
        problems, places = self._sections.problems, self._sections.places
        problems += check_team(keys, self._seats, places, ids=self._ids)
        contexts = keys.orchestrator.context_paths
        problems += check_contexts_lie(contexts, ("orchestrator", "context_paths"), places, self._folders())
        for seat in self._seats:
            problems += check_trifecta(seat, contexts)
            if keys.private:
                problems += check_private(seat)
        if not self._seats:
            return None
        given = {field: getattr(keys, field) for field in keys.model_fields_set if field != "name"}
        agents = tuple(seat.agent for seat in self._seats)
        return TeamConfig(**given, name=keys.name or name, agents=agents, source=self._source)


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
