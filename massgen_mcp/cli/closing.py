"""What a person reads when a run is over: the answer on stdout, and how it came about on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from rich.markdown import Markdown

from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.consoles import console_for, is_screen, tell
from massgen_mcp.cli.streams import say
from massgen_mcp.cli.wording import for_a_person
from massgen_mcp.runs import RunResult
from massgen_mcp.runs.lines import RULES, duration, money
from massgen_mcp.runs.result import AgentRow, BallotRow, ChangeRow, Detail, FileRow
from massgen_mcp.text import visible

__all__ = ["exit_code", "footer", "show_footer", "show_markdown"]

_WARNING = "Warning: "
_SO_FAR = "this is the best answer so far"
_STOPPED = {
    "deadline": f"The time was over; {_SO_FAR}.",
    "budget": f"The budget was used up; {_SO_FAR}.",
    "cancelled": f"The run was stopped; {_SO_FAR}.",
}
_AS_ASKED = "as asked"
_LIMITS = {
    "deadline": (
        "For more time: --seconds where you gave it, `timeout_settings` of the team file, else "
        "MASSGEN_MCP_MAX_SECONDS."
    ),
    "budget": (
        "For more: --budget where you gave it, `budget` of the team file, else MASSGEN_MCP_MAX_USD and "
        "MASSGEN_MCP_MAX_TOKENS."
    ),
}


def exit_code(result: RunResult) -> ExitCode:
    """What a script learns of the run."""
    if result.status in {"cancelled", "interrupted"}:
        return ExitCode.INTERRUPTED
    if not result.answer:
        return ExitCode.NO_ANSWER
    stopped = result.status == "partial" and result.stopped_by in {"deadline", "budget"}
    return ExitCode.PARTIAL if stopped else ExitCode.ANSWER


def show_markdown(text: str, environ: Mapping[str, str]) -> None:
    """A text on stdout: formatted on a screen, the very Markdown everywhere else."""
    console = console_for(sys.stdout, environ)
    if is_screen(console):
        # Without hyperlinks: a link must show where it leads.
        console.print(Markdown(visible(text), hyperlinks=False))
    else:
        say(sys.stdout, text)
    sys.stdout.flush()


def show_footer(
    result: RunResult, detail: Detail, environ: Mapping[str, str], *, redact: Callable[[str], str]
) -> None:
    """The footer on stderr, set off from an answer above it on the same screen."""
    if result.answer and sys.stdout.isatty():
        say(sys.stderr, "")
    for line in footer(result, detail):
        style = "yellow" if line.startswith(_WARNING) else "dim" if result.answer else ""
        tell(sys.stderr, redact(line), environ, style=style)


def footer(result: RunResult, detail: Detail = "summary") -> list[str]:
    """Lines below an answer: who won and why, what it cost, who differs, where the rest is."""
    lines = [_ended(result)]
    if detail != "answer":
        lines += [_more(result), _chosen(result), _used(result), _why(result)]
        lines += [_file(row) for row in result.files] + [_change(row) for row in result.changes]
        lines += [f"{other.agent} differs: {_one_line(other.conclusion)}" for other in result.dissent]
    if detail == "votes":
        lines += [_ballot(vote) for vote in result.ballot]
        lines += [_agent(row) for row in result.agents]
    if detail != "answer":
        lines += [f"{_WARNING}{for_a_person(warning)}" for warning in result.warnings]
    lines.append(f"Every answer and vote: massgen-mcp runs show {result.run_id} --answers")
    return [line for line in lines if line]


def _ended(result: RunResult) -> str:
    if result.status == "running":
        return ""
    error = for_a_person(result.error)
    if result.status == "interrupted":
        why = error or "The process that drove this run is gone."
        return f"{why} {_SO_FAR.capitalize()}." if result.answer else why
    if not result.answer:
        return error or f"No agent answered ({result.status})."
    return error or ("" if result.status == "completed" else _STOPPED.get(result.stopped_by, ""))


def _more(result: RunResult) -> str:
    """What lets the next run go on for longer, where this one was stopped."""
    return "" if result.status == "running" else _LIMITS.get(result.stopped_by, "")


def _chosen(result: RunResult) -> str:
    """`gemini's answer (by vote: gemini 2, claude 1)`."""
    if not result.winner:
        return ""
    how = RULES.get(result.agreement.rule, result.agreement.rule) if result.agreement else ""
    if result.agreement and result.agreement.votes:
        how += ": " + ", ".join(f"{agent} {votes:g}" for agent, votes in result.agreement.votes.items())
    elif result.agreement and result.agreement.merged:
        how += ": " + "; ".join(", ".join(group) for group in result.agreement.merged)
    return f"{result.winner}'s answer" + (f" ({how})" if how else "")


def _used(result: RunResult) -> str:
    """`3 agents, 6 requests, 4,210 tokens, $0.02, 12 s`."""
    usage = result.usage
    facts = [
        _count(len(result.agents), "agent"),
        _count(usage.requests, "request"),
        _count(usage.input + usage.output, "token"),
        money(usage.cost_usd),
        duration(result.seconds),
        _unsure(result),
    ]
    team = f"Team {result.team.name}: " if result.team else ""
    return team + ", ".join(fact for fact in facts if fact)


def _why(result: RunResult) -> str:
    """Why this team answered, where nobody named one."""
    why = result.team.why if result.team else ""
    return "" if why in {"", _AS_ASKED} or result.status == "running" else f"Why this team: {why}"


def _unsure(result: RunResult) -> str:
    """What may be billed for requests that were cut off, or that a run without an answer cost nothing."""
    usage = result.usage
    if lost := money(usage.lost.get("cost_usd")):
        return f"and {lost if lost.startswith('under') else f'up to {lost}'} for requests that were cut off"
    spent = usage.cost_usd or usage.input or usage.output or usage.lost
    return "" if result.answer or result.status == "running" or spent else "nothing was spent"


def _file(row: FileRow) -> str:
    """`File: /home/.../report.md (812 bytes)`."""
    return f"File: {row.local_path or row.path} ({row.bytes:,} bytes)"


def _change(row: ChangeRow) -> str:
    """`Changed in the project: calc.py (+1 -1)`."""
    return f"Changed in the project: {row.path} (+{row.added} -{row.removed})"


def _agent(row: AgentRow) -> str:
    """`gemini (gemini-2.5-flash): voted, 2 requests, 1,240 tokens, $0.01, 4 s`."""
    facts = [
        row.state,
        _count(row.requests, "request"),
        _count(row.tokens, "token"),
        money(row.cost_usd),
        duration(row.seconds),
        f"error: {_one_line(row.error)}" if row.error else "",
    ]
    model = f" ({row.model})" if row.model else ""
    return f"{row.id}{model}: " + ", ".join(fact for fact in facts if fact)


def _ballot(vote: BallotRow) -> str:
    reason = f": {_one_line(vote.reason)}" if vote.reason else ""
    return f"{vote.voter} voted for {vote.chose}{reason}"


def _count(number: int, noun: str) -> str:
    if not number:
        return ""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _one_line(text: str) -> str:
    return " ".join(text.split())
