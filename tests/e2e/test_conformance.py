"""The protocol's own conformance suite on our server over HTTP, in both revisions.

Once on the server as people start it, for everything that needs no tools of the suite's own; once on the
same server with those tools beside ours, for everything.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conformance.runner import TOKEN, Findings, run, serving_process
from tests.e2e.stage import Stage

pytestmark = [pytest.mark.e2e, pytest.mark.anyio, pytest.mark.timeout(180)]

REVISIONS = ("2025-11-25", "2026-07-28")

WITHOUT_FIXTURES: Mapping[str, frozenset[str]] = {
    "2025-11-25": frozenset(
        {
            "completion-complete",
            "dns-rebinding-protection",
            "server-initialize",
            "ping",
            "prompts-list",
            "resources-list",
            "server-session-lifecycle",
            "server-sse-multiple-streams",
            "tools-call-error",
            "tools-list",
        }
    ),
    "2026-07-28": frozenset(
        {
            "caching",
            "completion-complete",
            "dns-rebinding-protection",
            "http-header-validation",
            "prompts-list",
            "resources-list",
            "sep-2164-resource-not-found",
            "server-sse-multiple-streams",
            "server-stateless",
            "tools-call-error",
            "tools-list",
        }
    ),
}
"""Scenarios that need nothing of the suite's own."""

WITH_FIXTURES = (
    "elicitation-",
    "http-custom-header-server-validation",
    "input-required-result-",
    "json-schema-2020-12",
    "logging-set-level",
    "prompts-get-",
    "resources-read-",
    "resources-subscribe",
    "resources-templates-read",
    "resources-unsubscribe",
    "server-sse-polling",
    "tasks-",
    "tools-call-",
)
"""How the names of all others begin. They call tools, read resources or get prompts of the suite's, or want
what was deprecated before this server was written: on it, the shape of their messages is what is held.
"""

NOT_ON_THE_PRODUCT: Mapping[str, str] = {
    "sep-2575-server-rejects-undeclared-capability": "calls test_missing_capability",
    "sep-2575-missing-capability-http-400": "calls test_missing_capability",
    "sep-2575-server-sends-prompts-list-changed-on-subscription": "calls test_trigger_prompt_change",
    "sep-2575-server-sends-tools-list-changed-on-subscription": "calls test_trigger_tool_change",
}
"""Checks of a scenario above that do need a tool of the suite's."""

OF_TASKS = frozenset(
    {
        "sep-2663-tasks-get-invalid-task-id-32602",
        "sep-2663-tasks-methods-non-declaring",
        "sep-2663-tasks-result-removed-method-not-found",
        "tasks-extension-advertised",
        "tasks-headers-reject-mismatched-method",
        "tasks-removed-tasks-list",
    }
)
"""Checks of the tasks scenarios that need no task of the suite's."""

NOTHING_TO_PASS: Mapping[str, Mapping[str, str]] = {
    "2026-07-28": {
        "tasks-status-notifications": "The suite skips it itself until it can read them; they are optional.",
    },
}
"""Scenarios in which no check can pass with the fixtures, and why."""


@asynccontextmanager
async def product(stage: Stage) -> AsyncGenerator[int]:
    """`massgen-mcp serve --http`, with nothing configured."""
    environ = {**stage.environment, "MASSGEN_MCP_TOKEN": TOKEN}
    command = [*stage.command, "serve", "--http", "--port", "0"]
    async with serving_process(command, environ, stage.project) as port:
        yield port


@asynccontextmanager
async def with_fixtures(stage: Stage) -> AsyncGenerator[int]:
    """The same with the suite's tools, resources, prompts and tasks beside ours."""
    environ = {**stage.environment, "MASSGEN_MCP_TOKEN": TOKEN}
    command = [sys.executable, "-X", f"e2e={stage.mark}", "-m", "tests.conformance.program"]
    async with serving_process(command, environ, stage.project) as port:
        yield port


def wrong(found: Findings) -> list[str]:
    return [
        f"{check.scenario}: {check.id}: {check.status}: {check.why}" for check in found if not check.passed
    ]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_the_server_passes_all_that_needs_no_fixtures(revision: str, stage: Stage, tmp_path: Path):
    async with product(stage) as port:
        found = await run(port, revision, tmp_path / "out")
    needed = WITHOUT_FIXTURES[revision]
    assert needed <= found.scenarios
    assert all(name.startswith(WITH_FIXTURES) for name in found.scenarios - needed)
    held = Findings(
        check
        for check in found
        if (check.scenario in needed and check.id not in NOT_ON_THE_PRODUCT)
        or check.id in OF_TASKS
        or check.id == "wire-schema-valid"
    )
    assert wrong(held) == []
    if revision == "2026-07-28":
        assert {check.id for check in held} >= OF_TASKS
        assert {check.id for check in found} >= NOT_ON_THE_PRODUCT.keys()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_with_the_fixtures_it_passes_everything(revision: str, stage: Stage, tmp_path: Path):
    async with with_fixtures(stage) as port:
        found = await run(port, revision, tmp_path / "out")
    nothing = NOTHING_TO_PASS.get(revision, {}).keys()
    assert found.scenarios >= WITHOUT_FIXTURES[revision] | nothing
    assert wrong(Findings(check for check in found if check.scenario not in nothing)) == []
    if revision == "2025-11-25":
        resumed = [check.status for check in found if check.id == "server-sse-disconnect-resume"]
        assert resumed == ["SUCCESS"], "Not tried: the reply came before the connection was closed."
    for scenario in nothing:
        statuses = {check.status for check in found.of(scenario)}
        assert statuses <= {"INFO", "WARNING", "SKIPPED"}, "It passes now: take it off the list."
