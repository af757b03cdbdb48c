"""What `massgen-mcp doctor` finds of this user's own: settings, state folder, journal, keys, roots, teams."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from massgen_mcp.cli.findings import Finding, Level
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.variables import KNOWN_KEYS
from massgen_mcp.errors import JournalError, MassgenError
from massgen_mcp.journal.check import Health, check_journal
from massgen_mcp.journal.folder import explain, network_file_system
from massgen_mcp.runs import Teams
from massgen_mcp.runs.roots import Roots
from massgen_mcp.runs.settings import Settings

__all__ = ["backends", "journal", "keys", "roots", "settings_found", "state_folder", "teams"]

_MEBIBYTE = 1024 * 1024
_LITTLE = 100 * _MEBIBYTE
_OTHERS = 0o077
_MOUNTS = Path("/proc/self/mountinfo")
_NO_KEYS = (
    "Set one where this program is started, or write it into the .env of a folder looked at. Desktop apps "
    "and SDK clients don't hand the shell's variables on: there it belongs into the host's own `env` block. "
    "Ollama and LM Studio need none."
)


def settings_found(settings: Settings) -> Iterator[Finding]:
    """The operator's settings, and those that can't be read."""
    limits = settings.allowance
    memory = "" if settings.max_memory is None else f", {settings.max_memory:,} MiB"
    days = "for ever" if settings.keep_days is None else f"for {settings.keep_days:g} days"
    yield Finding(
        name="settings",
        level="ok",
        text=f"where no team file says otherwise a run may use ${limits.usd:g}, {limits.tokens:,} tokens, "
        f"{limits.seconds:g} s; at once {settings.max_runs} runs, {settings.max_agents} agents{memory}; runs "
        f"are kept {days}",
    )
    for folder in settings.config_dirs:
        if not folder.is_dir():
            yield Finding(
                name="settings",
                level="note",
                text=f"{folder}, where team files are to lie, is no folder: no team is found there",
                remedy="Make it, or correct MASSGEN_MCP_CONFIG_DIRS or --config-dir.",
            )
    for problem in (*settings.problems, settings.too_deep):
        if problem:
            yield Finding(name="settings", level="problem", text=problem, remedy="Mend or unset it.")


def state_folder(folder: Path, *, mounts: Path = _MOUNTS, least: int = _LITTLE) -> Iterator[Finding]:
    """Whether runs can be kept there, and by this user alone. What is missing is not made."""
    name = "state folder"
    real = Path(os.path.realpath(folder))
    if kind := network_file_system(real, mounts):
        remedy = "Set MASSGEN_MCP_STATE_DIR to a folder on a disk of this machine."
        text = f"{folder} is on a network file system ({kind}), where a journal may lose data"
        yield Finding(name=name, level="problem", text=text, remedy=remedy)
        return
    there = next(parent for parent in (real, *real.parents) if parent.exists())
    if (trouble := _cant_write(there)) is not None:
        yield Finding(name=name, level="problem", text=str(trouble))
        return
    free = shutil.disk_usage(there).free
    if free < least:
        text = f"{folder}: {free // _MEBIBYTE} MiB are left on its disk"
        yield Finding(name=name, level="problem", text=text, remedy="Make room: a full disk ends runs.")
    elif there != real:
        yield Finding(name=name, level="ok", text=f"{folder} is made with the first run")
    elif os.name != "nt" and real.stat().st_mode & _OTHERS:
        text = f"{folder} holds questions and answers, and others on this machine can look into it"
        yield Finding(name=name, level="problem", text=text, remedy=f"chmod 700 '{folder}'")
    else:
        yield Finding(
            name=name,
            level="ok",
            text=f"{folder}, {free // _MEBIBYTE:,} MiB free; holds questions and answers",
        )


def _cant_write(folder: Path) -> JournalError | None:
    """Why no file can be made there: modes alone don't tell of full and read-only disks."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".massgen-mcp-"):
            return None
    except OSError as error:
        return explain(folder, error)


