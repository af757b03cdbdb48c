"""What another process does with the journal: `python driver.py WHAT FOLDER RUN_ID`, one line per step."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from massgen_mcp.errors import JournalError, MassgenError
from massgen_mcp.journal import RunLog, SqliteJournal, open_journal


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def heard() -> None:
    """Wait until somebody writes a line."""
    await anyio.to_thread.run_sync(sys.stdin.readline)


async def append(log: RunLog) -> None:
    """Append for ever, and say each seq that was acknowledged."""
    kinds = ("TurnStarted", "CallReplied", "Notice")
    for number in range(1_000_000):
        record = await log.append(kinds[number % 3], {"number": number})
        say(record.seq)


async def count(log: RunLog) -> None:
    """Append a hundred records and finish."""
    for number in range(100):
        await log.append("Notice", {"number": number})
    await log.append("Finished", {"status": "completed"})
    say("finished")


async def obey(log: RunLog) -> None:
    """Wait until somebody wants the run stopped."""
    await log.activity("a", "waiting to be told")
    say("ready")
    say(await log.wait_cancel())
    await log.append("Finished", {"status": "cancelled"})


async def give_up(log: RunLog, journal: SqliteJournal) -> None:
    """Append while somebody keeps the file locked, then leave."""
    say("ready")
    await heard()
    with anyio.move_on_after(0.2):
        await log.append("Notice", {"event": "too late"})
    try:
        await journal.aclose()
    except JournalError as error:
        say(f"refused: {error}")


async def follow(log: RunLog) -> None:
    """Append a record for each line, until that is refused; and say why the run is to stop, when it is."""

    async def told() -> None:
        say(f"stop: {await log.wait_cancel()}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(told)
        say("ready")
        try:
            while True:
                await heard()
                say((await log.append("AnswerGiven", {"by": "the first"})).seq)
        except MassgenError as error:
            say(f"{type(error).__name__}: {error}")
            await heard()
        tasks.cancel_scope.cancel()


async def take(run_id: str, journal: SqliteJournal) -> None:
    """Take the run over as soon as a line comes, and go on with it."""
    say("ready")
    await heard()
    try:
        log = await journal.take_over(run_id, body={"event": "Resumed"})
    except MassgenError as error:
        say(type(error).__name__)
    else:
        await log.append("Notice", {"event": "at work"})
        say("taken")
    await heard()
    await journal.aclose()


async def main(what: str, folder: Path, run_id: str) -> None:
    journal = await open_journal(folder)
    if what == "take":
        await take(run_id, journal)
        return
    log = await journal.begin(
        run_id, question=f"What does {run_id} do?", team="test", body={"question": what}, digest=f"#{run_id}"
    )
    match what:
        case "append":
            await append(log)
        case "count":
            await count(log)
        case "obey":
            await obey(log)
        case "follow":
            await follow(log)
        case "give_up":
            await give_up(log, journal)
            return
        case _:
            raise ValueError(what)
    await journal.aclose()


anyio.run(main, sys.argv[1], Path(sys.argv[2]), sys.argv[3])
