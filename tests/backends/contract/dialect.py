"""What a wire format has to be able to say, so that one test body serves every backend that speaks it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from massgen_mcp.messages import Image, ToolCall
from massgen_mcp.usage import Usage
from tests.backends.wire import Action, http_json

__all__ = ["BAD_REQUEST", "COUNTED", "SENTENCE", "Body", "Dialect", "Fault"]

Body = dict[str, Any]
"""A request's body."""

COUNTED = Usage(requests=1, input=100, cached=60, output=50, reasoning=30)
"""What every dialect's `counted` reply has used, in the one way we count."""

SENTENCE = "Something was said"
"""What a provider says in each fault; whatever follows it in the test is said, too."""

BAD_REQUEST = "the conversation must not be empty"


@dataclass(frozen=True)
class Fault:
    """A refusal with a status."""

    status: int
    error: object
    headers: Mapping[str, str]

    def response(self) -> bytes:
        """The whole response."""
        return http_json(self.status, self.error, **self.headers)


class Dialect(ABC):
    """One wire format. Each method gives the exact bytes of one situation, or reads one request."""

    name: str
    key_headers: frozenset[str]
    """Where a key may stand."""

    # What a provider says.

    @abstractmethod
    def said(self, *pieces: str, reasoning: Sequence[str] = ()) -> bytes:
        """A complete reply, its text and its reasoning in these pieces."""

    @abstractmethod
    def called(self, *calls: ToolCall) -> bytes:
        """A complete reply of these calls, their arguments in two pieces where the format has pieces."""

    @abstractmethod
    def native(self) -> tuple[bytes, list[Body]]:
        """A reply of thoughts, text, a call `c1` of `vote` and an item of a kind nobody knows; its items."""

    @abstractmethod
    def counted(self) -> bytes:
        """A reply that has used `COUNTED`."""

    @abstractmethod
    def begun(self) -> bytes:
        """The head of a stream and a first piece of text, `Hel`; the body goes on."""

    @abstractmethod
    def early(self) -> bytes:
        """A stream whose body ends, in good order, before its terminal event."""

    @abstractmethod
    def cut_off(self) -> bytes:
        """A reply that ends at the output limit."""

    @abstractmethod
    def declined(self, words: str) -> bytes:
        """A reply in which the model, or a filter, declines."""

    @abstractmethod
    def reported(self, words: str) -> bytes:
        """A success that turns into an error: the provider is overloaded."""

    @abstractmethod
    def empty(self) -> bytes:
        """A reply that is complete and says nothing."""

    @abstractmethod
    def faults(self, words: str) -> Mapping[str, Fault]:
        """Refusals: `auth`, `forbidden`, `not_found`, `quota`, `broken`, `busy`, `context`, `bad_request`,
        and `rate_limit` with a header that asks for two seconds.
        """

    @abstractmethod
    def refusing(self, parameter: str) -> bytes:
        """A refusal of one parameter of the request."""

    # What it was sent.

    @abstractmethod
    def echoed(self, body: Body) -> list[Body]:
        """The items of the assistant's last turn, as they were given back."""

    @abstractmethod
    def results(self, body: Body) -> list[tuple[str, str]]:
        """Call id and content of each result after that turn, in the form and place that the format wants."""

    @abstractmethod
    def forced(self, body: Body) -> str | None:
        """The call that the model has to make: `required`, a name, or None."""

    @abstractmethod
    def shown(self, body: Body) -> list[Image]:
        """Pictures and documents of the last message."""

    @abstractmethod
    def parameter(self, body: Body, key: str) -> object:
        """What was sent for a key of a team file; None where nothing was."""

    # The same for all.

    def broken(self) -> Sequence[Action]:
        """A success whose first event is no JSON."""
        head = self.begun().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        event = b"data: {broken\n\n"
        return [head + f"{len(event):x}\r\n".encode() + event + b"\r\n0\r\n\r\n"]
