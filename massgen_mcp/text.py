"""Text that came from outside, made fit to show, to fence and to fit."""

from __future__ import annotations

import random
import re
import unicodedata

__all__ = ["fence", "new_tag", "shorten", "visible"]

_TAG_BITS = 80

_FLAG = "\U0001f3f4"
_FLAGS = tuple(
    _FLAG + "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f"
    for region in ("gbeng", "gbsct", "gbwls")
)
"""The only emoji made of tag characters."""

_JOINERS = "\u200c\u200d"
_BREAKS = "\u200b\u00ad"
_VARIATIONS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_VARIATION = re.compile(f"[{_VARIATIONS}]")
# One set of characters: text without any is passed over at a few nanoseconds a character.
_SUSPECT = re.compile(
    f"[{_JOINERS}{_BREAKS}{_VARIATIONS}\u2028\u2029"
    "\0-\x08\x0b-\x1f\x7f-\x9f\u034f\u115f\u1160\u17b4\u17b5\u180e\u202a-\u202e\u2060-\u206f\u3164\ufeff"
    "\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SPACE = 0x20
_DELETE = 0x7F
_PICTURES = 0x2400
_VIRAMA = 9


def visible(text: str) -> str:
    """The text with everything that hides or reorders text shown as `[U+202E]`, control characters as `␛`.

    Kept, because languages and emoji need them: tab and newline, LRM and RLM, joiners and variation selectors
    where they have something to act on, soft hyphens and zero-width spaces between letters. CR LF becomes LF.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    return _SUSPECT.sub(_show, text)


def _show(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    if code < _SPACE:
        return chr(_PICTURES + code)
    if code == _DELETE:
        return "\u2421"
    if character in "\u2028\u2029":
        return "\n"
    return character if _needed(character, found.string, found.start()) else f"[U+{code:04X}]"


def _needed(character: str, text: str, position: int) -> bool:
    """Whether an invisible character does what it is there for."""
    if not position:
        return False
    before = text[position - 1]
    after = text[position + 1 : position + 2]
    kind = unicodedata.category(before)
    if character in _JOINERS:
        if unicodedata.combining(before) == _VIRAMA or "ARABIC" in unicodedata.name(before, ""):
            return True
        return (kind[0] in "LM" or kind in {"So", "Sk"}) and (_is_letter(after) or _is_symbol(after))
    if character in _BREAKS:
        return kind[0] in "LM" and _is_letter(after)
    if _VARIATION.match(character):
        return kind[0] in "LNS" or kind == "Po"
    start = text.rfind(_FLAG, max(0, position - len(_FLAGS[0])), position)
    return start >= 0 and any(
        text.startswith(flag, start) and position < start + len(flag) for flag in _FLAGS
    )


def _is_letter(character: str) -> bool:
    return character != "" and unicodedata.category(character)[0] in "LM"


def _is_symbol(character: str) -> bool:
    return character != "" and unicodedata.category(character) == "So"


def new_tag(source: random.Random) -> str:
    """A tag for fences that nobody can guess: 80 bits from the given source."""
    return f"{source.getrandbits(_TAG_BITS):020x}"


def fence(text: str, tag: str) -> str:
    """The text, made visible, between `<data-TAG>` and `</data-TAG>`; the tag inside it is broken up."""
    inside = re.sub(re.escape(tag), "[tag removed]", visible(text), flags=re.IGNORECASE)
    return f"<data-{tag}>\n{inside}\n</data-{tag}>"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters; a cut ends in `…`, never inside a character and its marks."""
    if len(text) <= limit:
        return text
    end = max(0, limit - 1)
    while end and unicodedata.category(text[end])[0] == "M":
        end -= 1
    return text[:end].rstrip("\u200d\u200c \n\t") + "…" if limit > 0 else ""
