"""Our server over HTTP as a process, for clients that come to it."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.e2e.programs import wait_until
from tests.e2e.stage import Stage
from tests.http.test_http_process import free_port

__all__ = ["TOKEN", "Served", "serving"]

TOKEN = "the-token-of-the-end-to-end-tests"
"""The operator's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that listens."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def serving(stage: Stage, **environ: str) -> Generator[Served]:
    """Our server on a free port until the block is left, with these variables beside its own."""
    log = stage.folder / "server.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*stage.command, "serve", "--http", "--port", free_port()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**stage.environment, "MASSGEN_MCP_TOKEN": TOKEN, "MASSGEN_MCP_LOG": "INFO", **environ},
            cwd=stage.project,
        )
    with process:
        try:
            wait_until(lambda: " MCP at http" in log.read_text(), seconds=30, what="the server listens")
            url = log.read_text().partition(" MCP at ")[2].split()[0]
            yield Served(url=url, process=process)
        finally:
            process.terminate()
            process.wait(15)
