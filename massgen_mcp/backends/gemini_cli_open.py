"""Opens a Gemini CLI agent: finds the program and its node, makes its folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import anyio.to_thread

from massgen_mcp.backends.agent_place import FindSandbox
from massgen_mcp.backends.bridge import open_bridge
from massgen_mcp.backends.cli_place import Program, cli_account, find_program, open_place
from massgen_mcp.backends.cli_runtime import STARTS, CliRuntime
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.gemini_cli import Options
from massgen_mcp.backends.gemini_cli_dialect import GeminiDialect
from massgen_mcp.errors import BackendError
from massgen_mcp.workspace.sandbox import find_sandbox

__all__ = ["open_gemini_cli"]

_API = "https://generativelanguage.googleapis.com"


async def open_gemini_cli(
    options: Options, context: BackendContext, *, starts: float = STARTS, find: FindSandbox = find_sandbox
) -> CliRuntime:
    """An agent on Gemini CLI, ready for its turns. `starts`: seconds until its first word in each."""
    account = await cli_account(options, context, _API)
    program = await anyio.to_thread.run_sync(_program, options, context)
    place = await open_place(context, program, find=find)
    async with place.opening():
        bridge = await open_bridge(place.line)
    dialect = GeminiDialect(options, place, account, bridge=bridge.command)
    warnings = [f"Gemini CLI is not confined here: {place.why}"] if place.why else []
    return CliRuntime(
        context, account, place=place, bridge=bridge, dialect=dialect, starts=starts, warnings=warnings
    )


def _program(options: Options, context: BackendContext) -> Program:
    """The script and the node that runs it."""
    script = find_program("gemini", options.cli_path, context, package="@google/gemini-cli")
    node = shutil.which("node", path=context.environ.get("PATH", os.defpath))
    if node is None:
        remedy = "Install node 20 or later."
        what = "Gemini CLI needs `node`, which is not on PATH"
        raise BackendError(f"{what}. {remedy}", kind="unavailable", remedy=remedy, connected=False)
    real = Path(node).resolve()
    return Program(argv=(str(real), str(script)), reads=(*_outside_system(real.parents[1]), _package(script)))


def _outside_system(folder: Path) -> tuple[Path, ...]:
    return () if folder.is_relative_to("/usr") or folder == Path("/") else (folder,)


def _package(script: Path) -> Path:
    """The folder of the package that the script belongs to."""
    for folder in script.parents:
        if (folder / "package.json").is_file():
            return folder
    return script.parent
