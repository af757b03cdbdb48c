"""`massgen-mcp usage`: what runs have used and cost, by who answered, who was asked, who asked, and when."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.consoles import tell
from massgen_mcp.cli.streams import say, say_json
from massgen_mcp.cli.tables import show_table, table
from massgen_mcp.cli.world import MakeRuns, within_runs
from massgen_mcp.journal import Record, RunRow, RunSummary, read_intact, summarise
from massgen_mcp.journal.rules import lost_cost_of
from massgen_mcp.runs import Runs
from massgen_mcp.runs.lines import money
from massgen_mcp.text import visible
from massgen_mcp.usage import Usage

__all__ = ["BY", "run"]

BY = ("backend", "model", "team", "user", "day")
"""What usage can be told by."""

_OF_AGENTS = frozenset({"backend", "model"})
"""That by which a run's usage is told apart by its agents."""
_DAY = 86_400.0
_PAGE = 200
_OPERATOR = "(operator)"
_UNKNOWN = "(unknown)"


@dataclass(slots=True)
class _Line:
    """What was used under one name."""

    name: str
    runs: int = 0
    usage: Usage = field(default_factory=Usage)
    damaged: int = 0
    lost: float = 0.0
    """US dollars set aside for requests that were cut off; not in `usage`. Known of whole runs."""

    def data(self, by: str) -> dict[str, Any]:
        usage = self.usage
        return {
            by: self.name,
            "runs": self.runs,
            "requests": usage.requests,
            "input": usage.input,
            "output": usage.output,
            "cost_usd": usage.cost_usd,
            "unpriced": usage.unpriced,
        } | ({} if by in _OF_AGENTS else {"lost_usd": self.lost})


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Show what was used, most expensive first; by day the newest first.

    Raises:
        JournalError: the journal can't be used.
    """

    async def work(runs: Runs) -> int:
        lines, total = await _count(runs, by=args.by, since=_since(args.days))
        ordered = sorted(lines.values(), key=lambda line: line.name, reverse=args.by == "day")
        if args.by != "day":
            ordered.sort(key=lambda line: line.usage.cost_usd or 0.0, reverse=True)
        if args.json:
            found = {"days": args.days, "by": args.by, "rows": [line.data(args.by) for line in ordered]}
            say_json(sys.stdout, runs.secrets.redact_value(found | {"total": total.data("name")}))
        elif not ordered:
            say(sys.stdout, f"No runs in the last {args.days:g} days.")
        else:
            _show(ordered, total, args.by, environ)
        return ExitCode.ANSWER

    return within_runs(work, make_runs=make_runs, environ=environ)


def _since(days: float) -> float:
    """The first moment of the first day: days are those of the calendar, UTC, and today is the last."""
    now = time.time()
    midnight = now - now % _DAY
    return midnight - (days - 1) * _DAY


async def _count(runs: Runs, *, by: str, since: float) -> tuple[dict[str, _Line], _Line]:
    lines: dict[str, _Line] = {}
    total = _Line("total")
    journal = await runs.journal()
    async for row in _rows(runs, since):
        records, damage = await read_intact(journal, row.run_id)
        summary, lost = summarise(records, state=row.state), _lost(records)
        total.runs += 1
        total.usage += _whole(row, summary)
        total.damaged += damage is not None
        total.lost += lost
        for name, usage in _parts(by, row, summary):
            line = lines.setdefault(name, _Line(name))
            line.runs += 1
            line.usage += usage
            line.lost += lost
    return lines, total


async def _rows(runs: Runs, since: float) -> AsyncIterator[RunRow]:
    before: float | None = None
    while rows := await runs.rows(limit=_PAGE, before=before):
        for row in rows:
            if row.started < since:
                return
            yield row
        before = rows[-1].started


def _parts(by: str, row: RunRow, summary: RunSummary) -> Iterator[tuple[str, Usage]]:
    match by:
        case "team":
            yield row.team or _UNKNOWN, _whole(row, summary)
        case "user":
            yield row.user or _OPERATOR, _whole(row, summary)
        case "day":
            yield datetime.fromtimestamp(row.started, UTC).strftime("%Y-%m-%d"), _whole(row, summary)
        case _:
            found: dict[str, Usage] = {}
            for agent in summary.agents:
                name = (agent.backend if by == "backend" else agent.model) or _UNKNOWN
                found[name] = found.get(name, Usage()) + agent.usage
            yield from found.items()


def _whole(row: RunRow, summary: RunSummary) -> Usage:
    """A run's usage; what it cost stands in its row even where its records are damaged."""
    if summary.usage.cost_usd is not None or not row.cost_usd:
        return summary.usage
    return summary.usage + Usage(cost_usd=row.cost_usd)


def _lost(records: Sequence[Record]) -> float:
    """What a run's total leaves out, but the money of its day does not."""
    return lost_cost_of(records[-1].kind, records[-1].body) if records else 0.0


def _show(lines: list[_Line], total: _Line, by: str, environ: Mapping[str, str]) -> None:
    made = table(by.capitalize(), "Runs", "Requests", "Tokens in", "Tokens out", "Cost")
    for line in [*lines, *([total] if len(lines) > 1 else [])]:
        usage = line.usage
        cells = (
            line.name,
            f"{line.runs:,}",
            f"{usage.requests:,}",
            f"{usage.input:,}",
            f"{usage.output:,}",
            _cost(usage),
        )
        made.add_row(*(Text(visible(cell)) for cell in cells))
    show_table(made, environ)
    if total.usage.unpriced:
        tell(sys.stdout, f"+: {total.usage.unpriced:,} requests have no known price.", environ)
    if total.lost:
        words = (
            f"{money(total.lost)} more were set aside for requests that were cut off. They may have been "
            "billed, so a day's limit counts them."
        )
        tell(sys.stdout, words, environ)
    if total.damaged:
        words = f"{total.damaged:,} runs have damaged records, so some of what they used may be missing."
        tell(sys.stderr, words, environ)


def _cost(usage: Usage) -> str:
    if usage.cost_usd is None:
        return "not known" if usage.requests else ""
    return (money(usage.cost_usd) or "$0.00") + ("+" if usage.unpriced else "")
