"""What a bundle shows of a run's records: how it went, and not a word of what it is about."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import anyio
import pytest

from massgen_mcp.cli.bare import without_texts
from massgen_mcp.journal import Journal, open_journal
from tests.cli.terminal import Terminal
from tests.server.shown import data
from tests.teams import ScriptedTeam
from tests.working import agent, answer, ask, call, host, vote

PRIVATE = ("layoffs", "Anna", "Smith", "diagnosis", "Initech", "asthma", "4711")


@dataclass
class Kept(ScriptedTeam):
    """A team whose journal is on disk."""

    folder: Path = field(default_factory=Path)

    async def _open_journal(self) -> Journal:
        return await open_journal(self.folder)


async def _work(place: Path) -> None:
    """Two runs in which everything that can be said is private."""
    write = call("write_file", path="Anna_Smith.txt", content="diagnosis: asthma")
    odd = call("write_file", **{"path": "b.txt", "content": "asthma", "Anna Smith, diagnosis": 4711})
    agents = (
        agent("a", write, odd, answer("Initech lays Anna off"), answer("Initech keeps Anna"), cwd="work"),
        agent("b", vote("A.1"), vote("A.1"), cwd="work"),
    )
    given: dict[str, Any] = {"files": [{"name": "layoffs_2026.md", "text": "Smith"}], "context": "Initech"}
    async with host(place, *agents) as client:
        found = await ask(client, question="Anna?", **given)
        data(await client.call_tool("get_run", {"run_id": found["run_id"]}))
        await ask(client, question="And Smith?", continue_run=found["run_id"])


def _bundled(terminal: Terminal, place: Path, run_id: str) -> list[dict[str, Any]]:
    terminal.environ = {"PATH": str(place), "MASSGEN_MCP_STATE_DIR": str(place / "state")}
    path = place / f"{run_id}.zip"
    ended = terminal.run(Kept({}, folder=place / "state"), "doctor", "--bundle", str(path), "--run", run_id)
    assert path.exists(), ended.err
    with ZipFile(path) as archive:
        return [json.loads(line) for line in archive.read("run.jsonl").decode().splitlines()]


async def _run_ids(place: Path) -> list[str]:
    journal = await open_journal(place / "state")
    rows = await journal.rows()
    await journal.aclose()
    return [row.run_id for row in rows]


def test_nothing_that_was_said_is_in_a_bundle_and_how_it_went_is(terminal: Terminal, tmp_path: Path) -> None:
    anyio.run(_work, tmp_path)
    second, first = anyio.run(_run_ids, tmp_path)
    records = {run_id: _bundled(terminal, tmp_path, run_id) for run_id in (first, second)}
    text = json.dumps(records)
    assert [word for word in PRIVATE if word in text] == []
    kinds = {record["kind"] for record in records[first]}
    assert kinds >= {"RunStarted", "CallStarted", "CallReplied", "ToolStarted", "ToolFinished", "AnswerGiven"}
    for record in records[first] + records[second]:
        # Each key that is written today is known.
        assert [key for key in record["body"] if key.startswith("<")] == [], record
    for ended in records.values():
        assert [key for key in ended[-1]["body"]["result"] if key.startswith("<")] == []
    body = records[first][0]["body"]
    assert body["attached"] == {"<0>": "<64 characters>"}
    assert body["config"]["agents"][0]["backend"]["type"] == "scripted"
    assert [row["id"] for row in body["agents"]] == ["a", "b"]
    assert "<" not in "".join(body["config"])
    (wrote, *_) = [record["body"] for record in records[first] if record["kind"] == "ToolStarted"]
    assert (wrote["agent"], wrote["name"]) == ("a", "write_file")
    assert records[first][-1]["body"]["result"]["agents"][0]["state"] == "answered"
    assert records[second][0]["body"]["earlier"]["work"]["run_id"] == first


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        (
            "ToolStarted",
            {
                "agent": "a",
                "name": "look_up",
                "arguments": {"name": "Anna Smith", "status": ["ill", 4711, True]},
            },
            {
                "agent": "a",
                "name": "look_up",
                "arguments": {"<0>": "<10 characters>", "<1>": ["<3 characters>", "<number>", True]},
            },
        ),
        (
            "CallReplied",
            {
                "reply": {
                    "text": "",
                    "finish": "stop",
                    "calls": [{"id": "c1", "name": "send", "arguments": '{"to":"Anna"}'}],
                    "native": [
                        {"type": "tool_use", "input": {"name": "Anna", "type": "diagnosis"}},
                        "Anna",
                    ],
                },
                "usage": {"input": 5, "cost_source": "table", "cost_usd": 0.5},
            },
            {
                "reply": {
                    "text": "",
                    "finish": "stop",
                    "calls": [{"id": "c1", "name": "send", "arguments": "<13 characters>"}],
                    "native": [
                        {"type": "tool_use", "<1>": {"<0>": "<4 characters>", "<1>": "<9 characters>"}},
                        "<4 characters>",
                    ],
                },
                "usage": {"input": 5, "cost_source": "table", "cost_usd": 0.5},
            },
        ),
        (
            "ToolFinished",
            {
                "result": {"name": "Anna"},
                "images": [{"mime": "image/png", "base64": "AAAA"}],
                "is_error": False,
            },
            {
                "result": {"<0>": "<4 characters>"},
                "images": [{"mime": "image/png", "base64": "<4 characters>"}],
                "is_error": False,
            },
        ),
        (
            "CallStarted",
            {"agent": "a", "session": "Anna", "snapshot": None, "reserved_usd": None, "reserved_tokens": 9},
            {
                "agent": "a",
                "session": "<4 characters>",
                "snapshot": None,
                "reserved_usd": None,
                "reserved_tokens": 9,
            },
        ),
        (
            "CallFailed",
            {
                "kind": "rate_limit",
                "error": "no",
                "handed_in": {"id": "1", "name": "vote", "arguments": "{}"},
            },
            {
                "kind": "rate_limit",
                "error": "<2 characters>",
                "handed_in": {"id": "1", "name": "vote", "arguments": "<2 characters>"},
            },
        ),
        (
            "Notice",
            {"event": "CancelRequested", "reason": "Anna said so", "status": "Anna", "version": "1.0"},
            {
                "event": "CancelRequested",
                "reason": "<12 characters>",
                "<2>": "<4 characters>",
                "version": "1.0",
            },
        ),
        (
            "RunStarted",
            {
                "labels": {"a": "A", "Anna Smith": "B"},
                "earlier": {"exchanges": [["Anna?", "Smith"]], "own": {"a": "Anna"}},
                "config": {
                    "name": "mine",
                    "agents": [{"id": "a", "backend": {"extra_headers": {"X-Anna": "1", "name": "Anna"}}}],
                    "anna": {"id": "Anna"},
                    "budget": {"usd": 1.5},
                },
            },
            {
                "labels": {"a": "A", "<1>": "B"},
                "earlier": {
                    "exchanges": [["<5 characters>", "<5 characters>"]],
                    "own": {"a": "<4 characters>"},
                },
                "config": {
                    "name": "mine",
                    "agents": [
                        {
                            "id": "a",
                            "backend": {"extra_headers": {"<0>": "<1 characters>", "<1>": "<4 characters>"}},
                        }
                    ],
                    "<2>": {"<0>": "<4 characters>"},
                    "budget": {"usd": 1.5},
                },
            },
        ),
        (
            "VoteCast",
            {"agent": "two\nlines", "label": "x" * 200},
            {"agent": "<9 characters>", "label": "<200 characters>"},
        ),
        ("VoteCast", {"agent": {"name": "Anna"}}, {"agent": {"<0>": "<4 characters>"}}),
        ("Unheard", {"agent": "a", "n": 1}, {"<0>": "<1 characters>", "<1>": "<number>"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_listed_for_a_kind_is_kept_and_all_else_is_shape(
    kind: str, body: dict[str, Any], shown: dict[str, Any]
) -> None:
    assert without_texts(kind, body) == shown
