"""What is sent to the embedded model for one request, and how its reply is read.

A model with a chat template follows the conversation, held to the schema by a grammar. A base model continues
text instead: worked examples, the question, and a grammar for what may come next. It votes by answering again
with only the conclusions on the ballot allowed, because a small one given a list takes the first entry: 15 of
30 votes were right that way, 29 of 30 this way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from massgen_mcp.backends.local_grammar import Bounds, Grammar, make_grammar
from massgen_mcp.backends.seeing import told
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Brief, Message, Request, ToolCall, parse_arguments

__all__ = ["Plan", "plan_chat", "plan_completion"]

_SLACK = 32
"""Tokens beyond one for each character of the longest reply."""
_CHARACTERS = 3
"""Of a token, at most, in the text of a model that is asked to keep to a number of tokens."""
_CONTENT = 160
_CONCLUSION = 40
_CHOICE = 80
_BASE_TEMPERATURE = 0.2
"""Above it, answers of the demo model that are right at 0.2 become chance."""
_EXAMPLES = (
    (
        "What is the largest planet in the solar system?",
        "Jupiter",
        "The largest planet in the solar system is Jupiter.",
    ),
    ("How many legs does a spider have?", "8", "A spider has eight legs."),
)
_MARKUP = re.compile(r"<(?=[|/]?\w+[|]?>)")
"""The start of what a tokenizer may take for one of its control tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One request as the engine takes it."""

    kind: Literal["chat", "completion"]
    body: Mapping[str, Any]
    read: Callable[[str], str]
    """Makes the reply's text of what the model wrote; raises ValueError when it is not what was asked for."""
    streams: bool
    """Whether what the model writes is the reply's text, and may be shown as it comes."""
    shortens: bool
    """Whether a reply that was cut may be asked for again, shorter."""


def plan_chat(request: Request, *, tokens: int, short: bool) -> Plan:
    """The conversation for a model with a chat template. `short`: half of the length, and told so."""
    messages = [*_merged(_spoken(request.messages))]
    body: dict[str, Any] = {"n_predict": tokens}
    if request.schema is None:
        return Plan(kind="chat", body={**body, "messages": messages}, read=str, streams=True, shortens=False)
    characters = tokens // 2 if short else tokens * _CHARACTERS
    if short and messages:
        messages[-1]["content"] += f"\n\nReply in at most {max(1, characters // 8)} words."
    grammar = make_grammar(request.schema, Bounds(string=characters))
    # A model that thinks first would think inside the grammar.
    body |= {"grammar": grammar.text, "chat_template_kwargs": {"enable_thinking": False}}
    return Plan(kind="chat", body={**body, "messages": messages}, read=_checked, streams=True, shortens=True)


