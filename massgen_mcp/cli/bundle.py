"""`massgen-mcp doctor --bundle`: one zip file for a bug report, without secrets, and texts only if asked."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import anyio
import anyio.to_thread

from massgen_mcp.cli.bare import without_texts
from massgen_mcp.cli.findings import Finding, version_of
from massgen_mcp.errors import RequestRefused, RunNotFound
from massgen_mcp.journal import Record, read_intact
from massgen_mcp.journal.check import Health
from massgen_mcp.runs import Runs

__all__ = ["Bundle", "write_bundle"]

_LOG_LINES = 200
_LOG_BYTES = 256 * 1024
_OURS = "MASSGEN_MCP_"
_SHOWN = re.compile(r"MASSGEN_MCP_(MAX_\w+|KEEP_DAYS|LOG|DEPTH)")
"""Settings whose values are numbers or levels."""
_README = """What is in this file, made by `massgen-mcp doctor --bundle`:

doctor.json     what the doctor found: versions, paths, programs, which keys are set (never what they are)
versions.json   the versions of the packages that massgen-mcp needs
settings.json   its settings; the values of those that are numbers or levels, of others only that they are set
journal.json    the journal's tables, version and size
run.jsonl       the records of one run, {texts}
log.txt         the end of a log, where one was named

Keys and other secrets known to massgen-mcp are replaced by their names, and your home folder by ~.
Names of teams, agents, models and tools are in it. Look through it before you send it to anybody.
"""
_WITH, _WITHOUT = (
    "with questions, answers and errors",
    "its texts replaced by their lengths, and so what calls and files are named",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What is to be written."""

    path: Path
    found: Sequence[Finding]
    health: Health | None
    run_id: str | None = None
    """None: the latest run, if there is one."""
    log: Path | None = None
    with_texts: bool = False


async def write_bundle(bundle: Bundle, runs: Runs, environ: Mapping[str, str]) -> None:
    """Write the zip file, for its owner alone.

    Raises:
        RequestRefused: there is such a file, or it can't be written, or the log can't be read.
        RunNotFound: there is no such run.
    """
    files = {
        "README.txt": _README.format(texts=_WITH if bundle.with_texts else _WITHOUT),
        "doctor.json": _json([finding.data() for finding in bundle.found]),
        "versions.json": _json(_versions()),
        "settings.json": _json(_settings(environ)),
        "journal.json": _json(_journal(bundle.health)),
        "run.jsonl": await _run(bundle, runs),
    }
    if bundle.log is not None:
        files["log.txt"] = await anyio.to_thread.run_sync(_end_of, bundle.log)
    home = str(Path.home())
    clean = {name: _homeless(runs.secrets.redact(text), home) for name, text in files.items()}
    await anyio.to_thread.run_sync(_write, bundle.path, clean)


def _homeless(text: str, home: str) -> str:
    return text.replace(home, "~") if len(home) > 1 else text


def _write(path: Path, files: Mapping[str, str]) -> None:
    memory = io.BytesIO()
    with ZipFile(memory, "w", ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text.encode("utf-8", "backslashreplace"))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(memory.getvalue())
    except FileExistsError as error:
        raise RequestRefused(f"{path} is there already. Give --bundle another name.") from error
    except OSError as error:
        raise RequestRefused(f"{path} can't be written: {error.strerror}.") from error


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _versions() -> dict[str, str]:
    """Of the packages that this one names itself; what else is installed is nobody's business."""
    try:
        lines = requires("massgen-mcp") or []
    except PackageNotFoundError:
        lines = []
    names = {match[0] for line in lines if (match := re.match(r"[A-Za-z0-9._-]+", line))}
    return {name: version_of(name) or "not installed" for name in sorted({"massgen-mcp", *names})}


def _settings(environ: Mapping[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in sorted(environ.items()) if name.startswith(_OURS)}
    return {name: value if _SHOWN.fullmatch(name) else "set" for name, value in ours.items()}


def _journal(health: Health | None) -> dict[str, Any]:
    if health is None:
        return {"there": False}
    return {
        "there": True,
        "version": health.version,
        "newest": health.newest,
        "runs": health.runs,
        "records": health.records,
        "bytes": health.size,
        "complaints": health.complaints,
        "damaged": health.damaged,
        "schema": health.schema,
    }


async def _run(bundle: Bundle, runs: Runs) -> str:
    if bundle.health is None and bundle.run_id is None:
        return ""  # opening the journal would make one
    journal = await runs.journal()
    run_id = bundle.run_id
    if run_id is None:
        rows = await runs.rows(limit=1)
        if not rows:
            return ""
        run_id = rows[0].run_id
    try:
        records, damage = await read_intact(journal, run_id)
    except RunNotFound:
        if bundle.run_id is not None:
            raise
        return ""
    lines = [_line(record, with_texts=bundle.with_texts) for record in records]
    if damage is not None:
        lines.append(json.dumps({"damaged": damage.seq}))
    return "".join(f"{line}\n" for line in lines)


def _line(record: Record, *, with_texts: bool) -> str:
    body = dict(record.body)
    fields = {
        "run_id": record.run_id,
        "seq": record.seq,
        "schema": record.schema,
        "at": record.at,
        "kind": record.kind,
        "turn": record.turn,
        "call": record.call,
        "body": body if with_texts else without_texts(record.kind, body),
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        raise RequestRefused(f"The log {log} can't be read: {error.strerror}.") from error
    return "".join(text.splitlines(keepends=True)[-_LOG_LINES:])
