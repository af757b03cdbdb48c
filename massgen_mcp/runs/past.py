"""What the journal says of runs that this process does not hold: their results, and how long they take."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pydantic import ValidationError

from massgen_mcp.journal import AgentSummary, RunRow, RunSummary
from massgen_mcp.runs.result import AgentRow, RunResult, TeamInfo, UsageRow

__all__ = [
    "LATELY",
    "cancelled_result",
    "eta",
    "result_of_record",
    "take_up_call",
    "usual_seconds",
    "with_warning",
]

LATELY = 50
"""Runs that tell how long one usually takes."""
_QUEUED = "waiting to begin"


_STATES = {"answer": "answered", "vote": "voted"}
"""How a turn ended, as the state of its agent."""


def result_of_record(row: RunRow, summary: RunSummary) -> RunResult:
    """What the run's callers were given; for one that never finished, what it had come to."""
    if summary.result is not None:
        try:
            return RunResult.model_validate(summary.result)
        except ValidationError:
            pass  # written by another version: what the records say is still there
    best = summary.answers[-1] if summary.answers else None
    over = row.state != "running"
    phase, done = ("", "") if over else _progress(summary)
    return RunResult(
        answer=summary.answer or (best.content if best and over else ""),
        status=row.state,
        stopped_by=summary.stopped_by,
        run_id=row.run_id,
        winner=summary.winner or "",
        agents=[_agent(agent) for agent in summary.agents],
        usage=_usage(summary),
        team=TeamInfo(name=row.team),
        seconds=round((summary.ended or row.heartbeat or row.started) - row.started, 2),
        error=_interrupted(summary) if row.state == "interrupted" else "",
        warnings=list(summary.warnings),
        phase=phase,
        done=done,
        spent=None if over else summary.usage.cost_usd,
        next=_next(row),
        report=f"massgen://runs/{row.run_id}",
    )


def cancelled_result(result: RunResult) -> RunResult:
    """The result of an interrupted run that is ended instead of taken up."""
    return result.model_copy(
        update={
            "status": "cancelled",
            "stopped_by": "cancelled",
            "error": "" if result.answer else "The run was cancelled, and has no answer.",
            "next": "",
            "phase": "",
            "done": "",
        }
    )


def with_warning(result: RunResult, words: str) -> RunResult:
    """The same result with one more warning."""
    return result.model_copy(update={"warnings": [*result.warnings, words]})


def usual_seconds(rows: Sequence[RunRow], team: str) -> float | None:
    """How long this team's runs have taken, from those that are over."""
    times = [row.ended - row.started for row in rows if row.team == team and row.ended is not None]
    return median(times) if times else None


def eta(result: RunResult, rows: Sequence[RunRow], *, passed: float) -> float | None:
    """Seconds that a run which has begun still takes, if it takes as long as its team usually does.

    Args:
        result: how far it is.
        rows: of the latest runs.
        passed: seconds since it was started.
    """
    usual = usual_seconds(rows, result.team.name) if result.team and result.phase != _QUEUED else None
    return None if usual is None else round(max(1.0, usual - passed))


def take_up_call(run_id: str) -> str:
    """The call that takes an interrupted run up."""
    return f'ask_team(question="", continue_run="{run_id}")'


def _progress(summary: RunSummary) -> tuple[str, str]:
    """What the team is doing, and how many of its agents are done with it, as far as the records say."""
    count = len(summary.agents)
    if all(agent.state == "waiting" for agent in summary.agents):
        return _QUEUED, f"0/{count}"
    answered = len({answer.agent for answer in summary.answers})
    if summary.votes:
        ballot = max(vote.ballot for vote in summary.votes)
        return "voting", f"{sum(vote.ballot == ballot for vote in summary.votes)}/{count}"
    return ("answering", f"{answered}/{count}") if answered < count else ("voting", f"0/{count}")


def _next(row: RunRow) -> str:
    """The call that brings a run further."""
    match row.state:
        case "running":
            return f'get_run(run_id="{row.run_id}", wait_seconds=45)'
        case "interrupted":
            return take_up_call(row.run_id)
        case _:
            return ""


def _interrupted(summary: RunSummary) -> str:
    count = len(summary.answers)
    have = "no answer" if not count else "1 answer" if count == 1 else f"{count} answers"
    return (
        f"The process that drove this run is gone; the run had {have}. What was paid for is kept, and it "
        f"can be taken up where it stopped: {take_up_call(summary.run_id)}."
    )


def _agent(agent: AgentSummary) -> AgentRow:
    return AgentRow(
        id=agent.id,
        backend=agent.backend,
        model=agent.model,
        state=_STATES.get(agent.state, agent.state),
        requests=agent.usage.requests,
        tokens=agent.usage.tokens,
        cost_usd=agent.usage.cost_usd,
        seconds=round(agent.seconds, 2),
        tool_calls=agent.tool_calls,
        attempts=agent.attempts,
        error=agent.error,
    )


def _usage(summary: RunSummary) -> UsageRow:
    lost: dict[str, float] = {}
    dead = summary.state == "interrupted"
    calls = summary.lost_calls + (summary.open_calls if dead else 0)
    if calls:
        lost = {
            "requests": calls,
            "tokens": summary.lost_tokens + (summary.open_tokens if dead else 0),
            "cost_usd": summary.lost_usd + (summary.open_usd if dead else 0.0),
        }
    return UsageRow(
        # As the run itself counts them in the end: those that were cut off, too.
        requests=summary.usage.requests + (calls if summary.ended is None else 0),
        input=summary.usage.input,
        output=summary.usage.output,
        cached=summary.usage.cached,
        reasoning=summary.usage.reasoning,
        cost_usd=summary.usage.cost_usd,
        lost=lost,
    )
