"""`massgen-mcp runs`: what the journal knows of runs, of this process or any other."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import anyio
from rich.text import Text

from massgen_mcp.cli import resume
from massgen_mcp.cli.closing import footer, show_markdown
from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.consoles import tell
from massgen_mcp.cli.streams import say, say_json, say_record
from massgen_mcp.cli.tables import show_table, table
from massgen_mcp.cli.world import MakeRuns, within_runs
from massgen_mcp.errors import RunNotFound
from massgen_mcp.journal import RunRow, export_jsonl, read_intact, report, summarise
from massgen_mcp.runs import Runs
from massgen_mcp.runs.lines import Lines, duration
from massgen_mcp.text import visible

__all__ = ["run"]

_LOOK_SECONDS = 0.25
_INTERRUPTED = "Interrupted runs go on where they stopped: massgen-mcp runs resume RUN_ID"
_NONE_YET = 'There are no runs yet. `massgen-mcp "Question"` makes one.'


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Do what the action says.

    Raises:
        RunNotFound: there is no such run.
        JournalError: the journal can't be used, or a record in it is damaged.
    """
    if args.action == "resume":
        return resume.run(args, make_runs=make_runs, environ=environ)

    async def work(runs: Runs) -> int:
        match args.action:
            case "list":
                await _list(runs, limit=args.limit, as_json=args.json, environ=environ)
            case "show":
                await _show(runs, args, environ)
            case "cancel":
                await _cancel(runs, args.run_id)
            case _:
                await _prune(runs, args.days)
        return ExitCode.ANSWER

    return within_runs(work, make_runs=make_runs, environ=environ)


async def _list(runs: Runs, *, limit: int, as_json: bool, environ: Mapping[str, str]) -> None:
    rows = await runs.rows(limit=limit)
    if as_json:
        say_json(sys.stdout, [_data(row) for row in rows])
        return
    if not rows:
        say(sys.stdout, _NONE_YET)
        return
    found = table("Run", "State", "Started", "Took", "Team", "Question")
    for row in rows:
        took = "" if row.ended is None else duration(row.ended - row.started)
        cells = (row.run_id, row.state, _when(row.started), took, row.team, " ".join(row.question.split()))
        found.add_row(*(Text(visible(cell)) for cell in cells))
    show_table(found, environ)
    if any(row.state == "interrupted" for row in rows):
        say(sys.stderr, _INTERRUPTED)


def _data(row: RunRow) -> dict[str, Any]:
    ended = {} if row.ended is None else {"ended": row.ended}
    return {
        "run_id": row.run_id,
        "status": row.state,
        "team": row.team,
        "question": row.question,
        "started": row.started,
    } | ended


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


async def _show(runs: Runs, args: Namespace, environ: Mapping[str, str]) -> None:
    run_id = args.run_id or await _latest(runs)
    if args.follow:
        await _follow(runs, run_id)
    if args.jsonl:
        async for line in export_jsonl(await runs.journal(), run_id):
            say_record(sys.stdout, line)
    elif args.answers:
        await _report(runs, run_id, environ)
    else:
        await _summary(runs, run_id, environ)


async def _latest(runs: Runs) -> str:
    rows = await runs.rows(limit=1)
    if not rows:
        raise RunNotFound(_NONE_YET)
    return rows[0].run_id


async def _follow(runs: Runs, run_id: str) -> None:
    """Tell on stderr what happens in a run that any process drives, until it is over."""
    journal = await runs.journal()
    lines, after = Lines(redact=runs.secrets.redact), 0
    while True:
        # The state is looked at first, so that the records of a run that is over are all read.
        state = (await journal.row(run_id)).state
        for record in await journal.read(run_id, after=after):
            after = record.seq
            if line := lines.line(record):
                say(sys.stderr, line)
        if state != "running":
            return
        await anyio.sleep(_LOOK_SECONDS)


async def _summary(runs: Runs, run_id: str, environ: Mapping[str, str]) -> None:
    result = await runs.result(run_id)
    redact = runs.secrets.redact
    if result.answer:
        show_markdown(redact(result.answer), environ)
        say(sys.stdout, "")
    if result.status == "running":
        say(sys.stdout, " ".join(part for part in ("Running", result.phase, result.done) if part))
    for line in footer(result):
        tell(sys.stdout, redact(line), environ)


async def _report(runs: Runs, run_id: str, environ: Mapping[str, str]) -> None:
    journal = await runs.journal()
    row = await journal.row(run_id)
    records, damage = await read_intact(journal, run_id)
    show_markdown(runs.secrets.redact(report(summarise(records, state=row.state))).rstrip(), environ)
    if damage is not None:
        raise damage


async def _cancel(runs: Runs, run_id: str) -> None:
    before = await runs.result(run_id)
    if before.status not in {"running", "interrupted"}:
        say(sys.stdout, f"Run {run_id} was over already: {before.status}.")
        return
    result = await runs.cancel(run_id, "`massgen-mcp runs cancel`")
    if result.status == "running":
        say(sys.stdout, f"Run {run_id} was told to stop and is about to.")
        return
    say(sys.stdout, f"Run {run_id} is {result.status}. What it has: massgen-mcp runs show {run_id}")


async def _prune(runs: Runs, days: float) -> None:
    deleted = await runs.prune(days)
    for run_id in deleted:
        say(sys.stdout, run_id)
    say(sys.stderr, f"Runs deleted that were over for {days:g} days: {len(deleted)}.")
