"""What can be wrong with a team although each of its agents is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from massgen_mcp.config.check_tools import check_context_paths, check_makers
from massgen_mcp.config.folders import check_run_folders
from massgen_mcp.config.models import RequestShare, TeamKeys
from massgen_mcp.config.paths import Places
from massgen_mcp.config.seat import Seat
from massgen_mcp.errors import Problem

__all__ = ["check_team"]


def check_team(
    keys: TeamKeys, seats: Sequence[Seat], places: Places, *, ids: Sequence[str | None]
) -> Iterator[Problem]:
    """Problems of the team as a whole.

    Args:
        keys: beside its agents.
        seats: the agents that can be read.
        places: of the file.
        ids: of all agents in the file, those that can't be read, too; None for one without a usable id.
    """
    yield from _ids(seats)
    yield from _numbers(keys, len(ids), places)
    orchestrator = keys.orchestrator
    at = ("orchestrator",)
    presenter = orchestrator.presenter_agent
    if presenter is not None and presenter not in ids and None not in ids:
        known = ", ".join(str(name) for name in ids)
        yield places.problem(
            (*at, "presenter_agent"), "there is no agent of that id.", hint=f"Known: {known}."
        )
    yield from check_run_folders(orchestrator, at, places)
    yield from check_context_paths(orchestrator.context_paths, (*at, "context_paths"), places)
    yield from _shares(keys, seats, places)
    yield from check_makers(orchestrator, at, places)


def _ids(seats: Sequence[Seat]) -> Iterator[Problem]:
    first: dict[str, Seat] = {}
    for seat in seats:
        earlier = first.setdefault(seat.agent.id, seat)
        if earlier is not seat:
            mark = seat.places.marks.get((*earlier.path, "id"))
            where = f" (line {mark.line})" if mark else ""
            yield seat.places.problem((*seat.path, "id"), f"another agent has this id{where}.")


def _shares(keys: TeamKeys, seats: Sequence[Seat], places: Places) -> Iterator[Problem]:
    """A limit of one request says nothing to an agent that makes its requests by itself."""
    runtimes = [seat.agent.id for seat in seats if seat.info.kind == "runtime"]
    if runtimes and keys.budget.per_request != RequestShare():
        yield places.problem(
            ("budget", "per_request"),
            f"does not hold for {', '.join(runtimes)}: agent runtimes make their requests by themselves.",
            severity="warning",
            hint="per_turn holds for them.",
        )


def _numbers(keys: TeamKeys, agents: int, places: Places) -> Iterator[Problem]:
    if not agents:
        return
    least, most = keys.orchestrator.min_agents, keys.orchestrator.max_agents
    if most is not None and most < least:
        yield places.problem(("orchestrator", "max_agents"), f"less than min_agents ({least})")
    for key in ("quorum", "min_agents"):
        number: int | None = getattr(keys.orchestrator, key)
        if number is not None and number > agents:
            yield places.problem(("orchestrator", key), f"more than the team's agents ({agents}).")
