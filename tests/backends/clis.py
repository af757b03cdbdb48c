"""Runtimes on a program that says what a test wants said."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from massgen_mcp.backends import codex, gemini_cli
from massgen_mcp.backends.account import Account
from massgen_mcp.backends.agent_place import FindSandbox
from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.cli_folder import OwnFolder
from massgen_mcp.backends.cli_place import Place, Program
from massgen_mcp.backends.cli_runtime import STARTS, Dialect
from massgen_mcp.backends.codex_dialect import CodexDialect
from massgen_mcp.backends.codex_open import open_codex
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.gemini_cli_dialect import GeminiDialect
from massgen_mcp.backends.gemini_cli_open import open_gemini_cli
from massgen_mcp.backends.pool import Pool
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.secrets import Secrets
from tests.backends import fake_cli
from tests.backends.runtimes import free
from tests.backends.wire import make_context

__all__ = ["Cli", "cli", "failure_of"]

_PYTHON = os.path.realpath(sys.executable)
"""Without the detours of a virtual environment: the programs need nothing of it."""
_MODELS = {"models": [{"slug": "m", "tool_mode": "code"}]}
_CODEX = """#!/bin/sh
case "$1" in
    debug) exec cat "{folder}/models.json" ;;
    sandbox) exit {code} ;;
esac
exec {python} -IS "{folder}/fake.py" "$@"
"""
"""What needs no Python, without one: each start of it takes longer than all else in a test."""


class Cli:
    """The program, and what it was given."""

    def __init__(self, folder: Path, name: str, turns: Sequence[Sequence[object]], **script: Any) -> None:
        self.folder = folder / "program"
        self.folder.mkdir()
        self.path = self.folder / name
        source = Path(fake_cli.__file__).read_text()
        if name == "codex":
            (self.folder / "fake.py").write_text(source)
            (self.folder / "models.json").write_text(json.dumps(script.pop("models", _MODELS)))
            self.path.write_text(
                _CODEX.format(python=_PYTHON, folder=self.folder, code=script.pop("sandbox", 0))
            )
        else:
            # The real gemini is a script that node runs; this one is run by what stands in for node.
            self.path.write_text(source)
        self.path.chmod(0o700)
        (self.folder / "script.json").write_text(json.dumps({"turns": turns, **script}))
        (self.folder / "node").symlink_to(shutil.which("node") or sys.executable)
        self.node = self.folder / "bin" / "node"
        self.node.parent.mkdir()
        self.node.write_text(f'#!/bin/sh\nexec {_PYTHON} -IS "$@"\n')
        self.node.chmod(0o700)

    @property
    def given(self) -> list[dict[str, Any]]:
        """What it wrote down, oldest first."""
        path = self.folder / "given.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def turns(self) -> list[dict[str, Any]]:
        """What it was given in each turn."""
        return [entry for entry in self.given if "prompt" in entry]

    async def waits(self) -> int:
        """Its process id, once it waits."""
        with anyio.fail_after(20):
            while not (pids := [entry["pid"] for entry in self.given if "pid" in entry]):  # noqa: ASYNC110 - another process says so
                await anyio.sleep(0.02)
        return int(pids[0])


@asynccontextmanager
async def cli(
    type: str,  # noqa: A002 - the word of the team file
    program: Cli,
    pool: Pool,
    *,
    secrets: Secrets | None = None,
    environ: dict[str, str] | None = None,
    workspace: Path | None = None,
    readable: tuple[Path, ...] = (),
    starts: float = STARTS,
    find: FindSandbox = free,
    **options: Any,
) -> AsyncGenerator[AgentRuntime]:
    """An agent on that program, not confined."""
    path = os.pathsep.join([str(program.node.parent), os.environ["PATH"]])
    context = make_context(
        type, pool, secrets=secrets, clock=SystemClock(), environ={"PATH": path, **(environ or {})}
    )
    context = replace(context, sandbox="off", workspace=workspace, readable=readable)
    block = {"type": type, "cli_path": program.path, **options}
    if type == "codex":
        runtime = await open_codex(codex.Options.model_validate(block), context, starts=starts, find=find)
    else:
        runtime = await open_gemini_cli(
            gemini_cli.Options.model_validate(block), context, starts=starts, find=find
        )
    try:
        yield runtime
    finally:
        await runtime.aclose()


def failure_of(
    type: str,  # noqa: A002 - the word of the team file
    words: str,
    *,
    folder: Path,
    errors: str = "",
    code: int | None = 1,
) -> BackendError:
    """What a program's words on a failure become."""
    place = Place(
        folder=OwnFolder(folder),
        workspace=folder,
        program=Program(argv=("x",), reads=()),
        environ={},
        sandbox=None,
        why="",
    )
    failures = Failures(title=type, model="m", key="K", secrets=Secrets(), clock=SystemClock())
    account = Account(base_url="u", model="m", key="k", failures=failures)
    if type == "codex":
        codex_options = codex.Options(type=type)
        dialect: Dialect = CodexDialect(codex_options, place, account, bridge=(), shell=True)  # noqa: S604 - not that shell
    else:
        dialect = GeminiDialect(gemini_cli.Options(type=type), place, account, bridge=())
    return dialect.failure(words, errors, code)
