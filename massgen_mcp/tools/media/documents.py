"""The text of documents: plain text here, everything else in a confined child."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, cast

import anyio

from massgen_mcp.tools.custom.tools import tool_environment, tool_reads
from massgen_mcp.tools.media import extract
from massgen_mcp.tools.media.child import Launcher, Unfinished, private_folder, run_confined
from massgen_mcp.tools.media.kinds import document_kind
from massgen_mcp.workspace.confinement import Confinement, ProcessLimits

__all__ = ["Unreadable", "read_text_of"]

_EXTRACT = Path(extract.__file__).resolve()
_READ = frozenset({"pdf", "docx", "xlsx", "pptx"})
_MOST_PAGES = 50
_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?")
_LIMITS = ProcessLimits(cpu_seconds=60, memory_bytes=1024**3, file_bytes=1024**2, processes=64)
_SECONDS = 90.0


class Unreadable(Exception):
    """The document can't be read; the text says why and what to do."""


async def read_text_of(
    name: str, data: bytes, *, pages: str = "", most: int = 50_000, sandbox: Launcher | None
) -> str:
    """Its text, at most so many characters, with a note on what is missing.

    Raises:
        Unreadable: as said.
    """
    kind = document_kind(name, data)
    if kind == "text":
        text = data.decode("utf-8-sig", "replace")
        return text if len(text) <= most else f"{text[:most]}\n[... {len(text) - most} characters follow]"
    if kind not in _READ:
        raise Unreadable(f"{name} is a file of kind {kind}, which can't be read. Convert it to PDF or text.")
    if sandbox is None:
        raise Unreadable(f"{name} can't be read: documents are read in a sandbox alone, and none works here.")
    first, last = _range(pages)
    said = await _extracted(data, kind, first, last, most, sandbox)
    if "missing" in said:
        raise Unreadable(
            f"{name} can't be read: the operator has to install it: pip install 'massgen-mcp[media]'."
        )
    if "error" in said:
        raise Unreadable(f"{name} can't be read: {str(said['error'])[:300]}.")
    return _told(said, first, last)


def _range(pages: str) -> tuple[int, int]:
    if not pages.strip():
        return 1, _MOST_PAGES
    match = _RANGE.fullmatch(pages)
    first = int(match[1]) if match else 0
    last = int(match[2] or first) if match else 0
    if not 1 <= first <= last:
        raise Unreadable("`pages` must be a page or a range, as 3 or 10-20.")
    return first, min(last, first + 4 * _MOST_PAGES - 1)


async def _extracted(
    data: bytes, kind: str, first: int, last: int, most: int, sandbox: Launcher
) -> dict[str, Any]:
    async with private_folder() as folder:
        path = folder / f"document.{kind}"
        await anyio.Path(path).write_bytes(data)
        argv = (sys.executable, "-P", "-B", str(_EXTRACT), str(path), kind, str(first), str(last), str(most))
        reads = (path, _EXTRACT, *tool_reads(()))
        confinement = Confinement(cwd=folder, read=reads, limits=_LIMITS)
        try:
            out = await run_confined(
                argv, confinement, sandbox, environ=tool_environment(), seconds=_SECONDS, most=8 * most + 4096
            )
            said: Any = json.loads(out.splitlines()[-1])
        except Unfinished as error:
            return {"error": f"its reader did not finish: {error}"}
        except (ValueError, IndexError):
            return {"error": "its reader ended without a word"}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {"error": "its reader said nothing"}


def _told(said: dict[str, Any], first: int, last: int) -> str:
    text, count = str(said.get("text", "")), int(said.get("pages", 1))
    if count < first:
        raise Unreadable(f"It has {count} pages.")
    notes = ["The text is cut; ask for fewer pages."] if said.get("cut") else []
    if count > last:
        notes.append(f"It has {count} pages; these are {first} to {last}.")
    if not text.strip():
        notes.append("It holds no text; perhaps its pages are pictures.")
    return "\n\n".join(part for part in (text, " ".join(notes)) if part)
