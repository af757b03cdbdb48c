"""When two answers say the same: their conclusions are equal after spelling and layout are taken off.

A missed merge costs a vote, a wrong one costs the answer. So where a mark may carry meaning it stays: `5!` is
not 5, `__init__` is not init, `10²` is not 102.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

from massgen_mcp.engine.board import Answer

__all__ = ["conclusion_of", "group_answers", "normalise"]

_LONGEST = 200

_PAIRS = (
    *((mark, mark) for mark in ("***", "**", "*", "__", "_", "```", "`", "~~", "$$", "$", '"', "'")),
    *("“”", "””", "„“", "„”", "‘’", "’’", "‚‘", "‚’", "«»", "»«", "‹›", "›‹", "「」", "『』"),  # noqa: RUF001 - quotes
)
_STRESS = re.compile(r"(?<![^\s(\[\"'“„«])(\*\*|`)(?=[^\s*`])([^*`]*)(?<!\s)\1(?![^\s.,;:!?)\]\"'”“»])")
"""Bold words and code within a phrase; two stars between operands are a power."""
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_HEADING = re.compile(r"#{1,6}\s+(?=\S)")
# An exclamation mark after a number, a bracket or a lone letter is a factorial.
_FINAL = re.compile(r"(?:[\s.,;:?。、]|(?<![\d)\]])(?<!\b\w)!)+$")
# Before a lone letter `a` is another one: "A B" names two choices.
_ARTICLE = re.compile(r"(?:the\s+(?=\S)|an?\s+(?=\w\w))")
_NUMBER = re.compile(
    r"(?P<before>[+-]?(?:[$€£¥]\s?)?)(?=\.?\d)"
    r"(?P<whole>\d+|[1-9]\d{0,2}(?P<mark>[, _'’])\d{3}(?:(?P=mark)\d{3})*)?"  # noqa: RUF001 - Swiss thousands
    r"(?P<rest>(?:\.\d*)?(?:e[+-]?\d{1,3})?)"
    r"(?P<after>\s?[%$€£¥])?"
)
_FORM = re.compile(
    r"[#>•\s-]*[*_]{0,2}(?:(?:the|my)\s+)?(?:final\s+)?"
    r"(?:answer|conclusion|result|verdict|bottom line|antwort|ergebnis|fazit|r[ée]ponse|respuesta|resposta|"
    r"risposta|conclusi[óo]n|ответ|答案|结论|結論|答え)"
    r"[*_]{0,2}\s*(?:is\b\s*:?|[:：=])[*_]{0,2}\s*(?P<value>\S.*)",  # noqa: RUF001 - the colon of CJK text
    re.IGNORECASE,
)


@lru_cache(maxsize=1_024)  # a run compares the same few again at each event
def normalise(conclusion: str) -> str | None:
    """What a conclusion is compared by; None for one that equals no other: empty, or over 200 characters."""
    if len(conclusion.strip()) > _LONGEST:
        return None
    text = " ".join(unicodedata.normalize("NFKC", _flatten(conclusion)).casefold().split())
    before = ""
    while text != before:
        before = text
        text = _STRESS.sub(r"\2", _unwrap(_FINAL.sub("", text)))
        text = _ARTICLE.sub("", _HEADING.sub("", text, count=1), count=1)
    return _number(text) or text or None


def conclusion_of(text: str) -> str:
    """The conclusion a plain text ends in ("Answer: 42"), or an empty string when its last line is none."""
    lines = text.strip().splitlines()
    last = lines[-1].strip() if lines else ""
    match = _FORM.fullmatch(_unwrap(last)) if len(last) <= _LONGEST else None
    return match["value"].strip() if match else ""


def group_answers(answers: Iterable[Answer], *, merge: bool = True) -> tuple[tuple[Answer, ...], ...]:
    """Answers that say the same, together; groups and members in the order given.

    Equal texts are always one group, equal conclusions when `merge` is set.
    """
    groups: list[tuple[frozenset[str], tuple[Answer, ...]]] = []
    for answer in answers:
        keys, members = _keys(answer, merge=merge), (answer,)
        same = [group for group in groups if group[0] & keys]
        keys = keys.union(*(group[0] for group in same))
        members = tuple(member for group in same for member in group[1]) + members
        place = groups.index(same[0]) if same else len(groups)
        groups = [group for group in groups if group not in same]
        groups.insert(place, (keys, members))
    return tuple(members for _, members in groups)


def _keys(answer: Answer, *, merge: bool) -> frozenset[str]:
    conclusion = normalise(answer.conclusion) if merge else None
    text = f"text {answer.content.strip()}"
    return frozenset({text} if conclusion is None else {text, f"conclusion {conclusion}"})


def _flatten(text: str) -> str:
    """Raised and lowered characters marked, since NFKC would run them into their neighbours."""
    marks = {"<super>": "^", "<sub>": "_"}
    return "".join(marks.get(unicodedata.decomposition(char).split(" ")[0], "") + char for char in text)


def _unwrap(text: str) -> str:
    """Without one pair of quotes or markdown marks around the whole."""
    for left, right in _PAIRS:
        if text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right):
            inside = text[len(left) : -len(right)]
            named = left[0] == "_" and _IDENTIFIER.fullmatch(inside)
            if left not in inside and right not in inside and not named:
                return inside.strip()
    return text


def _number(text: str) -> str | None:
    """A number's one spelling, with the currency or per cent sign it had."""
    match = _NUMBER.fullmatch(text.replace("−", "-"))  # noqa: RUF001 - the minus sign of typeset text
    if match is None:
        return None
    sign = "-" if "-" in match["before"] else ""
    whole = re.sub(r"\D", "", match["whole"] or "0")
    plain = format(Decimal(f"{sign}{whole}{match['rest']}"), "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    unit = match["before"].lstrip("+-").strip() + (match["after"] or "").strip()
    return unit + ("0" if plain == "-0" else plain)
