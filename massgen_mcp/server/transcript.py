"""What is in a run, as entries to page through or as Markdown: its answers, and everything that happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from massgen_mcp.journal import Kind, Record, RunSummary
from massgen_mcp.server.pages import Entry

__all__ = ["answer_entries", "final_answer", "markdown", "transcript_entries"]

_WORKFLOW = frozenset({"new_answer", "vote"})
_TOLD = frozenset({"answer", "vote"})
"""Ends of turns that the answer or the vote has already told."""


def final_answer(summary: RunSummary) -> str:
    """The answer a run returned, whole; replies may have carried its head only."""
    own = [answer.content for answer in summary.answers if answer.agent == summary.winner]
    return max(summary.answer, own[-1], key=len) if own else summary.answer


def answer_entries(summary: RunSummary) -> list[Entry]:
    """Every agent's answers, all revisions, in the order given."""
    return [
        Entry(
            {"label": answer.label, "agent": answer.agent}
            | ({"conclusion": answer.conclusion} if answer.conclusion else {}),
            answer.content,
        )
        for answer in summary.answers
    ]


def transcript_entries(records: Iterable[Record]) -> list[Entry]:
    """Everything a reader can use, in order. What another entry tells has none of its own."""
    entries: list[Entry] = []
    for record in records:
        tell = _TEXTS.get(record.kind)
        if tell is None or record.body.get("how") in _TOLD:
            continue
        agent = record.body.get("agent")
        head = {"n": record.seq, "what": record.kind} | ({"agent": agent} if agent else {})
        entries.append(Entry(head, tell(record.body)))
    return entries


def markdown(entries: Sequence[Mapping[str, Any]]) -> str:
    """Entries for hosts that show text."""
    return "\n\n".join(f"### {_title(entry)}\n\n{entry['text']}".rstrip() for entry in entries)


def _title(entry: Mapping[str, Any]) -> str:
    if "label" in entry:
        return f"{entry['label']} ({entry['agent']})"
    return f"{entry['n']}. {entry['what']}" + (f": {entry['agent']}" if "agent" in entry else "")


def _run_started(body: Mapping[str, Any]) -> str:
    agents = ", ".join(agent.get("id", "") for agent in body.get("agents", ()))
    context = f"\n\nContext:\n{body['context']}" if body.get("context") else ""
    return f"Team {body.get('team', '')}: {agents}\n\nQuestion:\n{body.get('question', '')}{context}"


def _turn_started(body: Mapping[str, Any]) -> str:
    shown = body.get("shown")
    return f"{body.get('kind', '')} turn" + (f", shown: {', '.join(shown)}" if shown else "")


def _turn_ended(body: Mapping[str, Any]) -> str:
    return f"{body.get('how', '')}" + (f": {body['why']}" if body.get("why") else "")


def _replied(body: Mapping[str, Any]) -> str:
    reply, usage = body.get("reply", {}), body.get("usage", {})
    calls = [
        f"calls {call['name']}" + ("" if call["name"] in _WORKFLOW else f" {call['arguments']}")
        for call in reply.get("calls", ())
    ]
    cost = usage.get("cost_usd")
    facts = f"{reply.get('model', '')}, {usage.get('input', 0)} tokens in, {usage.get('output', 0)} out"
    parts = [reply.get("text", ""), *calls, f"({facts}{'' if cost is None else f', ${cost:.4f}'})"]
    return "\n".join(part for part in parts if part)


def _failed(body: Mapping[str, Any]) -> str:
    count = body.get("attempts", 1)
    return f"{body.get('kind', '')}: {body.get('error', '')} ({count} attempt{'' if count == 1 else 's'})"


def _tool_started(body: Mapping[str, Any]) -> str:
    return f"{body.get('name', '')} {body.get('arguments', '')}"


def _tool_finished(body: Mapping[str, Any]) -> str:
    return f"{'error: ' if body.get('is_error') else ''}{body.get('result', '')}"


def _answer(body: Mapping[str, Any]) -> str:
    return f"{body.get('label', '')}:\n{body.get('content', '')}"


def _vote(body: Mapping[str, Any]) -> str:
    return f"for {body.get('label', '')}" + (f": {body['reason']}" if body.get("reason") else "")


def _notice(body: Mapping[str, Any]) -> str:
    facts = {key: value for key, value in body.items() if key != "event" and value not in ("", None)}
    return f"{body.get('event', '')}" + (f" {json.dumps(facts, ensure_ascii=False)}" if facts else "")


def _finished(body: Mapping[str, Any]) -> str:
    winner = f", {body['winner']}'s answer" if body.get("winner") else ""
    rule = f" ({body['rule']})" if body.get("rule") else ""
    stopped = f", stopped by: {body['stopped_by']}" if body.get("stopped_by") else ""
    return f"{body.get('status', '')}{stopped}{winner}{rule}"


_TEXTS: Mapping[Kind, Callable[[Mapping[str, Any]], str]] = {
    "RunStarted": _run_started,
    "TurnStarted": _turn_started,
    "TurnEnded": _turn_ended,
    "CallReplied": _replied,
    "CallFailed": _failed,
    "ToolStarted": _tool_started,
    "ToolFinished": _tool_finished,
    "AnswerGiven": _answer,
    "VoteCast": _vote,
    "Notice": _notice,
    "Finished": _finished,
}
