"""A conversation over several runs: what a follow-up carries over from the run that it goes on from.

Any run can be gone on from, more than once, by its own team or another. Agents of the same name remember
their own last answer; all others are told what was presented. Workspaces begin with the answer's files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from massgen_mcp.engine import AgentId
from massgen_mcp.errors import RequestRefused
from massgen_mcp.journal import Record, RunSummary, summarise
from massgen_mcp.runs.ask import Ask
from massgen_mcp.team.spec import Earlier, EarlierWork, Exchange
from massgen_mcp.text import shorten

__all__ = ["FollowUp", "asked_of", "follow_up"]

_MOST_EXCHANGES = 10
_MOST_CHARACTERS = 60_000
"""Of all exchanges that are carried over; the oldest go first."""
_QUESTION_LIMIT = 20_000
_OWN_LIMIT = 20_000
_STORAGE = "snapshots"


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """Where a follow-up begins."""

    earlier: Earlier
    work: EarlierWork | None = None
    asked: Mapping[str, Any]
    """Whom the run before was asked of: its team or its agents."""
    warnings: tuple[str, ...] = ()


def follow_up(records: Sequence[Record], redact: Callable[[str], str] = str) -> FollowUp:
    """What goes on from a run that is over, or was interrupted: then from what it has.

    Args:
        records: of that run.
        redact: takes out what has become known as a secret since they were written.

    Raises:
        RequestRefused: it has no answer to go on from.
    """
    opening, summary = records[0].body, summarise(records)
    answer, snapshot = _answer(records, summary)
    if not answer:
        raise RequestRefused(
            f"Run {summary.run_id} has no answer that could be followed up. Ask the whole question anew, "
            "without `continue_run`. Nothing was spent."
        )
    before = [
        Exchange(question=redact(pair[0]), answer=redact(pair[1]))
        for pair in cast("Mapping[str, Any]", opening.get("earlier", {})).get("exchanges", ())
    ]
    exchange = _exchange(redact(summary.question), redact(answer))
    return FollowUp(
        earlier=Earlier(exchanges=_fitting([*before, exchange]), own=_own(summary, redact)),
        work=_work(records, snapshot),
        asked=opening.get("asked", {"team": summary.team}),
    )


def asked_of(ask: Ask, follow: FollowUp) -> Ask:
    """The follow-up, put to the team of the run before where the caller names none."""
    if ask.team or ask.agents:
        return ask
    asked = follow.asked
    strategy = ask.strategy or asked.get("strategy")
    return replace(ask, team=asked.get("team"), agents=tuple(asked.get("agents", ())), strategy=strategy)


def _answer(records: Sequence[Record], summary: RunSummary) -> tuple[str, str]:
    """The answer and the snapshot of its files: as presented, else the newest there is."""
    end = records[-1]
    if end.kind == "Finished":
        return summary.answer, str(end.body.get("snapshot") or "")
    if not summary.answers:
        return "", ""
    newest = summary.answers[-1]
    given = [record for record in records if record.kind == "AnswerGiven"]
    return newest.content, str(given[-1].body.get("snapshot") or "")


def _exchange(question: str, answer: str) -> Exchange:
    """One that fits by itself."""
    asked = shorten(question, _QUESTION_LIMIT)
    return Exchange(question=asked, answer=shorten(answer, _MOST_CHARACTERS - len(asked)))


def _work(records: Sequence[Record], snapshot: str) -> EarlierWork | None:
    """The answer's files; of a team that had none, those that its own run had begun with."""
    opening = records[0]
    if snapshot:
        storage = str(opening.body.get("snapshots") or _STORAGE)
        return EarlierWork(run_id=opening.run_id, snapshot=snapshot, storage=storage)
    before = opening.body.get("earlier", {}).get("work")
    return EarlierWork(**before) if before else None


def _own(summary: RunSummary, redact: Callable[[str], str]) -> dict[AgentId, str]:
    return {answer.agent: shorten(redact(answer.content), _OWN_LIMIT) for answer in summary.answers}


def _fitting(exchanges: Sequence[Exchange]) -> tuple[Exchange, ...]:
    kept: list[Exchange] = []
    left = _MOST_CHARACTERS
    for item in reversed(exchanges[-_MOST_EXCHANGES:]):
        left -= len(item.question) + len(item.answer)
        if left < 0 and kept:
            break
        kept.append(item)
    return tuple(reversed(kept))
