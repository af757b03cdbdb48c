"""From a run in motion, or one that is over, to the result its caller reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from massgen_mcp.engine import Board, Outcome
from massgen_mcp.runs.result import (
    ANSWER_LIMIT,
    AgentRow,
    Agreement,
    BallotRow,
    ChangeRow,
    Dissent,
    FileRow,
    RunResult,
    TeamInfo,
    UsageRow,
)
from massgen_mcp.team import Ended, TeamRun
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.spec import ChangedFile
from massgen_mcp.usage import Usage

__all__ = ["DEMO_BAR", "change_rows", "finished_result", "phase_of", "running_result"]

DEMO_BAR = "Demo model, not for use:"
_PHRASE = 200
_CENT = 0.01


def finished_result(run: TeamRun, ended: Ended, *, team: TeamInfo, warnings: Sequence[str]) -> RunResult:
    """The whole result of a run that is over."""
    outcome, board = ended.outcome, ended.board
    seats = list(run.seats.values())
    demo = any(getattr(seat.backend, "is_demo", False) for seat in seats)
    answer = outcome.answer.content if outcome.answer else ""
    return RunResult(
        answer=_fitting(f"{DEMO_BAR} {answer}" if demo and answer else answer, run.log.run_id),
        status=outcome.status,
        stopped_by=outcome.stopped_by if outcome.answer or outcome.stopped_by != "decided" else "",
        run_id=run.log.run_id,
        winner=outcome.winner or "",
        agreement=_agreement(board, outcome),
        dissent=_dissent(board, outcome),
        ballot=_ballot(board, outcome),
        agents=[agent_row(seat) for seat in seats],
        usage=usage_row(seats, outcome.saved),
        files=_files(run.log.run_id, ended),
        changes=change_rows(run.log.run_id, ended.made.changes),
        team=team,
        seconds=round(ended.seconds, 2),
        error="" if outcome.answer else _no_answer(outcome, seats),
        warnings=[*warnings, *_warnings(run, outcome, seats), *ended.made.warnings],
        report=f"massgen://runs/{run.log.run_id}",
    )


def _files(run_id: str, ended: Ended) -> list[FileRow]:
    return [
        FileRow(
            path=file.path,
            mime=file.mime,
            bytes=file.bytes,
            local_path=str(file.local_path),
            uri=f"massgen://runs/{run_id}/files/{quote(file.path)}",
        )
        for file in ended.made.files
    ]


def change_rows(run_id: str, changes: Iterable[ChangedFile]) -> list[ChangeRow]:
    """What a run changed in the project, and where to read how."""
    return [
        ChangeRow(
            path=change.path,
            added=change.added,
            removed=change.removed,
            diff_uri=f"massgen://runs/{run_id}/changes/{quote(change.path)}" if change.diff else "",
        )
        for change in changes
    ]


def running_result(
    run: TeamRun, *, team: TeamInfo, eta: float | None, warnings: Sequence[str], phase: str = ""
) -> RunResult:
    """What is known of a run that is still in motion, and how to collect it."""
    run_id = run.log.run_id
    now, done = phase_of(run.board)
    usage = usage_row(list(run.seats.values()), run.board.saved)
    return RunResult(
        status="running",
        run_id=run_id,
        phase=phase or now,
        done=done,
        eta_seconds=eta,
        agents=[agent_row(seat) for seat in run.seats.values()],
        spent=usage.cost_usd or None,
        usage=usage,
        team=team,
        seconds=round(run.seconds, 1),
        warnings=list(warnings),
        next=f'get_run(run_id="{run_id}", wait_seconds=45)',
        report=f"massgen://runs/{run_id}",
    )


def phase_of(board: Board) -> tuple[str, str]:
    """What the team is doing, and how many of its agents are done with it: `voting`, `2/3`."""
    live = len(board.live)
    if board.phase == "presentation":
        return "presenting", "0/1"
    if board.ballot:
        voted = len({vote.voter for vote in board.votes if vote.ballot == board.ballot} | board.abstained)
        return "voting", f"{min(voted, live)}/{live}"
    return "answering", f"{len(board.current)}/{len(board.members)}"


def agent_row(seat: Seat) -> AgentRow:
    """One agent's part so far."""
    total = seat.usage + seat.lost
    return AgentRow(
        id=seat.spec.id,
        backend=seat.spec.info.type,
        model=seat.model or seat.spec.options.model or "",
        state=seat.state,
        requests=total.requests,
        tokens=seat.usage.tokens,
        cost_usd=seat.usage.cost_usd,
        seconds=round(seat.seconds, 2),
        tool_calls=seat.tool_calls,
        attempts=seat.attempts,
        retries=seat.retries,
        error=seat.error,
    )


