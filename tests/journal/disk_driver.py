"""What happens to a journal on a small disk that fills up, and on one that turns read-only, as JSON.

Started in a namespace of its own, where it may mount.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

import anyio

from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import JournalError
from massgen_mcp.journal import RunLog, open_journal
from massgen_mcp.runs.retention import prune


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)  # noqa: S603, S607 - words of ours


async def fill(log: RunLog) -> tuple[int, str]:
    """Append until it is refused. Returns how many records were taken, and why no more."""
    for number in range(1_000):
        try:
            await log.append("CallReplied", {"number": number, "text": "x" * 20_000})
        except JournalError as error:
            return number, str(error)
    return 1_000, ""


async def main(folder: Path) -> None:
    found: dict[str, object] = {}
    mount("-t", "tmpfs", "-o", "size=2m", "none", str(folder))
    state = folder / "state"
    journal = await open_journal(state)
    log = await journal.begin("new", question="q", team="t", body={})
    taken, found["why"] = await fill(log)
    found["kept"] = len(await journal.read("new")) == taken + 1
    # Somebody makes room.
    mount("-o", "remount,size=8m", str(folder))
    await log.append("CallReplied", {"after": True})
    found["goes on"] = (await journal.read("new"))[-1].body == {"after": True}
    await log.append("Finished", {"status": "completed"})
    await journal.aclose()
    found |= await full(folder, state)
    mount("-o", "remount,ro", str(folder))
    found["read-only"] = await _try(open_journal(state))
    found["new, read-only"] = await _try(open_journal(folder / "other"))
    sys.stdout.write(json.dumps(found))


async def full(folder: Path, state: Path) -> dict[str, object]:
    """A disk without a byte left, on which nobody has the journal open: it is read, and old runs go."""
    kept = state / "runs" / "new"
    kept.mkdir(parents=True)
    found: dict[str, object] = {}
    with (kept / "big").open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(100_000))
            file.flush()
    with (folder / "rest").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))
    found["no new one"] = await _try(open_journal(folder / "new"))
    journal = await open_journal(state)
    found["read when full"] = [(row.run_id, row.state) for row in await journal.rows()]
    found["records when full"] = len(await journal.read("new")) > 1
    found["begun when full"] = await _try(journal.begin("r2", question="q", team="t", body={}))
    now = SystemClock().now() + 1
    found["pruned when full"] = list(await prune(journal, state, 0.0, now=now))
    found["begun after that"] = (await journal.begin("r3", question="q", team="t", body={})).run_id
    await journal.aclose()
    found["begun when closed"] = await _try(journal.begin("r4", question="q", team="t", body={}))
    return found


async def _try(work: Awaitable[object]) -> str:
    try:
        await work
    except JournalError as error:
        return str(error)
    return "done"


anyio.run(main, Path(sys.argv[1]))
