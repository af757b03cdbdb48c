"""Patterns mean what they mean in Python, and never take longer than the text is long."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from hypothesis import given, settings, strategies as st

from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.pattern import Pattern

_ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "_",
        ".",
        r"\w",
        r"\W",
        r"\d",
        r"\s",
        r"\b",
        "^",
        "$",
        "[ab]",
        "[^a]",
        "[a-c1]",
        r"\.",
        "é",
        r"[^\W]",
    ]
)
_REPEATS = st.sampled_from(["*", "+", "?", "{1,2}", "{2}", "{0,3}", "*?", "+?"])
PATTERNS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("({0[0]}|{0[1]})".format),
        st.tuples(inner, _REPEATS).map("(?:{0[0]}){0[1]}".format),
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(PATTERNS, st.text("abAB_ .1é", max_size=10), st.booleans())
def test_a_pattern_finds_what_python_finds(pattern: str, text: str, ignore_case: bool) -> None:  # noqa: FBT001
    compiled = Pattern(pattern, ignore_case=ignore_case)
    found = compiled.possible(text) and compiled.found(text)
    assert found is (re.search(pattern, text, re.IGNORECASE if ignore_case else 0) is not None)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", "a" * 200_000 + "b"),
        ("(a|a)*$", "a" * 200_000 + "b"),
        ("(.*)*x", "a" * 200_000),
        ("(a?){30}a{30}$", "a" * 29),
        ("(x+x+)+y", "x" * 200_000),
    ],
)
def test_patterns_that_explode_elsewhere_do_not_here(pattern: str, text: str) -> None:
    began = time.process_time()
    Pattern(pattern).found(text)
    assert time.process_time() - began < 5


def test_giving_up_ends_a_long_search() -> None:
    asked: list[int] = []

    def give_up() -> bool:
        asked.append(1)
        return len(asked) == 3

    assert not Pattern("(a|b)*a(a|b){12}c").found("ab" * 1_000_000 + "c", give_up=give_up)
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "no regular expression"),
        (r"(a)\1", "back-reference"),
        ("(?=a)b", "look-ahead"),
        ("(?<!a)b", "look-ahead"),
        ("(a)?(?(1)b|c)", "a condition"),
        ("(?>a+)b", "atomic group"),
        ("a++", "possessive"),
        ("(?i:a)b", "sets flags"),
        ("(a{3000}){3}", "repeats multiply"),
        ("a{99999999999999999999}", "no regular expression"),
        ("x" * 1001, "longer than 1000"),
    ],
)
def test_what_cannot_be_matched_is_refused_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(PathRefused, match=why):
        Pattern(pattern)


def test_flags_at_the_beginning_count() -> None:
    assert Pattern("(?i)HELLO").found("say hello")
    assert not Pattern(r"(?a)\w").found("é")
    assert not Pattern(r"(?a)\bé").found("é")
    assert Pattern(r"\w").found("é")
    assert not Pattern(r"\Ba\B").found("a")
    assert Pattern(r"\Aa\Z").found("a")


def test_the_memory_of_a_pattern_is_bounded() -> None:
    pattern = Pattern("(a|b)*a(a|b){13}c")
    text = "".join("ab"[number * number % 7 % 2] + "ab"[number % 3 % 2] for number in range(20_000))
    assert not pattern.found(text)
    assert pattern.found(text + "a" + "b" * 13 + "c")


@pytest.mark.parametrize(
    "pattern", ["(?:){4000000000}", "((){3000}){3000}", "(" * 480 + "a" + ")" * 480, "((?:){9}|){9999999}"]
)
def test_a_pattern_that_is_a_bomb_is_read_or_refused_at_once(pattern: str) -> None:
    begun = time.process_time()
    with contextlib.suppress(PathRefused):
        Pattern(pattern).found("a" * 100)

    assert time.process_time() - begun < 1