def usage_row(seats: Sequence[Seat], saved: int) -> UsageRow:
    """What all agents used together."""
    used, lost = Usage(), Usage()
    for seat in seats:
        used += seat.usage
        lost += seat.lost
    lost_part: dict[str, float] = {}
    if lost.requests:
        lost_part = {"requests": lost.requests, "tokens": lost.tokens}
        if lost.cost_usd:
            lost_part["cost_usd"] = lost.cost_usd
    return UsageRow(
        requests=used.requests + lost.requests,
        input=used.input,
        output=used.output,
        cached=used.cached,
        reasoning=used.reasoning,
        cost_usd=used.cost_usd,
        saved=saved,
        lost=lost_part,
    )


def _agreement(board: Board, outcome: Outcome) -> Agreement:
    votes = Counter(board.answer(vote.answer).agent for vote in outcome.votes)
    merged = [[board.answer(answer_id).agent for answer_id in group] for group in outcome.merged]
    return Agreement(
        rule=outcome.rule,
        margin=outcome.margin if outcome.votes else None,
        votes=dict(votes.most_common()),
        merged=merged,
    )


def _dissent(board: Board, outcome: Outcome) -> list[Dissent]:
    answers = [board.answer(answer_id) for answer_id in outcome.dissent]
    return [
        Dissent(agent=answer.agent, conclusion=(answer.conclusion or answer.content)[:_PHRASE])
        for answer in answers
    ]


def _ballot(board: Board, outcome: Outcome) -> list[BallotRow]:
    return [
        BallotRow(
            voter=vote.voter,
            chose=board.answer(vote.answer).agent,
            reason=vote.reason,
            add=[board.answer(extra).agent for extra in vote.add],
        )
        for vote in outcome.votes
    ]


def _fitting(answer: str, run_id: str) -> str:
    if len(answer) <= ANSWER_LIMIT:
        return answer
    where = f"\n\n[{len(answer):,} characters in all; the whole text: massgen://runs/{run_id}/answers/final]"
    return answer[: ANSWER_LIMIT - len(where)] + where


def _no_answer(outcome: Outcome, seats: Sequence[Seat]) -> str:
    causes = [f"{seat.spec.id} ({seat.spec.info.type}): {seat.error}" for seat in seats if seat.error]
    spent = _spent(usage_row(seats, outcome.saved))
    return "\n".join([outcome.why or "No agent answered.", *causes, *([spent] if spent else [])])


def _spent(usage: UsageRow) -> str:
    """What a run has cost that has nothing to show for it."""
    tokens = usage.input + usage.output
    if usage.cost_usd:
        return f"{'Under $0.01' if usage.cost_usd < _CENT else f'${usage.cost_usd:.2f}'} was spent."
    if tokens and usage.cost_usd is None:
        return f"{tokens:,} tokens were used, at prices that are not known."
    if usage.lost:
        return ""
    return "Nothing is known to have been spent." if usage.requests else "Nothing was spent."


def _warnings(run: TeamRun, outcome: Outcome, seats: Sequence[Seat]) -> list[str]:
    words = [f"{seat.spec.id}: {text}" for seat in seats for text in seat.warnings]
    if outcome.answer is not None:
        failed = [seat for seat in seats if seat.state == "failed"]
        words += [f"{seat.spec.id} failed: {seat.error}" for seat in failed]
        words += _missing(outcome, seats)
    if run.budget.unpriced and run.budget.usd is not None:
        names = sorted({seat.model or seat.spec.options.model or "" for seat in seats if seat.usage.unpriced})
        if names:
            words.append(
                f"No price is known for {', '.join(names)}: the limit of ${run.budget.usd:.2f} can't be held "
                "there, only the one of tokens. Give `price` in the backend block."
            )
    return words


_STOPPED = {"budget": "The run's budget is used up.", "deadline": "Time was over before all were done."}


def _missing(outcome: Outcome, seats: Sequence[Seat]) -> list[str]:
    """Why a result is not whole: the run's reason, and each agent that was cut short."""
    if outcome.status not in {"partial", "cancelled"}:
        return []
    why = outcome.why or _STOPPED.get(outcome.stopped_by, "")
    stopped = [f"{seat.spec.id} was stopped before it answered." for seat in seats if seat.state == "stopped"]
    spent = [f"{seat.spec.id} had no budget left." for seat in seats if seat.error_kind == "budget"]
    return [*([why] if why else []), *stopped, *spent]
