"""Regular expressions whose cost grows with the text alone.

Python's own engine may take longer than the universe on a pattern from outside, and can't be interrupted.
Here a pattern becomes a set of states that step through the text together; the steps seen so far are
remembered. What can't be matched in this way (back-references, look-around) is refused with the reason.
"""

from __future__ import annotations

import re

# Python's own parser, so that patterns mean what they mean in Python; it has no stubs.
import re._constants as sre  # pyright: ignore[reportMissingTypeStubs]
import re._parser as sre_parser  # pyright: ignore[reportMissingTypeStubs]
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from massgen_mcp.workspace.beneath import PathRefused

__all__ = ["Pattern"]

_LONGEST = 1000
_STATES = 4000
_PARTS = 20_000
"""Looked at while building: repeats of nothing make no state."""
_REMEMBERED = 4000
_STRIDE = 20_000
"""Steps between two questions whether to go on."""
_UNSUPPORTED = {
    "GROUPREF": "a back-reference",
    "GROUPREF_EXISTS": "a condition",
    "ASSERT": "look-ahead or look-behind",
    "ASSERT_NOT": "look-ahead or look-behind",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
}

_LARGE = "The pattern is too large: its repeats multiply. Make it simpler."
_DEEP = "The pattern is nested too deeply. Make it simpler."

Test: TypeAlias = Callable[[str], bool]
# Kinds of a neighbour of a position: the text's edge, part of a word, or anything else.
_EDGE, _WORD, _OTHER = 0, 1, 2


class _State:
    """One step of the text's way: which states are alive, and what came before."""

    __slots__ = ("alive", "before", "next")

    def __init__(self, alive: frozenset[int], before: int) -> None:
        self.alive = alive
        self.before = before
        self.next: dict[str, _State | None] = {}
        """Character -> next state; None: found."""


