"""The conformance runner, `@modelcontextprotocol/conformance`, on one of our servers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from tests.conformance.proxy import token_door
from tests.e2e.programs import E2E, node, program

__all__ = ["TOKEN", "Check", "Findings", "run", "serving_process"]

TOKEN = "the-token-of-the-conformance-tests"
_RUNNER = E2E / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
_NODE = (22, 0)
"""The oldest that it runs on."""
_SECONDS = 100.0


@dataclass(frozen=True)
class Check:
    """One thing that the runner has looked at."""

    scenario: str
    id: str
    status: str
    why: str = ""

    @property
    def passed(self) -> bool:
        return self.status in ("SUCCESS", "INFO")


class Findings(list[Check]):
    """All of a run."""

    def of(self, scenario: str) -> list[Check]:
        """Those of one scenario."""
        return [check for check in self if check.scenario == scenario]

    @property
    def scenarios(self) -> set[str]:
        return {check.scenario for check in self}

    @property
    def figures(self) -> str:
        """For the log of the tests."""
        counts = {name: sum(check.status == name for check in self) for name in ("SUCCESS", "FAILURE")}
        return f"{counts['SUCCESS']} passed, {counts['FAILURE']} failed, {len(self.scenarios)} scenarios"


@asynccontextmanager
async def serving_process(
    command: Sequence[str], environ: Mapping[str, str], folder: Path
) -> AsyncGenerator[int]:
    """The port of a server started by this command, once it says where it serves."""
    log = folder / "server.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env=dict(environ), cwd=folder, stderr=stderr)  # noqa: ASYNC220, S603 - our own
        try:
            with anyio.fail_after(30):
                while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/mcp", log.read_text("utf-8"))):
                    assert process.poll() is None, log.read_text("utf-8")
                    await anyio.sleep(0.05)
            yield int(found[1])
        finally:
            process.terminate()
            await anyio.to_thread.run_sync(process.wait, 15)


async def run(server: int, revision: str, folder: Path) -> Findings:
    """Everything that the runner has for a revision, on the server at this port."""
    folder.mkdir()  # noqa: ASYNC240 - of the test
    async with token_door(server, TOKEN) as door:
        arguments = ["--url", f"http://127.0.0.1:{door}/mcp", "--requirements", revision, "-o", str(folder)]
        with anyio.fail_after(_SECONDS):
            done = await anyio.run_process(
                [node(_NODE), program(_RUNNER), "server", *arguments], check=False, cwd=folder
            )
    found = Findings(_read(folder))
    assert found, done.stdout.decode() + done.stderr.decode()
    sys.stderr.write(f"conformance {revision}: {found.figures}\n")
    return found


def _read(folder: Path) -> list[Check]:
    return [
        Check(scenario, each["id"], each["status"], each.get("errorMessage") or "")
        for path in sorted(folder.glob("server-*/checks.json"))
        for scenario in [_scenario(path.parent.name)]
        for each in _json(path)
    ]


def _scenario(folder: str) -> str:
    """`server-tools-list-2026-11-22T09-07-09-405Z` is of `tools-list`."""
    return re.sub(r"-\d{4}-\d\d-\d\dT[\d-]+Z$", "", folder).removeprefix("server-")


def _json(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return found
