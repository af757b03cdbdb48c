"""How each kind of record reads in a transcript."""

from __future__ import annotations

from typing import Any

import pytest

from massgen_mcp.journal import Kind, Record, RunSummary, summarise
from massgen_mcp.server.transcript import final_answer, markdown, transcript_entries


def entries(kind: Kind, /, **body: Any) -> list[dict[str, Any]]:
    record = Record(run_id="r", seq=7, at=0.0, kind=kind, body=body)
    return [{**entry.head, "text": entry.text} for entry in transcript_entries([record])]


REPLY = {
    "text": "Let me see.",
    "calls": [
        {"id": "1", "name": "web_search", "arguments": '{"q": "x"}'},
        {"id": "2", "name": "vote", "arguments": '{"answer": "agent1.1"}'},
    ],
    "model": "m",
}


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        (
            "RunStarted",
            {"team": "fast", "agents": [{"id": "a"}], "question": "Q?"},
            "Team fast: a\n\nQuestion:\nQ?",
        ),
        (
            "TurnStarted",
            {"agent": "a", "kind": "vote", "shown": ["b.1", "a.1"]},
            "vote turn, shown: b.1, a.1",
        ),
        ("TurnEnded", {"agent": "a", "how": "failed", "why": "no quota"}, "failed: no quota"),
        ("TurnEnded", {"agent": "a", "how": "stopped"}, "stopped"),
        (
            "CallReplied",
            {"agent": "a", "reply": REPLY, "usage": {"input": 5, "output": 2, "cost_usd": 0.001}},
            'Let me see.\ncalls web_search {"q": "x"}\ncalls vote\n(m, 5 tokens in, 2 out, $0.0010)',
        ),
        ("CallReplied", {"reply": {"text": "Hm.", "model": "m"}}, "Hm.\n(m, 0 tokens in, 0 out)"),
        (
            "CallFailed",
            {"kind": "quota", "error": "Add credit.", "attempts": 2},
            "quota: Add credit. (2 attempts)",
        ),
        ("ToolStarted", {"name": "read_file", "arguments": '{"path": "x"}'}, 'read_file {"path": "x"}'),
        ("ToolFinished", {"result": "text"}, "text"),
        ("ToolFinished", {"result": "no such file", "is_error": True}, "error: no such file"),
        ("AnswerGiven", {"label": "agent1.1", "content": "4"}, "agent1.1:\n4"),
        ("VoteCast", {"label": "agent1.1"}, "for agent1.1"),
        ("Notice", {"event": "RoundDeadline", "round": 2}, 'RoundDeadline {"round": 2}'),
        ("Notice", {"event": "CancelRequested", "reason": ""}, "CancelRequested"),
        ("Finished", {"status": "failed", "stopped_by": "decided"}, "failed, stopped by: decided"),
    ],
)
def test_a_record_reads_as_what_happened(kind: Kind, body: dict[str, Any], text: str):
    (entry,) = entries(kind, **body)
    assert entry["text"] == text
    assert (entry["n"], entry["what"]) == (7, kind)


def test_what_another_entry_tells_has_none_of_its_own():
    assert entries("CallStarted", agent="a") == []
    assert entries("TurnEnded", agent="a", how="answer") == []


def test_a_heading_names_who_did_it():
    assert markdown(entries("VoteCast", agent="a", label="agent1.1")) == "### 7. VoteCast: a\n\nfor agent1.1"
    assert markdown(entries("Notice", event="RunDeadline")) == "### 7. Notice\n\nRunDeadline"


def test_the_final_answer_of_a_run_without_a_winner_is_what_it_returned():
    assert final_answer(RunSummary(run_id="r", state="failed", answer="")) == ""
    assert final_answer(summarise([])) == ""
