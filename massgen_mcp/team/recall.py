"""What journalled requests and tool calls came to, as values again, and what they had used."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from massgen_mcp.errors import BackendError
from massgen_mcp.journal.summary import usage_of
from massgen_mcp.messages import Image, Reply, ToolCall, ToolResult
from massgen_mcp.team.budget import Budget
from massgen_mcp.team.conversation import without_native
from massgen_mcp.team.reading import Step
from massgen_mcp.team.seat import Seat
from massgen_mcp.usage import Usage

__all__ = [
    "UNKNOWN_OUTCOME",
    "account",
    "count_call",
    "count_failure",
    "count_reply",
    "count_tool",
    "failure_of",
    "lose",
    "lost_of",
    "reply_of",
    "result_body",
    "result_of",
    "take_over",
    "use",
]

UNKNOWN_OUTCOME = (
    "The process was interrupted while this call ran, so its outcome is unknown: it may have taken effect. "
    "It was not made again. Look before you repeat it."
)


def reply_of(body: Mapping[str, Any]) -> Reply:
    """The reply of a `CallReplied` record."""
    reply = body["reply"]
    return Reply(
        text=reply["text"],
        calls=tuple(ToolCall(**call) for call in reply["calls"]),
        finish=reply["finish"],
        model=reply["model"],
        usage=usage_of(body.get("usage")),
        native=reply["native"],
        attempts=reply["attempts"],
        seconds=reply["seconds"],
        warnings=tuple(reply["warnings"]),
    )


def failure_of(body: Mapping[str, Any]) -> BackendError:
    """The error of a `CallFailed` record."""
    error = BackendError(body["error"], kind=body["kind"])
    error.attempts, error.requests = body["attempts"], body["requests"]
    return error


def result_body(result: ToolResult) -> dict[str, Any]:
    """A tool's result as the journal keeps it."""
    images = [
        {"mime": image.mime, "base64": base64.b64encode(image.data).decode("ascii")}
        for image in result.images
    ]
    body: dict[str, Any] = {"result": result.content, "is_error": result.is_error}
    return body | ({"images": images} if images else {})


def result_of(body: Mapping[str, Any], call_id: str) -> ToolResult:
    """The result of a `ToolFinished` record."""
    return ToolResult(
        call_id=call_id,
        content=body["result"],
        is_error=body["is_error"],
        images=tuple(
            Image(mime=image["mime"], data=base64.b64decode(image["base64"]))
            for image in body.get("images", ())
        ),
    )


def lost_of(started: Mapping[str, Any]) -> Usage:
    """What a request that was under way when its process died counts as: what was set aside for it."""
    return Usage(requests=1, input=started["reserved_tokens"], cost_usd=started["reserved_usd"])


def account(seat: Seat, budget: Budget, steps: Iterable[Step], *, again: int | None = None) -> None:
    """Count what was used by turns, or parts of turns, that are not executed again.

    What came after the record `again` is done once more, so that it does not count as repeated by then.
    """
    for step in steps:
        body: Mapping[str, Any] = {} if step.outcome is None else step.outcome.body
        if step.is_tool:
            seat.tool_calls += 1
            begun = step.started.body
            if again is None or step.started.seq < again:
                count_call(seat, begun["name"], begun["arguments"], changes=not begun["idempotent"])
            _charge(seat, budget, usage_of(body.get("usage")))
        elif step.outcome is None:
            lose(seat, budget, step)
        elif step.outcome.kind == "CallFailed":
            count_failure(seat, budget, body)
        else:
            count_reply(seat, budget, reply_of(body))


def count_call(seat: Seat, name: str, arguments: str, *, changes: bool) -> int:
    """How often this very call was made. After another one that may have changed something it is new."""
    key, repeats = (name, arguments), seat.repeats
    if changes and key not in repeats:
        repeats.clear()
    repeats[key] = repeats.get(key, 0) + 1
    return repeats[key]


def count_reply(seat: Seat, budget: Budget, reply: Reply) -> None:
    """Count a journalled reply."""
    use(seat, reply, reply.usage)
    budget.charge(reply.usage)


def count_failure(seat: Seat, budget: Budget, body: Mapping[str, Any]) -> None:
    """Count a journalled failure."""
    usage = replace(usage_of(body.get("usage")), requests=body["requests"])
    _charge(seat, budget, usage)
    seat.attempts += body["attempts"]
    seat.retries += max(0, body["attempts"] - 1)


def count_tool(seat: Seat, budget: Budget, body: Mapping[str, Any]) -> None:
    """Count what a journalled tool call used of a provider."""
    _charge(seat, budget, usage_of(body.get("usage")))


def lose(seat: Seat, budget: Budget, step: Step) -> None:
    """Count a request whose reply will never be known."""
    lost = lost_of(step.started.body)
    seat.lost += lost
    seat.attempts += 1
    budget.charge(lost)


def take_over(seat: Seat, model: str, kind: str) -> None:
    """Let a fallback model have the seat, for the rest of the run: the one before failed in that way."""
    spec = seat.spec
    own = spec.options.model or spec.info.title
    seat.warnings.append(f"{own} could not answer ({kind}); {model} took over")
    if seat.backend is not None:
        seat.retired.append(seat.backend)
    seat.backend = None
    seat.fallen += 1
    seat.spec = replace(spec, options=spec.options.with_model(model))
    # The turn at work may be stopped, and leaves no trace then: the next one begins with this.
    seat.conversation = without_native(seat.conversation)


def use(seat: Seat, reply: Reply, usage: Usage) -> None:
    """Count a reply for its agent."""
    seat.usage += usage
    seat.attempts += reply.attempts
    seat.retries += max(0, reply.attempts - 1)
    seat.model = reply.model or seat.model
    seat.seconds += reply.seconds
    seat.warnings += [words for words in reply.warnings if words not in seat.warnings]


def _charge(seat: Seat, budget: Budget, usage: Usage) -> None:
    seat.usage += usage
    budget.charge(usage)