class Pattern:
    """A regular expression in Python's syntax, looked for anywhere in a line.

    Raises:
        PathRefused: it is none, or needs what takes more than linear time.
    """

    def __init__(self, text: str, *, ignore_case: bool = False) -> None:
        if len(text) > _LONGEST:
            raise PathRefused(f"The pattern is longer than {_LONGEST} characters.", "size")
        try:
            parser: Any = sre_parser
            parsed = parser.parse(text, re.IGNORECASE if ignore_case else 0)
        except (re.error, OverflowError) as error:
            raise PathRefused(f"The pattern is no regular expression: {error}.", "text") from error
        except RecursionError as error:
            raise PathRefused(_DEEP, "size") from error
        self._fold = bool(parsed.state.flags & re.IGNORECASE)
        self._ascii = bool(parsed.state.flags & re.ASCII)
        self._tests: dict[int, tuple[Test, int]] = {}
        self._asserts: dict[int, tuple[str, int]] = {}
        self._splits: dict[int, tuple[int, ...]] = {}
        self._count = 1  # 0 is the state of success
        self._parts = 0
        try:
            self._start = self._sequence(list(parsed), 0)
        except RecursionError as error:
            raise PathRefused(_DEEP, "size") from error
        self.literal = "" if self._fold else _literal(list(parsed))
        """Text that every match holds; empty where none is known."""
        self._known: dict[tuple[frozenset[int], int], _State] = {}

    def possible(self, text: str) -> bool:
        """Whether the text may hold a match: a quick look."""
        return self.literal in text

    def found(self, line: str, *, give_up: Callable[[], bool] = bool) -> bool:
        """Whether the line holds a match. `give_up` is asked now and then; then it's False."""
        state = self._state(frozenset({self._start}), _EDGE)
        work = 0
        for letter in line:
            try:
                following = state.next[letter]
            except KeyError:
                following = self._step(state, letter)
                work += len(state.alive)
            if following is None:
                return True
            state = following
            work += 1
            if work > _STRIDE:
                work = 0
                if give_up():
                    return False
        return 0 in self._closed(state, _EDGE)

    def _state(self, alive: frozenset[int], before: int) -> _State:
        key = alive, before
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[key] = _State(alive, before)
        return known

    def _step(self, state: _State, letter: str) -> _State | None:
        kind = self._kind(letter)
        alive = self._closed(state, kind)
        following: _State | None = None
        if 0 not in alive:
            reached = {self._start}
            for number in alive:
                test = self._tests.get(number)
                if test is not None and test[0](letter):
                    reached.add(test[1])
            following = self._state(frozenset(reached), kind)
        if len(state.next) < _REMEMBERED:
            state.next[letter] = following
        return following

    def _closed(self, state: _State, after: int) -> set[int]:
        """Every state reached from these without a character, between these two neighbours."""
        seen: set[int] = set()
        waiting = list(state.alive)
        while waiting:
            number = waiting.pop()
            if number in seen:
                continue
            seen.add(number)
            if number in self._splits:
                waiting += self._splits[number]
            elif number in self._asserts:
                kind, target = self._asserts[number]
                if _holds(kind, state.before, after):
                    waiting.append(target)
        return seen

    def _kind(self, letter: str) -> int:
        word = letter == "_" or (letter.isalnum() and (not self._ascii or letter.isascii()))
        return _WORD if word else _OTHER

    # Building: each part is given the state that follows it, and returns the state that begins it.

    def _new(self) -> int:
        self._count += 1
        if self._count > _STATES:
            raise PathRefused(_LARGE, "size")
        return self._count - 1

    def _sequence(self, items: list[Any], then: int) -> int:
        for operation, argument in reversed(items):
            self._parts += 1
            if self._parts > _PARTS:
                raise PathRefused(_LARGE, "size")
            then = self._part(operation, argument, then)
        return then

    def _part(self, operation: Any, argument: Any, then: int) -> int:
        name = str(operation)
        if name in _UNSUPPORTED:
            raise PathRefused(f"The pattern holds {_UNSUPPORTED[name]}, which is not supported here.", "text")
        match name:
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN" | "CATEGORY":
                number = self._new()
                self._tests[number] = (self._test(name, argument), then)
                return number
            case "AT":
                number = self._new()
                self._asserts[number] = (str(argument), then)
                return number
            case "BRANCH":
                return self._split(*(self._sequence(list(option), then) for option in argument[1]))
            case "SUBPATTERN":
                _, add, remove, inner = argument
                if add or remove:
                    raise PathRefused("The pattern sets flags inside; put (?i) at its beginning.", "text")
                return self._sequence(list(inner), then)
            case _:  # MAX_REPEAT, MIN_REPEAT: greed does not change whether there is a match
                low, high, inner = argument
                return self._repeat(low, high, inner, then)

    def _repeat(self, low: int, high: Any, inner: Any, then: int) -> int:
        items = list(inner)
        if high is cast("Any", sre).MAXREPEAT:
            loop = self._new()
            self._splits[loop] = (self._sequence(items, loop), then)
            then = loop
        else:
            end = then
            for _ in range(int(high) - low):
                then = self._split(self._sequence(items, then), end)
        for _ in range(low if items else 0):
            then = self._sequence(items, then)
        return then

    def _split(self, *targets: int) -> int:
        number = self._new()
        self._splits[number] = targets
        return number

    def _test(self, name: str, argument: Any) -> Test:
        match name:
            case "NOT_LITERAL":
                return self._negated(self._folding(self._single("LITERAL", argument)))
            case "IN" if str(argument[0][0]) == "NEGATE":
                return self._negated(self._folding(self._any_of(argument[1:])))
            case "IN":
                return self._folding(self._any_of(argument))
            case _:
                return self._folding(self._single(name, argument))

    def _folding(self, test: Test) -> Test:
        if not self._fold:
            return test
        return lambda letter: test(letter) or test(letter.lower()) or test(letter.upper())

    @staticmethod
    def _negated(test: Test) -> Test:
        return lambda letter: not test(letter)

    def _any_of(self, items: list[Any]) -> Test:
        tests = [self._single(str(operation), argument) for operation, argument in items]
        return lambda letter: any(test(letter) for test in tests)

    def _single(self, name: str, argument: Any) -> Test:
        match name:
            case "LITERAL":
                wanted = chr(argument)
                return lambda letter: letter == wanted
            case "ANY":
                return lambda _: True
            case "RANGE":
                low, high = chr(argument[0]), chr(argument[1])
                return lambda letter: low <= letter <= high
            case _:  # CATEGORY
                return self._category(str(argument))

    def _category(self, name: str) -> Test:
        source = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[name.rpartition("_")[2]]
        one = re.compile(source.upper() if "_NOT_" in name else source, re.ASCII if self._ascii else 0)
        return lambda letter: one.match(letter) is not None


def _holds(kind: str, before: int, after: int) -> bool:
    match kind:
        case "AT_BEGINNING" | "AT_BEGINNING_STRING":
            return before == _EDGE
        case "AT_END" | "AT_END_STRING":
            return after == _EDGE
        case "AT_BOUNDARY":
            return (before == _WORD) is not (after == _WORD)
        case _:  # AT_NON_BOUNDARY
            return (before == _WORD) is (after == _WORD)


def _literal(items: list[Any]) -> str:
    """The longest run of plain characters that no match can do without."""
    best = run = ""
    for operation, argument in items:
        if str(operation) == "LITERAL":
            run += chr(argument)
            best = max(best, run, key=len)
        else:
            run = ""
    return best
