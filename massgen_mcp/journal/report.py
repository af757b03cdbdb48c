"""A run's report for people, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from massgen_mcp.journal.summary import AgentSummary, RunSummary
from massgen_mcp.text import shorten, visible
from massgen_mcp.usage import Usage

__all__ = ["report"]

_LONGEST_LINE = 500
_RULES = {
    "agreement": "all live agents reached the same conclusion",
    "quorum": "enough agents reached the same conclusion",
    "ballot": "it won the vote",
    "presented": "it won the vote and was presented once more with the votes' reasons",
    "synthesis": "it states what the agents agree and disagree on",
    "only_answer": "it was the only answer",
    "single_agent": "the team has one agent",
    "best_so_far": "it was the best when the run had to stop",
}


def report(summary: RunSummary) -> str:
    """Question, answer, who said what, votes with their reasons, costs and warnings.

    What agents wrote is quoted, so that it can't pass for a part of the report.
    """
    parts = [
        _head(summary),
        _section("Question", _quote(summary.question)),
        _section("Context", _quote(summary.context)),
        _section("Answer", _quote(summary.answer) or _missing(summary)),
        _section("Answers of the agents", _answers(summary)),
        _section("Votes", _votes(summary)),
        _section("Agents and cost", _costs(summary)),
        _section("Notices", _list(_notice(notice) for notice in summary.notices)),
        _section("Warnings", _list(summary.warnings)),
    ]
    return visible("\n\n".join(part for part in parts if part)) + "\n"


def _head(summary: RunSummary) -> str:
    lines = [f"# Run {_line(summary.run_id)}", ""]
    status = summary.state + (f", stopped by {summary.stopped_by}" if summary.stopped_by else "")
    lines.append(f"- Status: {_line(status)}")
    if summary.team:
        lines.append(f"- Team: {_line(summary.team)}")
    lines.append(f"- Started: {_moment(summary.started)}")
    if summary.ended is not None:
        lines.append(f"- Took: {summary.ended - summary.started:.1f} s")
    if summary.parent:
        lines.append(f"- Continues: {_line(summary.parent)}")
    if summary.winner:
        why = _RULES.get(summary.rule, summary.rule)
        lines.append(
            f"- Winner: {_line(_name(summary, summary.winner))}" + (f": {_line(why)}" if why else "")
        )
    return "\n".join(lines)


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _missing(summary: RunSummary) -> str:
    if summary.state == "running":
        return "Not yet."
    return "There is none." if not summary.answers else "The run did not get to one; the agents' are below."


def _answers(summary: RunSummary) -> str:
    parts: list[str] = []
    for answer in summary.answers:
        parts.append(f"### {_line(answer.label)} ({_line(answer.agent)})")
        if answer.conclusion:
            parts.append(f"Conclusion: {_line(answer.conclusion)}")
        parts.append(_quote(answer.content) or "> (empty)")
    return "\n\n".join(parts)


def _votes(summary: RunSummary) -> str:
    lines: list[str] = []
    ballots = {vote.ballot for vote in summary.votes}
    for vote in summary.votes:
        ballot = f" (ballot {vote.ballot})" if len(ballots) > 1 else ""
        text = f"**{_line(_name(summary, vote.agent))}** chose {_line(vote.label)}{ballot}"
        if vote.reason:
            text += f": {_line(vote.reason)}"
        if vote.add:
            text += f" It would add points of {_line(', '.join(vote.add))}."
        lines.append(text)
    return _list(lines)


def _costs(summary: RunSummary) -> str:
    if not summary.agents:
        return ""
    rows = [
        "| agent | backend | model | ended in | requests | tokens in | tokens out | cost | seconds |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        *(_row(summary, agent) for agent in summary.agents),
    ]
    usage = summary.usage
    total = f"In all: {_count(usage.requests, 'request')}, {_count(usage.tokens, 'token')}, {_cost(usage)}."
    if summary.open_calls:
        what = "under way" if summary.state == "running" else "lost"
        calls = _count(summary.open_calls, "request")
        total += (
            f" {calls} {what}, reserved at {_count(summary.open_tokens, 'token')}, ${summary.open_usd:.4f}."
        )
    if summary.lost_calls:
        calls = _count(summary.lost_calls, "request")
        total += (
            f" {calls} lost when the run was interrupted, reserved at "
            f"{_count(summary.lost_tokens, 'token')}, ${summary.lost_usd:.4f}."
        )
    failures = _list(f"{_line(agent.id)}: {_line(agent.error)}" for agent in summary.agents if agent.error)
    return "\n\n".join(part for part in ("\n".join(rows), failures, total) if part)


def _row(summary: RunSummary, agent: AgentSummary) -> str:
    usage = agent.usage
    cells = (
        _name(summary, agent.id),
        agent.backend,
        agent.model,
        agent.state,
        f"{usage.requests}",
        f"{usage.input:,}",
        f"{usage.output:,}",
        _cost(usage),
        f"{agent.seconds:.1f}",
    )
    return "| " + " | ".join(_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _name(summary: RunSummary, agent: str) -> str:
    label = next((found.label for found in summary.agents if found.id == agent), "")
    return f"{agent} ({label})" if label else agent


def _cost(usage: Usage) -> str:
    if usage.cost_usd is None and usage.cost_source == "subscription":
        return "subscription"
    if usage.cost_usd is None:
        return "no price known" if usage.requests else "$0"
    return f"${usage.cost_usd:.4f}" + (f" and {usage.unpriced} without a price" if usage.unpriced else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _notice(notice: Mapping[str, Any]) -> str:
    rest = ", ".join(
        f"{key} {value}" for key, value in notice.items() if key != "event" and value is not None
    )
    event = str(notice.get("event") or "notice")
    return f"{event}: {rest}" if rest else event


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {_flat(item)}" for item in items)


def _quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _line(text: str) -> str:
    """A text that came from elsewhere, for use inside a line."""
    return shorten(_flat(text), _LONGEST_LINE)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
