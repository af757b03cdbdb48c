"""What a provider's failure means: its kind, whether to try again, and what a person can do about it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import httpx2

from massgen_mcp.backends.body import ResponseTooLarge
from massgen_mcp.backends.signs import kind_of_status, parse_retry_after, status_of_report, words_of
from massgen_mcp.clock import Clock
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.network import AddressRefused
from massgen_mcp.secrets import Secrets
from massgen_mcp.text import shorten, visible

__all__ = ["Failures"]

_MAX_WORDS = 500
_UNREACHED = 2
"""Tries of a request that never connects, or is answered with nothing or by something else."""
_FORBIDDEN = 403

_SAYINGS: Mapping[FailureKind, tuple[str, str]] = {
    "auth": (
        "{title} refused the key in {key} ({status})",
        "Set a valid key, or give `api_key` in the backend block.",
    ),
    "quota": (
        "{title} says that the account's credit or quota is used up ({status})",
        "Add credit, or use another backend.",
    ),
    "rate_limit": (
        "{title} asks to send less ({status})",
        "Try again later, or let fewer agents use this key.",
    ),
    "overloaded": (
        "{title} is overloaded or out of order ({status})",
        "Try again later, or use another backend.",
    ),
    "not_found": (
        "{title} has no model {model!r} at this address ({status})",
        "Check `model` and `base_url`.",
    ),
    "context": (
        "The conversation is too long for {model!r} ({status})",
        "Give less context, or use a model with a larger window.",
    ),
    "refusal": ("{title} or its content filter declined to answer ({status})", "Rephrase."),
    "bad_request": (
        "{title} did not take the request for {model!r} ({status})",
        "Check the options of the backend block.",
    ),
}
_NOT_ALLOWED = (
    "{title} does not let the key in {key} use {model!r} ({status})",
    "Check what the account has access to, and from where.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Makes the errors of one backend. Its texts name provider, model and remedy, never a secret."""

    title: str
    """Who answers, as a person knows it: `OpenAI`, or a host name."""
    model: str
    key: str
    """Where the key comes from: `OPENAI_API_KEY`, or the backend block."""
    secrets: Secrets
    clock: Clock
    local: bool = False
    """A server that the operator runs."""

    def clean(self, words: str) -> str:
        """A provider's words, fit to show."""
        return shorten(visible(self.secrets.redact(words)), _MAX_WORDS).strip()

    def make(
        self,
        kind: FailureKind,
        what: str,
        *,
        words: str = "",
        remedy: str = "",
        retryable: bool = False,
        retry_after: float | None = None,
        connected: bool = True,
        max_attempts: int | None = None,
    ) -> BackendError:
        """An error of any kind: what happened, the provider's words, the remedy."""
        said = self.clean(words).rstrip(".")
        text = f"{what}: {said}." if said else f"{what}."
        return BackendError(
            f"{text} {remedy}".rstrip(),
            kind=kind,
            retryable=retryable,
            retry_after=retry_after,
            remedy=remedy,
            connected=connected,
            max_attempts=max_attempts,
        )

    def status(
        self, status: int, body: object, *, headers: Mapping[str, str] | None = None, code: str = ""
    ) -> BackendError:
        """An answer with an HTTP status other than success.

        Args:
            status: the HTTP status, or the one that an error inside a stream amounts to.
            body: what the provider said: text, or JSON as parsed.
            headers: of the response, names in lower case.
            code: the provider's own code or type of error, or both.
        """
        headers = headers or {}
        if status in range(300, 400):
            return self._redirected(status, headers)
        words = words_of(body)
        kind = kind_of_status(status, f"{code} {words}")
        what, remedy = _NOT_ALLOWED if status == _FORBIDDEN and kind == "auth" else _SAYINGS[kind]
        error = self.make(
            kind,
            what.format(title=self.title, key=self.key, model=self.model, status=status),
            words=words,
            remedy=remedy,
            retryable=kind in {"rate_limit", "overloaded"},
            retry_after=parse_retry_after(headers, self.clock.now()),
        )
        wish = headers.get("x-should-retry", "").lower()
        if wish == "false" or (wish == "true" and kind in {"rate_limit", "overloaded", "bad_request"}):
            error.retryable = wish == "true"
        return error

    def _redirected(self, status: int, headers: Mapping[str, str]) -> BackendError:
        try:
            target = httpx2.URL(headers.get("location", "")).host or "another path"
        except httpx2.InvalidURL:
            target = "another address"
        what = f"{self.title} redirects to {self.clean(target)} ({status}), which is not followed"
        return self.make("bad_request", what, remedy="Give the final address as `base_url`.")

    def reported(self, error: object) -> BackendError:
        """An error that came inside an answer that looked like success."""
        status, code = status_of_report(error)
        return self.status(status, words_of(error) or code, code=code)

    def network(self, error: BaseException) -> BackendError:
        """A connection that could not be made, or broke."""
        causes = list(_chain(error))
        for cause in causes:
            if isinstance(cause, AddressRefused):
                what = f"The address of {self.title} may not be talked to"
                words, remedy = str(cause), "Correct `base_url`."
                return self.make("bad_request", what, words=words, remedy=remedy, connected=False)
            if isinstance(cause, ResponseTooLarge | httpx2.DecodingError):
                return self.broken(str(cause), retryable=False)
        if any(isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout) for cause in causes):
            return self._unreached(causes)
        if any(isinstance(cause, httpx2.ProxyError) for cause in causes):
            return self.make(
                "network",
                "The proxy set in the environment did not let the request through",
                words=next((str(cause) for cause in causes if isinstance(cause, httpx2.ProxyError)), ""),
                remedy="Check HTTPS_PROXY and NO_PROXY.",
                connected=False,
            )
        return self.make(
            "network",
            f"The connection to {self.title} broke before the reply was complete",
            words=_deepest(causes),
            remedy="Try again; if it happens often, check the network between.",
            retryable=True,
        )

    def _unreached(self, causes: list[BaseException]) -> BackendError:
        remedy = (
            "Start the server, or correct `base_url`." if self.local else "Check the network and `base_url`."
        )
        tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
        if tls is not None:
            return self.make(
                "network",
                f"No trusted connection to {self.title}",
                words=str(tls.reason or tls),
                remedy="Check `base_url`, and SSL_CERT_FILE if your network has its own certificates.",
                connected=False,
            )
        if any(isinstance(cause, httpx2.ConnectTimeout) for cause in causes):
            words = "it did not answer in time"
        elif any(isinstance(cause, ConnectionRefusedError) for cause in causes):
            words = "connection refused"
        elif any(isinstance(cause, socket.gaierror) for cause in causes):
            words = "no such host"
        else:
            words = _deepest(causes)
        return self.make(
            "network",
            f"No connection to {self.title}",
            words=words,
            remedy=remedy,
            retryable=True,
            connected=False,
            max_attempts=_UNREACHED,
        )

    def broken(self, what: str, *, retryable: bool = True, max_attempts: int | None = None) -> BackendError:
        """Bytes came, but not a complete and well-formed reply."""
        return self.make(
            "protocol",
            f"{self.title} sent no complete reply for {self.model!r}",
            words=what,
            remedy="Try again; if it stays so, check `base_url` or use another backend.",
            retryable=retryable,
            max_attempts=max_attempts,
        )

    def no_stream(self, kind: str) -> BackendError:
        """A success of another content type, such as a login page: tried once more, then failed."""
        what = f"it is {kind or 'of no type'}, not a stream of events"
        return self.broken(what, max_attempts=_UNREACHED)

    def empty(self) -> BackendError:
        """A reply with neither text nor a tool call: tried once more, then failed."""
        return self.broken("the reply is empty", max_attempts=_UNREACHED)

    def cut(self) -> BackendError:
        """The reply was cut at the output limit: what came of it is void."""
        return self.make(
            "length",
            f"The reply of {self.model!r} was cut at its output limit",
            remedy="Raise `max_tokens`, or ask for less.",
        )

    def declined(self, words: str = "") -> BackendError:
        """The model or a filter declined."""
        return self.make(
            "refusal",
            f"{self.title} or its content filter declined to answer",
            words=words,
            remedy="Rephrase.",
        )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that led to it, groups included."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop(0)
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", found).exceptions


def _deepest(causes: list[BaseException]) -> str:
    """The plainest words of a chain: the first cause that says anything."""
    return next((text for cause in reversed(causes) if (text := str(cause).strip())), "")
