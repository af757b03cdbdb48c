"""What another process does with the journal: `python driver.py WHAT FOLDER RUN_ID`, one line per step."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from massgen_mcp.errors import JournalError
from massgen_mcp.journal import RunLog, SqliteJournal, open_journal


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


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
    await anyio.to_thread.run_sync(sys.stdin.readline)
    with anyio.move_on_after(0.2):
        await log.append("Notice", {"event": "too late"})
    try:
        await journal.aclose()
    except JournalError as error:
        say(f"refused: {error}")


async def main(what: str, folder: Path, run_id: str) -> None:
    journal = await open_journal(folder)
    log = await journal.begin(
        run_id, question=f"What does {run_id} do?", team="test", body={"question": what}
    )
    match what:
        case "append":
            await append(log)
        case "count":
            await count(log)
        case "obey":
            await obey(log)
        case "give_up":
            await give_up(log, journal)
            return
        case _:
            raise ValueError(what)
    await journal.aclose()


anyio.run(main, sys.argv[1], Path(sys.argv[2]), sys.argv[3])
