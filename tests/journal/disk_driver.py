"""What happens to a journal on a small disk that fills up, and on one that turns read-only, as JSON.

Started in a namespace of its own, where it may mount.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path

import anyio

from massgen_mcp.errors import JournalError
from massgen_mcp.journal import RunLog, open_journal


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
    await journal.aclose()
    mount("-o", "remount,ro", str(folder))
    found["read-only"] = await _try(open_journal(state))
    found["new, read-only"] = await _try(open_journal(folder / "other"))
    sys.stdout.write(json.dumps(found))


async def _try(work: Awaitable[object]) -> str:
    try:
        await work
    except JournalError as error:
        return str(error)
    return "done"


anyio.run(main, Path(sys.argv[1]))
