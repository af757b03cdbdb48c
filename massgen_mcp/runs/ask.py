"""A caller's question, whichever door it came through."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from massgen_mcp.errors import RequestRefused

__all__ = ["Allowance", "Ask", "Wanted", "digest_of"]

Wanted: TypeAlias = str | Mapping[str, Any]
"""One item of `files` or `images`: a path, or an object with its content."""

Amount = TypeVar("Amount", int, float)
_QUESTION_LIMIT = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a run may use. From a caller it can only lower what the configuration allows."""

    usd: float | None = None
    tokens: int | None = None
    requests: int | None = None
    seconds: float | None = None

    def within(self, other: Allowance) -> Allowance:
        """The lower of each limit."""
        return Allowance(
            usd=_lower(self.usd, other.usd),
            tokens=_lower(self.tokens, other.tokens),
            requests=_lower(self.requests, other.requests),
            seconds=_lower(self.seconds, other.seconds),
        )


def digest_of(ask: Ask, attached: Mapping[str, str], *, project: str = "") -> str:
    """SHA-256 of what makes a question the same: all of it but what the caller would spend on it.

    Args:
        ask: the question.
        attached: name -> digest of its files and images.
        project: the folder that it is asked in: "what is wrong here?" is another question in each.
    """
    value = [
        ask.question,
        ask.context,
        ask.team,
        list(ask.agents),
        ask.strategy,
        ask.continue_run,
        sorted(attached.items()),
        project,
    ]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _lower(mine: Amount | None, other: Amount | None) -> Amount | None:
    limits = [limit for limit in (mine, other) if limit is not None]
    return min(limits) if limits else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What `ask_team` and `ask` take.

    Raises:
        RequestRefused: an argument can't be served; nothing was spent.
    """

    question: str
    team: str | None = None
    agents: tuple[str, ...] = ()
    context: str = ""
    files: tuple[Wanted, ...] = ()
    """Paths, globs, `path:10-80`, folders, `git:REVISION`, `{name, text}`, `{name, base64, mime}`."""
    images: tuple[Wanted, ...] = ()
    """Paths, or `{name, base64, mime}`: PNG, JPEG, WebP, GIF, PDF."""
    strategy: str | None = None
    budget: Allowance = Allowance()
    continue_run: str = ""
    """The run that this is a follow-up of; one that was interrupted is taken up again where no question, or
    the same one, is asked."""

    def __post_init__(self) -> None:
        if not self.question.strip() and not self.continue_run:
            raise RequestRefused("`question` is empty. Put the whole question in it. Nothing was spent.")
        for name, text in (("question", self.question), ("context", self.context)):
            if len(text) > _QUESTION_LIMIT:
                raise RequestRefused(
                    f"`{name}` has {len(text):,} characters; {_QUESTION_LIMIT:,} fit. Shorten it. "
                    "Nothing was spent."
                )
        if self.team and self.agents:
            raise RequestRefused("Give `team` or `agents`, not both. Nothing was spent.")
