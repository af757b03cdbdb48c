"""Which tools an agent gets: allow lists first, then the union of what is refused.

Pure, and the same for all tools: those of servers, our own for files, the shell. A list names a tool bare, as
`server__tool` or as `mcp__server__tool`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

__all__ = ["Candidate", "Choice", "FilterProblem", "NameLists", "choose"]

_SHORT_LIST = frozenset({"write_file", "create_directory", "move_file"})
"""What MassGen's documentation refuses "to block filesystem modifications"."""
_OTHER_WRITERS = frozenset({"edit_file", "copy_file", "delete_file"})
"""What else modifies files under the names that file servers use, ours included."""

_Key: TypeAlias = Literal["allowed_tools", "disallowed_tools"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NameLists:
    """The filters of one agent, or of one server's entry."""

    allowed: tuple[str, ...] | None = None
    """None lets everything through."""
    refused: tuple[str, ...] = ()
    """The union of `disallowed_tools` and `exclude_tools`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A tool that an agent could have."""

    name: str
    """As the model sees it."""
    bare: str = ""
    """As its server calls it; absent: the same."""
    server: str = ""
    """Absent for our own."""
    groups: tuple[str, ...] = ()
    """Names of MassGen's servers that offer the same tool, for our own."""
    writes: bool | None = None
    """Whether its server says that it modifies something."""

    @property
    def forms(self) -> frozenset[str]:
        """Everything that a list may call it."""
        bare = self.bare or self.name
        owners = (*self.groups, self.server) if self.server else self.groups
        named = {f"{start}{owner}__{bare}" for owner in owners for start in ("", "mcp__")}
        shown = {self.name, f"mcp__{self.name}"} if self.server else {self.name}
        return frozenset({bare} | named | shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterProblem:
    """An entry of a list that matches nothing."""

    key: _Key
    entry: str
    severity: Literal["error", "warning"]
    server: str = ""
    """The server whose own list it is in; absent for the agent's."""

    def __str__(self) -> str:
        where = f"mcp_servers.{self.server}.{self.key}" if self.server else self.key
        hint = " Remove it, or set optional_filters: true." if self.severity == "error" else ""
        return f"{where}: {self.entry!r} matches no tool that the agent has.{hint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What filtering left, in the order given."""

    names: tuple[str, ...]
    problems: tuple[FilterProblem, ...] = ()
    also_refused: tuple[str, ...] = ()
    """Names of tools that no list has, but that would do what a list is there to prevent."""


def _never(entry: str) -> bool:
    del entry
    return False


@dataclass(slots=True)
class _Scope:
    """One pair of lists and the tools they are about."""

    lists: NameLists
    server: str = ""
    about: list[Candidate] = field(default_factory=list[Candidate])


def choose(
    candidates: Sequence[Candidate],
    lists: NameLists,
    *,
    of_servers: Mapping[str, NameLists] | None = None,
    down: Collection[str] = (),
    optional: bool = False,
    elsewhere: Callable[[str], bool] = _never,
) -> Choice:
    """Filter the tools of one agent.

    A server's own allow list takes the place of the agent's for its tools; what either refuses is refused.
    MassGen's short list of file modifications (`write_file`, `create_directory`, `move_file`) refuses the
    other ways to modify the same files, too, unless the allow list names them.

    Args:
        candidates: all tools, of servers that are up and our own.
        lists: the agent's filters.
        of_servers: the filters of entries of `mcp_servers`, by server.
        down: servers that are not up: an entry that may mean one of their tools is no problem.
        optional: refusing a tool that is not there is no error.
        elsewhere: whether an entry means something that is not filtered here, as a runtime's native tool.
    """
    own = {name: found for name, found in (of_servers or {}).items() if name not in down}
    scopes = {name: _Scope(found, name) for name, found in own.items()}
    general = _Scope(lists, about=list(candidates))
    for candidate in candidates:
        if candidate.server in scopes:
            scopes[candidate.server].about.append(candidate)
    dropped: set[str] = set()
    implied: set[str] = set()
    for candidate in candidates:
        scope = scopes.get(candidate.server)
        allowed = scope.lists.allowed if scope and scope.lists.allowed is not None else lists.allowed
        if allowed is not None and candidate.forms.isdisjoint(allowed):
            dropped.add(candidate.name)
        if any(_refuses(part.lists.refused, candidate) for part in (general, scope) if part):
            dropped.add(candidate.name)
    for scope in (general, *scopes.values()):
        for candidate in _same_effect(scope):
            if candidate.name not in dropped and candidate.forms.isdisjoint(scope.lists.allowed or ()):
                implied.add(candidate.name)
    kept = (candidate.name for candidate in candidates if candidate.name not in dropped | implied)
    problems = [
        problem
        for scope in (general, *scopes.values())
        for problem in _unmatched(scope, down=down, optional=optional, elsewhere=elsewhere)
    ]
    return Choice(names=tuple(kept), problems=tuple(problems), also_refused=tuple(sorted(implied)))


def _refuses(refused: Iterable[str], candidate: Candidate) -> bool:
    return not candidate.forms.isdisjoint(refused)


def _same_effect(scope: _Scope) -> Iterable[Candidate]:
    """Tools that modify what the short list is there to protect, per server or among our own."""
    owners: dict[str, list[Candidate]] = {}
    for candidate in scope.about:
        owners.setdefault(candidate.server, []).append(candidate)
    for server, tools in owners.items():
        theirs = [tool for tool in tools if (tool.bare or tool.name) in _SHORT_LIST]
        if not theirs or not all(_means(scope.lists.refused, theirs[0], bare) for bare in _SHORT_LIST):
            continue
        for tool in tools:
            modifies = bool(server) and tool.writes is True
            if modifies or (tool.bare or tool.name) in _OTHER_WRITERS:
                yield tool


def _means(refused: Iterable[str], like: Candidate, bare: str) -> bool:
    """Whether a tool of that name, whether its owner has it or not, would be refused."""
    return _refuses(refused, replace(like, name=bare if not like.server else like.name, bare=bare))


def _unmatched(
    scope: _Scope, *, down: Collection[str], optional: bool, elsewhere: Callable[[str], bool]
) -> Iterable[FilterProblem]:
    known = frozenset[str]().union(*(candidate.forms for candidate in scope.about))
    entries: list[tuple[_Key, str]] = [("allowed_tools", entry) for entry in scope.lists.allowed or ()]
    entries.extend(("disallowed_tools", entry) for entry in scope.lists.refused)
    for key, entry in dict.fromkeys(entries):
        if entry in known or elsewhere(entry) or (not scope.server and _of_one_that_is_down(entry, down)):
            continue
        lax = key == "allowed_tools" or optional
        yield FilterProblem(key=key, entry=entry, server=scope.server, severity="warning" if lax else "error")


def _of_one_that_is_down(entry: str, down: Collection[str]) -> bool:
    prefixed = entry.removeprefix("mcp__")
    if any(prefixed.startswith(f"{server}__") for server in down):
        return True
    return bool(down) and "__" not in entry
