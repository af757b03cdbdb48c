"""What can go wrong, by who has to act on it.

MassgenError
├── ConfigError      the operator: a file or setting, with every problem at once
├── RequestRefused   the caller: an argument that can't be served; nothing was spent
├── RunNotFound      the caller: no such run
├── RunTaken         the caller: another process drives the run
├── RunOver          the caller: the run is finished
├── ReplayRefused    the operator: a run can't be taken up again with what has changed since
├── BackendError     a provider: one model request failed, with its kind and a remedy
└── JournalError     the machine: the log can't be written or read
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "AlreadyAsked",
    "BackendError",
    "ConfigError",
    "FailureKind",
    "JournalError",
    "MassgenError",
    "Problem",
    "ReplayRefused",
    "RequestRefused",
    "RunNotFound",
    "RunOver",
    "RunTaken",
    "Severity",
]

Severity: TypeAlias = Literal["error", "warning", "notice"]

FailureKind: TypeAlias = Literal[
    "auth",  # the key is missing, wrong or not allowed to do this
    "quota",  # the account has no money or quota left; waiting does not help
    "rate_limit",  # too many requests; waiting helps
    "overloaded",  # the provider is busy or broken (5xx, 529)
    "context",  # the conversation is longer than the model's window
    "length",  # the reply was cut at the output limit
    "refusal",  # the model or a filter declined
    "bad_request",  # the provider does not take this request
    "not_found",  # no such model or address
    "network",  # no connection, or it broke
    "protocol",  # bytes came, but not a complete and well-formed reply
    "timeout",  # one of our limits passed
    "unavailable",  # a part needed to talk to it is not installed or can't be loaded here
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong, or worth knowing, in a team file."""

    path: str
    """Where, as `agents[1].backend.type`; empty for the file as a whole."""
    message: str
    severity: Severity = "error"
    line: int | None = None
    """1-based."""
    column: int | None = None
    """1-based."""
    hint: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        where = self.path or "file"
        at = f" (line {self.line})" if self.line is not None else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{where}{at}: {self.message}{hint}"


class MassgenError(Exception):
    """Everything this package raises on purpose. Its text is written for the person who reads it."""


class ConfigError(MassgenError):
    """A team file can't be used. `problems` holds all of them, sorted by line."""

    def __init__(self, problems: Iterable[Problem], *, name: str = "") -> None:
        self.problems: Sequence[Problem] = tuple(problems)
        self.name = name
        head = f"{name}: " if name else ""
        errors = [str(problem) for problem in self.problems if problem.severity == "error"]
        super().__init__(head + ("\n".join(errors) or "no usable configuration"))


class RequestRefused(MassgenError):
    """The caller asked for something that can't be served. Nothing was spent."""


class ReplayRefused(MassgenError):
    """A run can't be taken up where it stopped: its records no longer fit. They stay as they are."""


class RunNotFound(MassgenError):
    """There is no run of that name in this state folder."""


class RunTaken(MassgenError):
    """Another process drives this run; the text names it. Nothing was written."""


class RunOver(MassgenError):
    """This run is finished: there is nothing left to drive."""


class AlreadyAsked(MassgenError):
    """A run that serves who asks the same is there. Nothing was written.

    Args:
        run_id: that run.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Run {run_id} answers the same question. Nothing was written.")
        self.run_id = run_id


class JournalError(MassgenError):
    """The journal can't be opened, written or read; the text says which file and what to do."""


class BackendError(MassgenError):
    """One model request failed.

    Args:
        message: what happened, naming backend and model, with the remedy; secrets already redacted.
        kind: the class of failure, the same on every backend.
        retryable: whether the same request may succeed later.
        retry_after: seconds the provider asked to wait, when it said so.
        remedy: the next step for a person, as one sentence; also part of `message`.
        connected: False when the request never reached the provider, so that nothing can have been billed.
        max_attempts: how many tries make sense in all, where that is fewer than the retry layer would make.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        retryable: bool = False,
        retry_after: float | None = None,
        remedy: str = "",
        connected: bool = True,
        max_attempts: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.retryable = retryable
        self.retry_after = retry_after
        self.remedy = remedy
        self.connected = connected
        self.max_attempts = max_attempts
        self.attempts = 1
        """Tries made before giving up, filled in by the retry layer."""
        self.requests = 1 if connected else 0
        """Of those, how many reached the provider; filled in by the retry layer."""
