"""A stream of response events put together into one reply, believed only when it says that it is complete.

Events are JSON values as they came: what they hold is looked at before it is used, and told apart by its
`type`, so that kinds of items not known here survive.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import cast

from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.prices import reported_cost
from massgen_mcp.backends.responses_wire import Item, native_of
from massgen_mcp.backends.signs import words_of
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, ReasoningDelta, Reply, TextDelta, ToolCall
from massgen_mcp.usage import Usage

__all__ = ["Reading", "event_of", "failure_of", "is_refusal", "read_usage"]

_NEEDED = frozenset({"message", "function_call"})
"""Kinds of items that a reply may not lose."""
_CALLERS_FAULT = ("invalid_", "unsupported_", "image_", "empty_", "failed_to_download_", "data_residency_")
"""How codes begin that mean the request, where others mean the provider."""
_TICKS_PER_DOLLAR = 10_000_000_000
"""xAI counts money in ticks."""


class Reading:
    """What has come of one reply.

    Args:
        failures: makes its errors.
        owner: the backend type that its items belong to.
    """

    def __init__(self, failures: Failures, *, owner: str) -> None:
        self._failures = failures
        self._owner = owner
        self._begun: Counter[str] = Counter()
        self._done: list[tuple[int, Item]] = []
        self._response: Item | None = None

    @property
    def complete(self) -> bool:
        """Whether the provider has said that the reply is complete."""
        return self._response is not None

    def feed(self, event: object) -> Iterator[Delta]:
        """The text and reasoning of the next event.

        Raises:
            BackendError: it ends the reply without completing it.
        """
        fields = _mapping(event)
        match fields.get("type"):
            case "response.output_text.delta":
                yield from (TextDelta(text=text) for text in _texts(fields.get("delta")))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield from (ReasoningDelta(text=text) for text in _texts(fields.get("delta")))
            case "response.reasoning_summary_part.added" if fields.get("summary_index"):
                yield ReasoningDelta(text="\n\n")
            case "response.output_item.added":
                self._begun[_kind(_mapping(fields.get("item")))] += 1
            case "response.output_item.done":
                self._done.append((_number(fields.get("output_index")), _mapping(fields.get("item"))))
            case (
                "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" as end
            ):
                self._end(end.removeprefix("response."), _mapping(fields.get("response")))
            case "error":
                raise failure_of(fields.get("error") or fields, self._failures)
            case _:
                pass

    def _end(self, status: str, response: Item) -> None:
        """Take the provider's last word; where event and response disagree, the worse one counts."""
        said = {status, response.get("status")}
        if "failed" in said or response.get("error"):
            raise failure_of(response.get("error"), self._failures)
        if "cancelled" in said:
            raise self._failures.broken("the provider cancelled it")
        if "incomplete" in said or response.get("incomplete_details"):
            raise self._incomplete(_mapping(response.get("incomplete_details")).get("reason"))
        self._response = response

    def _incomplete(self, reason: object) -> BackendError:
        match reason:
            case "max_output_tokens":
                return self._failures.cut()
            case "content_filter":
                return self._failures.declined("a content filter stopped the reply")
            case _:
                return self._failures.broken(f"it stopped early ({reason or 'no reason given'})")

    def reply(self, *, requests: int, warnings: tuple[str, ...]) -> Reply:
        """The whole reply.

        Args:
            requests: how many the provider was sent for it.
            warnings: what was left out to get it.

        Raises:
            BackendError: it is not whole, or is a refusal.
        """
        response = self._response
        if response is None:
            raise self._failures.broken("its stream ended without response.completed")
        items = self._items(response)
        text, refusal = _text_of(items)
        calls = tuple(self._call(item) for item in items if item.get("type") == "function_call")
        if refusal and not text and not calls:
            raise self._failures.declined(refusal)
        if not _mapping(response.get("usage")):
            warnings = (*warnings, f"{self._failures.title} did not say what the request used.")
        model = response.get("model")
        return Reply(
            text=text,
            calls=calls,
            finish="tool_calls" if calls else "stop",
            model=model if isinstance(model, str) else "",
            usage=read_usage(response.get("usage"), requests=requests, searches=_searches(items)),
            native=native_of(self._owner, items),
            warnings=warnings,
        )

    def _items(self, response: Item) -> list[Item]:
        """The items as they were when each was done, or as the end lists them where it lists more."""
        done = [item for _, item in sorted(self._done, key=lambda pair: pair[0])]
        listed = [_mapping(item) for item in _list(response.get("output"))]
        items = listed if len(listed) > len(done) else done
        missing = self._begun - Counter(_kind(item) for item in items)
        if _NEEDED.intersection(missing):
            raise self._failures.broken("a part of it was begun and never finished")
        return items

    def _call(self, item: Item) -> ToolCall:
        call_id, name, arguments = item.get("call_id"), item.get("name"), item.get("arguments", "")
        if not isinstance(call_id, str) or not isinstance(name, str) or not call_id or not name:
            raise self._failures.broken("a tool call has no name or no id")
        if item.get("status") == "incomplete":
            raise self._failures.broken("a tool call in it is incomplete")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        return ToolCall(id=call_id, name=name, arguments=text)


