"""The two tools by which an agent hands in its work, and how a reply is read for them.

The definitions are byte-constant for a whole run, since providers' prompt caches live on that: valid labels
stand in the last message and are checked here. A backend whose row says `json_schema` gets one constrained
object instead, one that says `text` a last fenced JSON block; all three are read by the same rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from massgen_mcp.backends.info import Workflow
from massgen_mcp.engine import likeness
from massgen_mcp.messages import Reply, ToolCall, ToolSpec, parse_arguments
from massgen_mcp.text import shorten

__all__ = [
    "CONTENT_LIMIT",
    "NEW_ANSWER",
    "VOTE",
    "WORKFLOW_TOOLS",
    "Cast",
    "Decision",
    "Plain",
    "Slip",
    "Submit",
    "UseTools",
    "Wanted",
    "constrained_schema",
    "fit_answer",
    "fit_conclusion",
    "read_reply",
]

CONTENT_LIMIT = 100_000
"""Characters of one answer that are kept."""
_CONCLUSION_LIMIT = 500
_REASON_LIMIT = 2_000
_CUT = f"\n\n[Cut here: only {CONTENT_LIMIT:,} characters of an answer are kept.]"

NEW_ANSWER = ToolSpec(
    name="new_answer",
    description="Hand in your complete answer. Ends your turn.",
    parameters={
        "type": "object",
        "properties": {
            "content": {"type": "string", "description": "The whole answer, ready for the reader."},
            "conclusion": {
                "type": "string",
                "description": "Its bottom line in one short phrase: a number, a name, a choice.",
            },
        },
        "required": ["content", "conclusion"],
        "additionalProperties": False,
    },
)

VOTE = ToolSpec(
    name="vote",
    description="Vote for the best of the answers you were shown. Ends your turn.",
    parameters={
        "type": "object",
        "properties": {
            "answer": {"type": "string", "description": "Its label, such as agent1.1."},
            "reason": {"type": "string", "description": "Why, in one or two sentences."},
            "add": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Labels of answers with correct points that it lacks.",
            },
        },
        "required": ["answer", "reason"],
        "additionalProperties": False,
    },
)

WORKFLOW_TOOLS: tuple[ToolSpec, ...] = (NEW_ANSWER, VOTE)
_NAMES = frozenset(tool.name for tool in WORKFLOW_TOOLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a turn may end in."""

    answer: bool
    labels: tuple[str, ...] = ()
    """Labels that may be voted for; empty where no vote is asked for."""
    others: tuple[str, ...] = ()
    """Labels that were shown but may not be voted for, for `add`."""
    taken: tuple[tuple[str, str], ...] = ()
    """Label and text of the answers that a new one must differ from."""
    novelty: float = 1.0
    """The share of words that a new answer may have in common with one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """The agent handed in an answer. `call` is the call that did, if one did."""

    content: str
    conclusion: str
    call: ToolCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The agent voted for a valid label."""

    label: str
    reason: str
    add: tuple[str, ...] = ()
    call: ToolCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UseTools:
    """The agent wants other tools run first."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """Text without any call."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slip:
    """A call that can't be taken. Each call gets its own words, for the model to read."""

    errors: Mapping[str, str]
    """Call id -> what is wrong and what to do."""
    why: str
    vote: bool = False
    """A vote for a label that is unknown or excluded: the kind that is counted towards abstaining."""


Decision: TypeAlias = Submit | Cast | UseTools | Plain | Slip


def read_reply(reply: Reply, *, workflow: Workflow, wanted: Wanted) -> Decision:
    """What the agent decided in this reply, by the rules of the workflow."""
    calls = reply.calls if workflow == "tools" else ()
    if workflow != "tools":
        block = _json_object(reply.text, whole=workflow == "json_schema")
        if block is None:
            return UseTools(calls=reply.calls) if reply.calls else Plain(text=reply.text)
        calls = (ToolCall(id="", name=_action(block), arguments=json.dumps(block)),)
    own = tuple(call for call in calls if call.name in _NAMES)
    if not own:
        return UseTools(calls=calls) if calls else Plain(text=reply.text)
    return _read_own(own, wanted)


def _read_own(calls: Sequence[ToolCall], wanted: Wanted) -> Decision:
    """The first call that can be taken; an answer before a vote where answers are open."""
    first = NEW_ANSWER.name if wanted.answer else VOTE.name
    ordered = sorted(calls, key=lambda call: call.name != first)
    slips: list[Slip] = []
    for call in ordered:
        decision = _read_call(call, wanted)
        if not isinstance(decision, Slip):
            return decision
        slips.append(decision)
    errors = {key: words for slip in slips for key, words in slip.errors.items()}
    return Slip(errors=errors, why=slips[0].why, vote=any(slip.vote for slip in slips))


def _read_call(call: ToolCall, wanted: Wanted) -> Decision:
    try:
        arguments = parse_arguments(call)
    except ValueError as error:
        return _slip(call, f"The arguments are not valid JSON: {error}. Send the call again.")
    if call.name == NEW_ANSWER.name:
        return _read_answer(call, arguments, wanted)
    return _read_vote(call, arguments, wanted)