def journal(folder: Path) -> tuple[Finding, Health | None]:
    """Whether the journal is whole. Waits for the disk."""
    try:
        health = check_journal(folder)
    except JournalError as error:
        return Finding(name="journal", level="problem", text=str(error)), None
    if health is None:
        return Finding(name="journal", level="ok", text="there is none yet"), None
    level, more, remedy = _verdict(health)
    size = f"{health.size / _MEBIBYTE:.1f} MiB, version {health.version}"
    text = f"{health.runs:,} runs, {health.records:,} records, {size}; {more}"
    return Finding(name="journal", level=level, text=text, remedy=remedy), health


def _verdict(health: Health) -> tuple[Level, str, str]:
    if health.version > health.newest:
        remedy = "Upgrade massgen-mcp, or set MASSGEN_MCP_STATE_DIR to another folder."
        return "problem", f"this massgen-mcp knows up to version {health.newest}", remedy
    if health.complaints:
        remedy = (
            "What is before the damage can be read: `massgen-mcp runs show RUN_ID --jsonl`. Then move "
            "journal.db away, with its -wal and -shm; the next run begins a new one."
        )
        return "problem", f"damaged: {'; '.join(health.complaints)}", remedy
    if health.damaged:
        remedy = "Other runs are whole. `massgen-mcp runs show RUN_ID` shows what can be read of one."
        return "problem", f"damaged runs: {', '.join(health.damaged)}", remedy
    return "ok", f"whole ({health.proved:,} runs proved)", ""


def keys(environment: Environment) -> Iterator[Finding]:
    """Which keys are set and where, by name; and names that may have been meant for one."""
    held = {name: environment.source(name) for name in sorted(KNOWN_KEYS)}
    set_here = [f"{name} ({source})" for name, source in held.items() if source]
    if set_here:
        yield Finding(name="keys", level="ok", text=f"set: {', '.join(set_here)}")
    else:
        yield Finding(name="keys", level="note", text=f"none is set; {environment.where()}", remedy=_NO_KEYS)
    meant = {near: name for name, source in held.items() if not source for near in environment.near(name)}
    for near, name in sorted(meant.items()):
        text = f"{near} is set, which nothing here reads"
        yield Finding(name="keys", level="note", text=text, remedy=f"Was {name} meant?")
    for trouble in environment.troubles:
        yield Finding(name="keys", level="problem", text=trouble, remedy="Mend or remove that file.")


def roots(found: Roots) -> Iterator[Finding]:
    """Which folders a host may name files from."""
    if found.folders:
        listed = ", ".join(str(folder) for folder in found.folders)
        yield Finding(name="roots", level="ok", text=f"files may be named from {listed} ({found.why})")
    else:
        remedy = "Start it in the project's folder, or name one with --root."
        yield Finding(name="roots", level="note", text=f"no files may be named: {found.why}", remedy=remedy)
    for warning in found.warnings:
        yield Finding(name="roots", level="problem", text=warning)


async def teams(source: Teams) -> Sequence[Finding]:
    """Team files that can't be used, with what is wrong with each."""
    findings: list[Finding] = []
    names = source.names()
    for name in names:
        found = await source.validate(name)
        if not found["ok"]:
            errors = [_line(row) for row in found["problems"] if row.get("severity", "error") == "error"]
            remedy = f"massgen-mcp validate {name}"
            findings.append(
                Finding(name="team", level="problem", text=f"{name}: {' '.join(errors)}", remedy=remedy)
            )
    whole = len(names) - len(findings)
    return [
        Finding(name="teams", level="ok", text=f"{whole} of {len(names)} team files can be used"),
        *findings,
    ]


def _line(row: Mapping[str, Any]) -> str:
    where = f" (line {row['line']})" if row.get("line") else ""
    return f"{row.get('path', '')}{where}: {row['message']}"


async def backends(source: Teams) -> Sequence[Finding]:
    """Which backends could answer now."""
    try:
        found = await source.catalogue()
    except MassgenError as error:
        return [Finding(name="backends", level="problem", text=str(error))]
    ready = [row["backend"] for row in found["backends"] if row.get("ready")]
    rest = len(found["backends"]) - len(ready)
    if not ready:
        return [Finding(name="backends", level="note", text="none is ready", remedy=_NO_KEYS)]
    words = f"ready: {', '.join(ready)}; {rest} are not (`massgen-mcp backends` says why)"
    return [Finding(name="backends", level="ok", text=words)]
