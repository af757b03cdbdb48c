"""What a failed turn of Claude Code means: its result frames, its limits, its process."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from massgen_mcp.backends.claude_code_access import Access
from massgen_mcp.backends.failures import Failures
from massgen_mcp.errors import BackendError, FailureKind

__all__ = ["TurnFailures"]

_STDERR_LINES = 20
_SHOWN_LINES = 3
_LIMIT = re.compile(
    r"hit your .{0,40}limit|reached your .{0,40}limit|usage limit reached|out of usage credits", re.IGNORECASE
)
_LIMIT_UNTIL = re.compile(r"limit reached\|(\d{9,11})")
_MALFORMED = re.compile(r"malformed|empty response", re.IGNORECASE)
_STATUS_OF_ERROR: Mapping[str, int] = {
    "authentication_failed": 401,
    "billing_error": 402,
    "rate_limit": 429,
    "overloaded": 529,
    "model_not_found": 404,
    "invalid_request": 400,
}
"""The command line's own names for what the API said."""
_OWN_LIMITS: Mapping[str, tuple[FailureKind, str, str]] = {
    "error_max_turns": ("length", "Claude Code made all the requests that `max_turns` allows", "max_turns"),
    "error_max_budget_usd": (
        "quota",
        "Claude Code spent all that `max_budget_usd` allows",
        "max_budget_usd",
    ),
}
_TOO_LARGE = 413
_WAIT_OR_PAY = "Wait until it resets, or set ANTHROPIC_API_KEY."


@dataclass(slots=True)
class TurnFailures:
    """Makes the errors of one agent, and keeps the last lines of its command line's stderr."""

    failures: Failures
    access: Access
    _stderr: deque[str] = field(default_factory=lambda: deque[str](maxlen=_STDERR_LINES))

    def heard(self, line: str) -> None:
        """The command line wrote this to stderr."""
        self._stderr.append(line)

    def forget(self) -> None:
        """A new process begins."""
        self._stderr.clear()

    def of_result(self, result: Any, *, error: str, resets_at: float | None) -> BackendError:
        """A result frame that is no success.

        Args:
            result: the frame.
            error: the command line's own name for the failure, empty where it gave none.
            resets_at: seconds since the epoch when a usage limit that was hit resets, where it said so.
        """
        words = _words(result)
        if result.subtype in _OWN_LIMITS:
            kind, what, option = _OWN_LIMITS[result.subtype]
            return self.failures.make(kind, what, remedy=f"Raise `{option}`, or ask for less.")
        if result.stop_reason == "refusal":
            return self.failures.declined(words)
        if error == "max_output_tokens":
            return self.failures.cut()
        if resets_at is not None or _LIMIT.search(words):
            return self._usage_limit(words, resets_at)
        too_long = result.terminal_reason == "prompt_too_long"
        status: object = _TOO_LARGE if too_long else result.api_error_status
        if not isinstance(status, int):
            return self._without_status(error, words)
        return self.failures.status(status, words, code=error)

    def of_retry(self, error: str, status: object, delay: float | None) -> BackendError:
        """The command line is about to send a request again, which it is not left to do."""
        number = status if isinstance(status, int) else _STATUS_OF_ERROR.get(error, 500)
        failure = self.failures.status(number, "", code=error)
        if failure.retryable:
            failure.retry_after = delay
        return failure

    def of_process(self, error: BaseException | None, *, started: bool) -> BackendError:
        """The command line ended, or says what can't be read."""
        words = " / ".join(list(self._stderr)[-_SHOWN_LINES:]) or (str(error) if error is not None else "")
        if not started:
            hangs = isinstance(error, TimeoutError)
            how = "did not greet in time after its start" if hangs else "could not be started"
            return self.failures.make(
                "unavailable",
                f"The command line `claude` {how}",
                words=words,
                remedy="Run `claude --version` and `claude update`; `cli_path` names another one.",
                connected=False,
            )
        code: object = getattr(error, "exit_code", None)
        how = f" (exit code {code})" if isinstance(code, int) else ""
        return self.failures.make(
            "protocol",
            f"The command line `claude` ended before its turn was complete{how}",
            words=words,
            remedy="Try again; if it happens often, run `claude doctor`.",
            retryable=True,
            max_attempts=2,
        )

    def too_old(self, version: str, needed: str) -> BackendError:
        """The command line's version lacks something that safety needs."""
        return self.failures.make(
            "unavailable",
            f"This `claude` has version {version}; {needed} or later is needed",
            remedy="Run `claude update`, or name another one with `cli_path`.",
            connected=False,
        )

    def _usage_limit(self, words: str, resets_at: float | None) -> BackendError:
        if resets_at is None and (found := _LIMIT_UNTIL.search(words)):
            resets_at = float(found[1])
        when = ""
        if resets_at is not None:
            when = f", until {datetime.fromtimestamp(resets_at, UTC):%Y-%m-%d %H:%M} UTC"
        now = self.failures.clock.now()
        return self.failures.make(
            "rate_limit",
            f"The usage limit of {self.access.name} is reached{when}",
            words=words,
            remedy=_WAIT_OR_PAY,
            retry_after=None if resets_at is None else max(0.0, resets_at - now),
        )

    def _without_status(self, error: str, words: str) -> BackendError:
        if error == "authentication_failed":
            return self.failures.make(
                "auth",
                f"Claude Code is not let in with {self.access.name}",
                words=words,
                remedy="Log in with `claude`, or set CLAUDE_CODE_API_KEY or ANTHROPIC_API_KEY.",
            )
        if error in _STATUS_OF_ERROR:
            return self.failures.status(_STATUS_OF_ERROR[error], words, code=error)
        if _MALFORMED.search(words):
            return self.failures.broken(words, max_attempts=2)
        # It has tried again by itself, as often as makes sense.
        connected = "refused" not in words.lower() and "resolve" not in words.lower()
        return self.failures.make(
            "network",
            "Claude Code got no reply",
            words=words,
            remedy="Check the network and `base_url`.",
            connected=connected,
        )


def _words(result: Any) -> str:
    if result.result:
        return str(result.result)
    return "; ".join(str(error) for error in result.errors or ())