def _text_of(items: list[Item]) -> tuple[str, str]:
    """What the messages say, remarks on the way left out where there is more; and what a refusal says."""
    messages = [item for item in items if item.get("type") == "message"]
    final = [item for item in messages if item.get("phase") != "commentary"]
    said = [_parts(item, "output_text", "text") for item in final]
    if not any(said):
        said = [_parts(item, "output_text", "text") for item in messages]
    refused = [_parts(item, "refusal", "refusal") for item in messages]
    return "\n\n".join(filter(None, said)), "\n\n".join(filter(None, refused))


def _parts(message: Item, kind: str, field: str) -> str:
    parts = [_mapping(part) for part in _list(message.get("content"))]
    return "".join(text for part in parts if part.get("type") == kind for text in _texts(part.get(field)))


def event_of(data: bytes, failures: Failures) -> Item:
    """A response that came in one piece, as the event that ends a stream.

    Raises:
        BackendError: it is an error, or nothing that could be a response.
    """
    response = _mapping(json.loads(data))
    if response.get("error"):
        raise failure_of(response["error"], failures)
    if response.get("status") not in {"completed", "incomplete", "failed", "cancelled"}:
        raise failures.broken("it is not a response")
    return {"type": f"response.{response['status']}", "response": response}


def failure_of(error: object, failures: Failures) -> BackendError:
    """An error that a provider reports inside a response."""
    code, words = str(_mapping(error).get("code") or ""), words_of(error)
    if is_refusal(code):
        return failures.declined(words or code)
    if code.startswith(_CALLERS_FAULT):
        return failures.status(400, words or code, code=code)
    return failures.reported(error)


def is_refusal(code: object) -> bool:
    """Whether a provider's code of an error means that it declined."""
    return isinstance(code, str) and ("policy" in code or code in {"invalid_prompt", "content_filter"})


def _searches(items: list[Item]) -> int:
    """How often the web was searched. Looking at a page that was found costs nothing beside its tokens."""
    actions = (_mapping(item.get("action")) for item in items if item.get("type") == "web_search_call")
    return sum(action.get("type", "search") == "search" for action in actions)


def read_usage(usage: object, *, requests: int = 1, searches: int = 0) -> Usage:
    """What a request used; every detail may be missing."""
    counts = _mapping(usage)
    put_in = _mapping(counts.get("input_tokens_details"))
    put_out = _mapping(counts.get("output_tokens_details"))
    read = _number(counts.get("input_tokens"))
    # A total above the parts counts reasoning that `output_tokens` leaves out.
    written = max(_number(counts.get("output_tokens")), _number(counts.get("total_tokens")) - read)
    cost = reported_cost(counts.get("cost_in_usd_ticks"), per_usd=_TICKS_PER_DOLLAR)
    return Usage(
        requests=requests,
        input=read,
        output=written,
        cached=_number(put_in.get("cached_tokens")),
        cache_write=_number(put_in.get("cache_write_tokens")),
        reasoning=_number(put_out.get("reasoning_tokens")),
        searches=searches,
        cost_usd=cost,
        cost_source="unknown" if cost is None else "provider",
    )


def _mapping(value: object) -> Item:
    return cast("Item", value) if isinstance(value, dict) else {}


def _kind(item: Item) -> str:
    return str(item.get("type"))


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _texts(value: object) -> Iterator[str]:
    """The value, where it is a text with anything in it."""
    if isinstance(value, str) and value:
        yield value


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
