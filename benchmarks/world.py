"""What the figures are measured in: the model's process, team files, and the product's own runs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio

from massgen_mcp.runs import Runs
from massgen_mcp.runs.open import open_runs

__all__ = ["model_server", "opened_runs", "team_file", "vendor_server"]


@contextmanager
def model_server(latency: float = 0.0) -> Generator[int]:
    """The port of a model that takes `latency` seconds for a reply."""
    with _serving("benchmarks.model", str(latency)) as port:
        yield port


@contextmanager
def vendor_server() -> Generator[int]:
    """The port of a server that speaks all vendors' formats."""
    with _serving("benchmarks.vendors") as port:
        yield port


@contextmanager
def _serving(*module: str) -> Generator[int]:
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", *module], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def team_file(port: int, models: list[str], *, dead: str | None = None, strategy: str = "auto") -> str:
    """A team of these models on that port; `dead` names one that listens nowhere."""
    agents = "".join(
        f"  - id: a{number}\n    backend:\n      type: chatcompletion\n      model: {model}\n"
        f"      base_url: http://127.0.0.1:{9 if model == dead else port}/v1\n"
        "      price: {input: 1, output: 1}\n"
        for number, model in enumerate(models)
    )
    return f"agents:\n{agents}orchestrator: {{strategy: {strategy}}}\n"


def _write(folder: Path, teams: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in teams.items():
        Path(folder, f"{name}.yaml").write_text(text, encoding="utf-8")


@asynccontextmanager
async def opened_runs(
    settings: Mapping[str, str] | None = None, folder: Path | None = None, /, **teams: str
) -> AsyncGenerator[Runs]:
    """The product's runs over these team files and settings of the operator, with a journal on disk.

    In `folder` they outlive the block.
    """
    with tempfile.TemporaryDirectory() as passing:
        place = folder or Path(passing)
        configs = place / "teams"
        _write(configs, teams)
        environ = {"MASSGEN_MCP_STATE_DIR": str(place / "state"), "PATH": "/usr/bin:/bin"}
        environ |= settings or {}
        async with anyio.create_task_group() as tasks:
            async with open_runs(tasks, place="server", config_dirs=[configs], environ=environ) as runs:
                yield runs
            tasks.cancel_scope.cancel()
