"""A host that starts the server as a process and speaks to it over its pipes, line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.server.peers import Era, envelope, hello
from tests.server.zygote import Forked, fork

ROOT = Path(__file__).parent.parent.parent


class Host:
    """One started server."""

    def __init__(self, process: subprocess.Popen[bytes] | Forked, errors: Path, era: Era) -> None:
        self.process = process
        self.era = era
        self.lines: list[str] = []
        """Everything the server has written to its stdout."""
        self._errors = errors

    @property
    def errors(self) -> str:
        """What it has written to stderr so far."""
        return self._errors.read_text("utf-8", "replace")

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._stdin.write(data)
        self._stdin.flush()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message."""
        self.write(json.dumps(message).encode() + b"\n")

    def request(self, number: int, method: str, **params: Any) -> dict[str, Any]:
        """Send a request of this era and return its reply."""
        meta = envelope() if self.era == "2026-07-28" else {}
        self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": meta}})
        return self.reply(number)

    def begin(self, number: int, tool: str, **arguments: Any) -> None:
        """Call a tool and don't wait."""
        meta = {"progressToken": number} | (envelope() if self.era == "2026-07-28" else {})
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        self.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})

    def listen(self, number: int, **notifications: Any) -> None:
        """Open a stream of notifications; the newer era has them."""
        params = {"notifications": notifications, "_meta": envelope()}
        self.send({"jsonrpc": "2.0", "id": number, "method": "subscriptions/listen", "params": params})

    def reply(self, number: Any) -> dict[str, Any]:
        """The reply of that id; what comes before it is only noted."""
        while True:
            found = self.read()
            if found.get("id") == number:
                return found

    def read(self) -> dict[str, Any]:
        """The next message."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert line, f"The server closed its stdout. Its stderr:\n{self.errors}"
        self.lines.append(line)
        found: dict[str, Any] = json.loads(line)
        return found

    def shake_hands(self) -> None:
        """Begin as clients of this era do."""
        if self.era == "2026-07-28":
            assert "result" in self.request(0, "server/discover")
        else:
            self.send(hello())
            assert "result" in self.reply("hello")
            self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def hang_up(self) -> None:
        """Close the server's stdin."""
        self._stdin.close()

    def ended(self, within: float) -> int:
        """Its exit code, and that it came in time."""
        began = time.monotonic()
        code = self.process.wait(timeout=20)
        assert time.monotonic() - began < within, f"It took {time.monotonic() - began:.1f} s to end."
        return code

    @property
    def _stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin


@contextmanager
def started(
    arguments: Sequence[str],
    folder: Path,
    era: Era = "2026-07-28",
    *,
    environ: Mapping[str, str] | None = None,
    warm: bool = True,
) -> Generator[Host]:
    """A server process, killed at the end if it is still there: `python ARGUMENTS`.

    Args:
        arguments: of Python.
        folder: the home folder of the process, its state below.
        era: how it is spoken to.
        environ: more variables.
        warm: it need not load anything first; for `-m MODULE` alone.
    """
    errors = folder / "stderr"
    kept = ("PATH", "LANG", "COVERAGE_PROCESS_CONFIG")
    clean = {key: os.environ[key] for key in kept if key in os.environ}
    own = {"HOME": str(folder), "MASSGEN_MCP_STATE_DIR": str(folder / "state")}
    variables = clean | own | dict(environ or {})
    with errors.open("wb") as stderr, _begun(arguments, variables, stderr, warm=warm) as process:
        try:
            yield Host(process, errors, era)
        finally:
            process.kill()


def _begun(
    arguments: Sequence[str], environ: Mapping[str, str], stderr: IO[bytes], *, warm: bool
) -> subprocess.Popen[bytes] | Forked:
    if warm:
        assert arguments[0] == "-m"
        return fork(arguments[1], arguments[2:], environ=environ, stderr=stderr)
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environ,
        cwd=ROOT,
    )