def _read_answer(call: ToolCall, arguments: dict[str, Any], wanted: Wanted) -> Decision:
    if not wanted.answer:
        labels = ", ".join(wanted.labels)
        return _slip(call, f"New answers are closed. Call vote with one of: {labels}.", vote=True)
    content, conclusion = arguments.get("content"), arguments.get("conclusion", "")
    if not isinstance(content, str) or not content.strip():
        return _slip(call, "`content` must be your whole answer, as a non-empty string.")
    close = _too_close(content, wanted)
    if close:
        return _slip(call, close, vote=True)
    return Submit(
        content=fit_answer(content),
        conclusion=fit_conclusion(conclusion if isinstance(conclusion, str) else str(conclusion)),
        call=call,
    )


def _too_close(content: str, wanted: Wanted) -> str:
    """What to tell an agent whose new answer says little that is new; empty for one that does.

    The very text of an answer is no slip: it is agreement with it.
    """
    if any(content.strip() == text.strip() for _, text in wanted.taken):
        return ""
    for label, text in wanted.taken:
        share = likeness(content, text)
        if share > wanted.novelty:
            return (
                f"{share:.0%} of its words are those of {label}; more than {wanted.novelty:.0%} is not a new "
                "answer. Vote, or hand in one that differs in substance."
            )
    return ""


def fit_answer(content: str) -> str:
    """An answer as it is kept; one that had to be cut says so at its end."""
    content = content.strip()
    if len(content) <= CONTENT_LIMIT:
        return content
    return shorten(content, CONTENT_LIMIT - len(_CUT)) + _CUT


def fit_conclusion(conclusion: str) -> str:
    """A conclusion as it is kept."""
    return shorten(conclusion.strip(), _CONCLUSION_LIMIT)


def _read_vote(call: ToolCall, arguments: dict[str, Any], wanted: Wanted) -> Decision:
    if not wanted.labels:
        return _slip(call, "There is nothing to vote on. Call new_answer with your own answer.")
    label = _label(arguments.get("answer"))
    if label not in wanted.labels:
        known = "your own, or one that can't be chosen now" if label in wanted.others else "not an answer"
        valid = ", ".join(wanted.labels)
        return _slip(call, f"{shorten(label, 80)!r} is {known}. Valid labels: {valid}.", vote=True)
    reason, extra = arguments.get("reason"), arguments.get("add")
    known_labels = {*wanted.labels, *wanted.others}
    named = [_label(item) for item in cast("list[object]", extra)] if isinstance(extra, list) else []
    add = tuple(dict.fromkeys(item for item in named if item in known_labels and item != label))
    words = shorten(reason, _REASON_LIMIT) if isinstance(reason, str) else ""
    return Cast(label=label, reason=words, add=add, call=call)


def _slip(call: ToolCall, words: str, *, vote: bool = False) -> Slip:
    return Slip(errors={call.id: words}, why=words, vote=vote)


_LABEL = re.compile(r"(?<![^\W_])agent\d+\.\d+(?![^\W_]|\.\d)")
_PHRASE = 40
"""Characters of a phrase that is no more than a label in some dress."""


def _label(value: object) -> str:
    """The one label that a short phrase names; the phrase itself where it names none, or several."""
    if not isinstance(value, str):
        return ""
    text = value.strip().casefold()
    named = set(_LABEL.findall(text)) if len(text) <= _PHRASE else set[str]()
    return named.pop() if len(named) == 1 else text


def _action(block: Mapping[str, Any]) -> str:
    action = block.get("action")
    if action in _NAMES:
        return str(action)
    return VOTE.name if "answer" in block and "content" not in block else NEW_ANSWER.name


_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def _json_object(text: str, *, whole: bool) -> dict[str, Any] | None:
    """The object a reply consists of, or its last fenced block; None when there is none that parses."""
    candidates = [text.strip()] if whole else []
    candidates += [match.group(1).strip() for match in reversed(list(_FENCED.finditer(text)))][:1]
    for candidate in candidates:
        if not candidate.startswith("{"):
            continue
        try:
            return parse_arguments(ToolCall(id="", name="", arguments=candidate))
        except ValueError:
            continue
    return None


def constrained_schema(wanted: Wanted) -> dict[str, Any]:
    """The JSON Schema of the one object a `json_schema` backend must reply with.

    Where both an answer and a vote are open, `action` says which is meant.
    """
    answer = {"content": {"type": "string"}, "conclusion": {"type": "string", "maxLength": 80}}
    labels = list(wanted.labels)
    add = sorted({*wanted.labels, *wanted.others})
    vote = {
        "answer": {"type": "string", "enum": labels},
        "reason": {"type": "string", "maxLength": 200},
        "add": {"type": "array", "items": {"type": "string", "enum": add}, "maxItems": len(add)},
    }
    if not wanted.labels:
        return _object("new_answer", answer, required=("content", "conclusion"))
    if not wanted.answer:
        return _object("vote", vote, required=("answer", "reason"))
    return {
        "anyOf": [
            _object("new_answer", answer, required=("content", "conclusion")),
            _object("vote", vote, required=("answer", "reason")),
        ]
    }


def _object(action: str, properties: Mapping[str, Any], *, required: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"action": {"type": "string", "enum": [action]}, **properties},
        "required": ["action", *required],
        "additionalProperties": False,
    }
