"""aimock, the scripted provider of these tests: started on fixtures, asked afterwards what it was sent."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import pytest

from tests.e2e.programs import E2E, node, program

__all__ = ["Aimock", "Fixture", "running_aimock"]

Fixture: TypeAlias = dict[str, Any]
"""What to reply to which request, in aimock's own words; see e2e/aimock.mjs for the two that were added."""

_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimock:
    """One aimock on loopback, with nothing in its journal before the test."""

    url: str
    key: str | None

    def journal(self, *, path: str = "") -> list[dict[str, Any]]:
        """What it was asked and what it replied, oldest first."""
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        reply = httpx2.get(f"{self.url}/__aimock/journal", params={"path": path}, headers=headers)
        return reply.raise_for_status().json()

    def models(self) -> list[str]:
        """The model of each chat completion it was asked for, oldest first."""
        return [entry["body"]["model"] for entry in self.journal(path="/chat/completions")]


@contextmanager
def running_aimock(
    folder: Path, fixtures: Sequence[Fixture], *, keys: Sequence[str] = ()
) -> Generator[Aimock]:
    """aimock on a free port until the block is left. With `keys`, it lets in only these."""
    program(E2E / "node_modules" / "@copilotkit" / "aimock" / "package.json")
    script = folder / "fixtures.json"
    script.write_text(json.dumps({"fixtures": list(fixtures), **({"keys": list(keys)} if keys else {})}))
    log = folder / "aimock.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603 - node, on a file of this project
            [node(), str(E2E / "aimock.mjs"), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            # Else a fixture's turnIndex is a hint, and the wrong step of a script is served.
            env={**os.environ, "AIMOCK_STRICT_TURN_INDEX": "1"},
        )
    with process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            if not first:
                pytest.fail(f"aimock did not start:\n{log.read_text()}", pytrace=False)
            url = json.loads(first)["url"]
            httpx2.get(f"{url}/ready").raise_for_status()
            yield Aimock(url=url, key=keys[0] if keys else None)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """It ends when its standard input does, as it also would if the test were killed."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
