"""The one place that knows which values are secret, and the redactor that everything shown passes."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, cast
from urllib.parse import quote, quote_plus

__all__ = ["Secrets"]

_SHORTEST = 8
"""Shorter values are not secrets worth the name; redacting them would garble ordinary text."""
_LONG = 16
"""From this length on the first characters alone give a value away."""
_PREFIX = 8
_TELLING = 12
"""So many first characters give a value away without a mask behind them, where no word begins so."""
_PLACEHOLDERS = frozenset({"not-needed", "lm-studio", "no-key-required", "sk-no-key-required"})
"""What people write where a local server wants some key."""

# Providers mask keys in their errors ("sk-proj-****wxyz"), so a mask counts as part of a key.
_KEY = r"[A-Za-z0-9_\-.*•…]"
_MASK = re.compile(r"(?:\.{2,}|[*•…]|[xX]{3,})+[A-Za-z0-9]*")
_PLAIN_MASK = re.compile(r"(?:\*{3,}|[•…])[*•…]*[A-Za-z0-9]*")
"""What is a mask behind an ordinary word, too: Markdown puts one or two stars there, a sentence dots."""
_SHAPES: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    (("sk-",), re.compile(rf"(?<![A-Za-z0-9])sk-{_KEY}{{8,}}(?<!\.)")),
    (("xai-",), re.compile(rf"(?<![A-Za-z0-9])xai-{_KEY}{{8,}}(?<!\.)")),
    (("gsk_", "hf_", "csk-", "fw_"), re.compile(rf"(?<![A-Za-z0-9])(?:gsk_|hf_|csk-|fw_){_KEY}{{16,}}")),
    (("gh", "github_pat_"), re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_|github_pat_)[A-Za-z0-9_*]{8,}")),
    (("AKIA", "ASIA"), re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9*]{12,}")),
    (("AIza",), re.compile(r"AIza[A-Za-z0-9_\-*]{16,}")),
    (("xox",), re.compile(r"xox[abeoprs]-[A-Za-z0-9\-*]{8,}")),
    (("eyJ",), re.compile(r"eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*)?")),
    (("earer ", "EARER "), re.compile(r"(?i)(?<=\bbearer )[A-Za-z0-9_\-.~+/*•…]{8,}=*")),
    (
        ("PRIVATE KEY",),
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
        ),
    ),
)
_HINTED = tuple((hint, pattern) for hints, pattern in _SHAPES for hint in hints)


class Secrets:
    """All secret values of this process, by name.

    Redacting knows a value as it is, in base64, URL-encoded or escaped for JSON, the beginning of a long one
    where it is masked or can't be ordinary words, and the shapes that keys of well-known services have.
    Redact before shortening: a cut value is no longer found whole.
    """

    __slots__ = ("_exact", "_prefixes")

    def __init__(self) -> None:
        self._exact: tuple[tuple[str, str], ...] = ()
        self._prefixes: tuple[tuple[str, str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Secrets({len(self._prefixes)} values)"

    def add(self, value: str, name: str = "secret") -> None:
        """Treat `value` as secret from now on. In its place one reads `[NAME]`.

        Values under eight characters and the placeholders that local servers take are not secret.
        """
        value = value.strip()
        mark = f"[{re.sub(r'[^A-Za-z0-9_.-]', '_', name) or 'secret'}]"
        if len(value) < _SHORTEST or value.lower() in _PLACEHOLDERS:
            return
        if any(known == value for known, _, _ in self._prefixes):
            return
        found = dict.fromkeys(_forms(value), mark) | dict(self._exact)
        # Longest first, so that a value that contains another is replaced whole. New tuples, since readers
        # may be in other threads.
        self._exact = tuple(sorted(found.items(), key=lambda pair: -len(pair[0])))
        start = value[:_PREFIX] if len(value) >= _LONG else value
        self._prefixes = (*self._prefixes, (value, start, mark))

    def redact(self, text: str) -> str:
        """The text without any secret. Returns the same object when there is none in it."""
        if len(text) < _SHORTEST:
            return text
        for form, mark in self._exact:
            if form in text:
                text = text.replace(form, mark)
        for hint, pattern in _HINTED:
            if hint in text:
                text = pattern.sub("[redacted]", text)
        for value, start, mark in self._prefixes:
            if start in text:
                text = _without_prefix(text, value, start, mark)
        return text

    def named_in(self, text: str) -> str:
        """The name of a secret whose whole value stands in the text, in any form; empty if none does."""
        return next((mark[1:-1] for form, mark in self._exact if form in text), "")

    def redact_value(self, value: Any) -> Any:
        """The same for a JSON value, keys included."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            items = cast("dict[Any, Any]", value).items()
            return {self.redact_value(key): self.redact_value(item) for key, item in items}
        if isinstance(value, list | tuple):
            return [self.redact_value(item) for item in cast("list[Any]", value)]
        return value


def _forms(value: str) -> set[str]:
    """How a value is written when it is passed on: as it is, escaped, and in base64 at every alignment."""
    forms = {value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1]}
    data = value.encode()
    for offset in range(3):
        # The characters that depend on what stands before and after the value are left out.
        head = b"\0" * offset + data
        whole = base64.b64encode(head[: len(head) - len(head) % 3]).decode()
        core = whole[4 if offset else 0 :]
        forms |= {core, core.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= _SHORTEST}


def _without_prefix(text: str, value: str, start: str, mark: str) -> str:
    """Replace each telling beginning of the value, together with a mask and an end behind it."""
    parts: list[str] = []
    done = position = 0
    while (found := text.find(start, position)) >= 0:
        end = found + len(start)
        while end < len(text) and end - found < len(value) and text[end] == value[end - found]:
            end += 1
        part = text[found:end]
        if masked := (_MASK if _mixed(part) else _PLAIN_MASK).match(text, end):
            end = masked.end()
        elif not _telling(part, value):
            position = found + 1
            continue
        parts += [text[done:found], mark]
        done = position = end
    return "".join([*parts, text[done:]]) if parts else text


def _telling(part: str, value: str) -> bool:
    """Whether a beginning gives the value away: a password may begin with words that anybody writes."""
    nearly_whole = 4 * len(part) >= 3 * len(value)
    return part == value or (len(part) >= _TELLING and (_mixed(part) or nearly_whole))


def _mixed(part: str) -> bool:
    return any(letter.isdigit() for letter in part) and any(letter.isalpha() for letter in part)