def plan_completion(request: Request, *, short: bool) -> Plan:
    """The few-shot prompt for a base model."""
    brief = request.brief or Brief(kind="answer", question=_last_question(request.messages))
    form = _form(request.schema, brief)
    choices = _choices(brief, form.labels)
    share = 2 if short else 1
    grammar = make_grammar(
        _written_schema(list(choices), _CONCLUSION // share, _CONTENT // share),
        Bounds(string=_CONTENT // share, least=1),
    )
    whole = make_grammar(_written_schema(list(choices), _CONCLUSION, _CONTENT), Bounds(string=_CONTENT))
    body = {
        "prompt": _prompt(brief.question),
        "grammar": _after_space(grammar),
        # Not less for the shorter try: what makes a reply too long is characters of several tokens each.
        "n_predict": whole.length + _SLACK,
        "temperature": _BASE_TEMPERATURE,
    }
    return Plan(
        kind="completion",
        body=body,
        read=lambda text: form.write(text, choices),
        streams=False,
        shortens=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What a base model's reply is turned into."""

    vote: bool
    plain: bool
    labels: frozenset[str] | None
    """Labels that may be voted for; None for any."""
    limits: Mapping[str, int]

    def write(self, text: str, choices: Mapping[str, str]) -> str:
        """The reply in the workflow's form."""
        written = _parsed(text)
        content, conclusion = str(written["content"]).strip(), str(written["conclusion"]).strip()
        if self.plain:
            return content
        if self.vote:
            parts = {"answer": choices[str(written["conclusion"])], "reason": content}
        else:
            # A small model's sentence is often wrong where its conclusion is right.
            stated = conclusion.casefold() in content.casefold()
            parts = {"content": content if stated else conclusion, "conclusion": conclusion}
        cut = {key: value[: self.limits.get(key)] for key, value in parts.items()}
        action = "vote" if self.vote else "new_answer"
        return json.dumps({"action": action, **cut}, ensure_ascii=False, separators=(",", ":"))


def _form(schema: Mapping[str, Any] | None, brief: Brief) -> _Form:
    """The form asked for by the schema, or of two the one that the brief is about.

    Raises:
        BackendError: `bad_request`: it asks for more than an answer or a vote.
    """
    vote = brief.kind == "vote"
    if schema is None:
        return _Form(vote=False, plain=True, labels=None, limits={})
    known = {"action", "answer", "reason"} if vote else {"action", "content", "conclusion"}
    for candidate in cast("Sequence[Mapping[str, Any]]", schema.get("anyOf", [schema])):
        properties = cast("Mapping[str, Mapping[str, Any]]", candidate.get("properties", {}))
        if set(candidate.get("required", properties)) <= known <= properties.keys():
            labels = properties["answer"].get("enum") if vote else None
            limits = {
                key: int(value["maxLength"]) for key, value in properties.items() if "maxLength" in value
            }
            return _Form(
                vote=vote, plain=False, labels=None if labels is None else frozenset(labels), limits=limits
            )
    remedy = "Use a GGUF file of an instruction-tuned model for anything else."
    raise BackendError(
        f"local: a base model without a chat template can only hand in answers and votes. {remedy}",
        kind="bad_request",
        remedy=remedy,
        connected=False,
    )


def _choices(brief: Brief, labels: frozenset[str] | None) -> dict[str, str]:
    """Conclusion -> the first label that stands for it. Empty where the model may say what it likes."""
    choices: dict[str, str] = {}
    for label, conclusion, content in brief.answers if brief.kind != "answer" else ():
        if labels is None or label in labels:
            choices.setdefault(_line(conclusion or content)[:_CHOICE] or label, label)
    if brief.kind == "vote" and not choices:
        raise BackendError("local: there is nothing to vote on.", kind="bad_request", connected=False)
    return choices


def _written_schema(choices: list[str], conclusion: int, content: int) -> dict[str, Any]:
    """What the model itself writes: the conclusion first, since it is better at naming than at summing up."""
    free = {"type": "string", "maxLength": conclusion}
    return {
        "properties": {
            "action": {"const": "new_answer"},
            "conclusion": {"enum": choices} if choices else free,
            "content": {"type": "string", "maxLength": content},
        },
        "required": ["action", "conclusion", "content"],
    }


def _after_space(grammar: Grammar) -> str:
    """The same grammar after a colon: the model's token for a brace may bring its space."""
    return grammar.text.replace("root ::= ", 'root ::= " "? ', 1)


def _prompt(question: str) -> str:
    examples = (
        f"Question: {asked}\nJSON: {_example(conclusion, content)}\n\n"
        for asked, conclusion, content in _EXAMPLES
    )
    return f"{''.join(examples)}Question: {_line(_MARKUP.sub('< ', question))}\nJSON:"


def _example(conclusion: str, content: str) -> str:
    value = {"action": "new_answer", "conclusion": conclusion, "content": content}
    return json.dumps(value, separators=(",", ":"))


def _line(text: str) -> str:
    return " ".join(text.split())


def _last_question(messages: Sequence[Message]) -> str:
    asked = [message.text for message in messages if message.role == "user" and message.text.strip()]
    return asked[-1] if asked else ""


def _spoken(messages: Iterable[Message]) -> Iterable[tuple[str, str]]:
    """Who says what. Results of tools are the user's to tell, since few templates know of tools."""
    for message in messages:
        said = [message.text, *(told(result).content for result in message.results)]
        text = "\n\n".join(part for part in said if part)
        if text:
            yield ("user" if message.role == "tool" else message.role), text


def _merged(spoken: Iterable[tuple[str, str]]) -> Iterable[dict[str, str]]:
    """Neighbours of one role as one message: many templates refuse two in a row."""
    last: dict[str, str] | None = None
    for role, text in spoken:
        if last is not None and last["role"] == role:
            last["content"] += f"\n\n{text}"
            continue
        if last is not None:
            yield last
        last = {"role": role, "content": text}
    if last is not None:
        yield last


def _checked(text: str) -> str:
    _parsed(text)
    return text


def _parsed(text: str) -> dict[str, Any]:
    return parse_arguments(ToolCall(id="", name="", arguments=text.strip() or "null"))
