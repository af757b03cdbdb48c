"""Our own words to the agents, compared whole: a change in them is a change of behaviour."""

from __future__ import annotations

import json
import os
from pathlib import Path

from massgen_mcp.team.prompts import (
    PROMPTS_VERSION,
    ShownAnswer,
    answer_system,
    news_text,
    present_text,
    question_text,
    reminder_text,
    synthesis_text,
    vote_text,
)
from massgen_mcp.team.spec import Exchange
from massgen_mcp.team.workflow import WORKFLOW_TOOLS

SNAPSHOT = Path(__file__).parent / "prompts.snapshot.md"
TAG = "0123456789abcdef0123"
ANSWERS = [
    ShownAnswer(label="agent2.1", content="It is 5."),
    ShownAnswer(label="agent1.1", content="It is 4.", own=True),
]
EXCHANGES = [
    Exchange(question="What is 1 + 1?", answer="It is 2."),
    Exchange(question="What is 2 + 2?", answer="It is 4."),
]
LABELS = ["agent2.1", "agent3.1"]


def rendered() -> str:
    parts = {
        "system, tools": answer_system("You check facts.", "tools"),
        "system, json_schema": answer_system("", "json_schema"),
        "system, text": answer_system("", "text"),
        "question": question_text("What is 2 + 2?", "", TAG),
        "question with context": question_text("What is 2 + 2?", "In base ten.", TAG),
        "follow-up": question_text("And twice that?", "", TAG, earlier=EXCHANGES, own="It is 5."),
        "vote": vote_text(ANSWERS, LABELS, TAG, may_answer=False),
        "vote, answers open": vote_text(ANSWERS, LABELS, TAG, may_answer=True),
        "reminder": reminder_text(LABELS, may_answer=False),
        "reminder, answers open": reminder_text(LABELS, may_answer=True),
        "news": news_text(ANSWERS[:1], LABELS, TAG),
        "present": present_text(ANSWERS[:1], ["It is right."], "agent1.1", ["agent2.1"], TAG),
        "present, all seen": present_text([], [], "agent1.1", [], TAG),
        "synthesize a split": synthesis_text(ANSWERS, TAG, split=True),
        "synthesize": synthesis_text(ANSWERS, TAG, split=False),
    }
    tools = [
        {"name": tool.name, "description": tool.description, **tool.parameters} for tool in WORKFLOW_TOOLS
    ]
    parts["tools"] = json.dumps(tools, indent=1)
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in parts.items())
    return f"# Prompts, version {PROMPTS_VERSION}\n\n{body}\n"


def test_our_words_are_those_of_the_snapshot():
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(rendered(), encoding="utf-8")
    assert rendered() == SNAPSHOT.read_text(encoding="utf-8"), (
        "Prompts have changed: raise PROMPTS_VERSION and run `make snapshots`."
    )


def test_our_words_stay_below_two_thousand_bytes_in_the_longest_conversation():
    """With nothing of the caller's or the agents' in them, in the vote turn of a follow-up of ten."""
    earlier = [Exchange(question="", answer="")] * 10
    tools = [[tool.name, tool.description, tool.parameters] for tool in WORKFLOW_TOOLS]
    empty = [ShownAnswer(label="agent1.1", content="")] * 3
    parts = (
        answer_system("", "tools"),
        json.dumps(tools, separators=(",", ":")),
        question_text("", "", TAG, earlier=earlier, own="x"),
        vote_text(empty, LABELS, TAG, may_answer=True),
    )
    assert sum(len(part.encode()) for part in parts) < 2_000
