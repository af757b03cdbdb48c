"""What Claude Code says in one turn, read into deltas, usage and a reply."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

from massgen_mcp.backends.claude_code_access import Access
from massgen_mcp.backends.claude_code_failures import TurnFailures
from massgen_mcp.backends.claude_code_settings import SERVER
from massgen_mcp.backends.prices import reported_cost
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, ObservedCall, ReasoningDelta, Reply, Spent, TextDelta, ToolCall
from massgen_mcp.text import shorten
from massgen_mcp.usage import Usage

__all__ = ["Reading", "Totals"]

_OURS = f"mcp__{SERVER}__"
_SYNTHETIC = "<synthetic>"
_TELLING = ("command", "file_path", "notebook_path", "pattern", "url", "query", "description", "path")
"""Inputs of native tools that say what a use is about, most telling first."""
_DETAIL = 200
_COUNTED = ("input", "output", "cached", "cache_write", "reasoning")
_VERBATIM = (2, 1, 248)
"""The first version that takes what others wrote as it is, without expanding the files it names."""


@dataclass(slots=True)
class Totals:
    """What a session has used since it began: the command line reports running totals, also once resumed."""

    cost: float = 0.0
    tokens: Mapping[str, int] = field(default_factory=dict[str, int])
    ahead: Mapping[str, int] = field(default_factory=dict[str, int])
    """What turns without a last word have told of: the next totals may hold it."""

    def share(self, tokens: Mapping[str, int]) -> dict[str, int]:
        """What of these totals is new. Totals that have become smaller were begun anew."""
        goes_on = sum(tokens.values()) >= sum(self.tokens.values())
        new = dict(tokens)
        if goes_on:
            new = {name: count - self.tokens.get(name, 0) for name, count in tokens.items()}
            if all(new[name] >= self.ahead.get(name, 0) for name in ("input", "output")):
                new = {name: count - self.ahead.get(name, 0) for name, count in new.items()}
        self.tokens, self.ahead = tokens, {}
        return {name: max(0, count) for name, count in new.items()}


class Reading:
    """One turn, from its first message to its result."""

    def __init__(self, sdk: ModuleType, failures: TurnFailures, access: Access, totals: Totals) -> None:
        self._sdk: Any = sdk
        self._failures = failures
        self._access = access
        self._totals = totals
        self._text: list[str] = []
        self._model = ""
        self._requests: set[str] = set()
        self._spent = Usage()
        self._native: list[str] = []
        self._error = ""
        self._resets_at: float | None = None
        self.used_tools = False
        """Whether a tool may have run: then the turn is never simply made again."""
        self.result: Any = None
        """The frame that ends the turn, once it has come."""

    @property
    def requests(self) -> int:
        """Model requests seen so far."""
        return len(self._requests)

    def feed(self, message: Any) -> Iterator[Delta]:
        """The deltas of one message.

        Raises:
            BackendError: the command line would ask again, and whoever asked it is to decide on that.
        """
        sdk = self._sdk
        if isinstance(message, sdk.StreamEvent):
            yield from self._event(message)
        elif isinstance(message, sdk.AssistantMessage):
            yield from self._assistant(message)
        elif isinstance(message, sdk.RateLimitEvent):
            self._limit(message.rate_limit_info)
        elif isinstance(message, sdk.ResultMessage):
            self.result = message
        elif isinstance(message, sdk.SystemMessage) and message.subtype == "api_retry":
            self._retry(message.data)
        elif isinstance(message, sdk.SystemMessage) and message.subtype == "init":
            self._greeted(message.data)

    def _event(self, message: Any) -> Iterator[Delta]:
        if message.parent_tool_use_id is not None:
            return
        event = cast("dict[str, Any]", message.event)
        delta: dict[str, Any] = event.get("delta") or {}
        match event.get("type"), delta.get("type"):
            case "message_start", _:
                self._text.clear()
                begun: dict[str, Any] = event.get("message") or {}
                self._spent += _usage_of(_own(begun.get("usage") or {}))
            case "content_block_delta", "text_delta":
                yield TextDelta(text=str(delta.get("text", "")))
            case "content_block_delta", "thinking_delta":
                yield ReasoningDelta(text=str(delta.get("thinking", "")))
            case "message_delta", _:
                # Of a request's end, what it put out: what it took in was told at its start.
                put_out = _own(event.get("usage") or {})["output"]
                self._spent += Usage(requests=1, output=put_out)
                yield Spent(usage=self._spent)
            case _:
                pass

    def _assistant(self, message: Any) -> Iterator[Delta]:
        if message.error:
            self._error = str(message.error)
        if message.model == _SYNTHETIC:
            return
        if message.message_id:
            self._requests.add(str(message.message_id))
        own = message.parent_tool_use_id is None
        if own:
            self._model = str(message.model)
        for block in message.content:
            if isinstance(block, self._sdk.TextBlock) and own:
                self._text.append(str(block.text))
            elif isinstance(block, self._sdk.ToolUseBlock | self._sdk.ServerToolUseBlock):
                yield from self._tool(str(block.name), cast("object", block.input))

    def _tool(self, name: str, put_in: object) -> Iterator[Delta]:
        self.used_tools = True
        if name.startswith(_OURS):
            return
        self._native.append(name)
        yield ObservedCall(name=name, detail=_detail(put_in))

    def _limit(self, info: Any) -> None:
        if info.status == "rejected" and isinstance(info.resets_at, int | float):
            self._resets_at = float(info.resets_at)

    def _greeted(self, data: Mapping[str, Any]) -> None:
        """One that is too old would put files into its prompt that other agents only name.

        Raises:
            BackendError: this one is.
        """
        version = str(data.get("claude_code_version") or "")
        found = re.match(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", version)
        if found is not None and tuple(int(part) for part in found.groups()) < _VERBATIM:
            raise self._failures.too_old(version, ".".join(map(str, _VERBATIM)))

    def _retry(self, data: Mapping[str, Any]) -> None:
        """Before a tool was used the one retry layer decides; afterwards only the command line can go on."""
        status, error = data.get("error_status"), str(data.get("error") or "")
        if status is None and error not in {"rate_limit", "overloaded", "authentication_failed"}:
            return  # no connection: its last words say more than this
        delay = data.get("retry_delay_ms")
        seconds = delay / 1000 if isinstance(delay, int | float) else None
        failure = self._failures.of_retry(error, status, seconds)
        if not failure.retryable or not self.used_tools:
            failure.requests = self.requests + 1
            raise failure

    def reply(self, ended_by: ToolCall | None, *, session: str, warnings: tuple[str, ...]) -> Reply:
        """The turn as one reply, by its result frame.

        Raises:
            BackendError: it failed, or came to nothing.
        """
        if ended_by is None:
            self._check()
        native = {
            "session": session,
            "tools": self._native,
            "requests": self.requests,
            "end": getattr(self.result, "terminal_reason", None) or getattr(self.result, "subtype", None),
        }
        return Reply(
            text=self._final_text() if ended_by is None else "".join(self._text),
            calls=(ended_by,) if ended_by is not None else (),
            finish="tool_calls" if ended_by is not None else "stop",
            model=self._model,
            usage=self._usage(),
            native=native,
            warnings=warnings,
        )

    def _check(self) -> None:
        result = self.result
        if result.is_error or result.subtype != "success":
            self._usage()  # what a failed turn took is not the next one's
            raise self.counted(self._failures.of_result(result, error=self._error, resets_at=self._resets_at))
        if not self._final_text().strip():
            raise self.counted(self._failures.failures.empty())

    def counted(self, failure: BackendError) -> BackendError:
        """The failure, with what the turn has done by then."""
        if failure.connected:
            failure.requests = max(1, self.requests)
        if self.used_tools:
            failure.retryable = False
        return failure

    def _final_text(self) -> str:
        return str(self.result.result or "") or "".join(self._text)

    def _usage(self) -> Usage:
        """This turn's share of the running totals; the result's own count where there are none."""
        result, totals = self.result, self._totals
        if result is None:  # it was cut off after it had handed in: what was told on the way counts
            counts = {name: getattr(self._spent, name) for name in _COUNTED}
            totals.ahead = {name: totals.ahead.get(name, 0) + count for name, count in counts.items()}
            return Usage(requests=max(1, self.requests), **counts, **self._price(None))
        tokens, mixed = _total(result.model_usage or {}), bool(totals.ahead)
        share = totals.share(tokens) if any(tokens.values()) else _own(result.usage or {})
        price = self._price(result.total_cost_usd)
        if mixed and not self._access.subscription:
            price = {}  # its dollars are those of more than this turn
        return Usage(requests=max(1, self.requests), **share, **price)

    def _price(self, total: object) -> dict[str, Any]:
        if self._access.subscription:
            return {"cost_usd": 0.0, "cost_source": "subscription"}
        if (cost := reported_cost(total)) is None:
            return {}
        known, self._totals.cost = self._totals.cost, cost
        share = cost - known if cost >= known else cost
        # A model that its list does not know costs nothing there.
        return {"cost_usd": share, "cost_source": "provider"} if share > 0 and self._access.priced else {}


def _detail(put_in: object) -> str:
    if not isinstance(put_in, dict):
        return ""
    fields = cast("dict[str, object]", put_in)
    found = (fields[name] for name in _TELLING if isinstance(fields.get(name), str))
    return shorten(" ".join(str(next(found, "")).split()), _DETAIL)


def _total(models: Mapping[str, Any]) -> dict[str, int]:
    def count(*names: str) -> int:
        return sum(_number(model.get(name)) for model in models.values() for name in names)

    return {
        "input": count("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens"),
        "output": count("outputTokens"),
        "cached": count("cacheReadInputTokens"),
        "cache_write": count("cacheCreationInputTokens"),
        "reasoning": count("thinkingTokens"),
        "searches": count("webSearchRequests"),
    }


def _own(usage: Mapping[str, Any]) -> dict[str, int]:
    cached, written = (
        _number(usage.get("cache_read_input_tokens")),
        _number(usage.get("cache_creation_input_tokens")),
    )
    details: Mapping[str, Any] = usage.get("output_tokens_details") or {}
    return {
        "input": _number(usage.get("input_tokens")) + cached + written,
        "output": _number(usage.get("output_tokens")),
        "cached": cached,
        "cache_write": written,
        "reasoning": _number(details.get("thinking_tokens")),
    }


def _usage_of(counts: Mapping[str, Any]) -> Usage:
    return Usage(**counts)


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) and value >= 0 else 0
