"""A team file's text may be anything; reading it is quick, bounded and gives nothing of it away."""

from __future__ import annotations

import time

import pytest

from massgen_mcp.config.tree import parse


def _bomb(*, merge: bool) -> str:
    """An alias bomb of about 300 bytes: every line stands for nine times the line before."""
    lines = ["a: &a {k: 1}" if merge else "a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, here in zip("abcdefg", "bcdefgh", strict=True):
        many = ",".join([f"*{before}"] * 9)
        lines.append(f"{here}: &{here} " + (f"{{<<: [{many}], z{here}: 1}}" if merge else f"[{many}]"))
    return "\n".join(lines)


@pytest.mark.parametrize("kind", ["lists", "merges"])
def test_an_alias_bomb_is_refused_in_no_time(kind: str) -> None:
    text = _bomb(merge=kind == "merges")
    assert len(text) < 500
    begun = time.process_time()
    tree = parse(text)
    assert time.process_time() - begun < 0.2
    assert "more than 20,000 values" in tree.problems[0].message
    assert tree.broken


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "the file is empty"),
        ("# nothing", None, "the file is empty"),
        ("- a\n- b", 1, "a team file is a mapping of keys"),
        ("just text", 1, "a team file is a mapping of keys"),
        ("a: 1\n---\nb: 2", 2, "there is more than one document in the file"),
        ("a: !!python/object/apply:os.system [id]", 1, "tags (such as !name) are not accepted"),
        ("a: !!str 3", 1, "tags (such as !name) are not accepted"),
        ("!x {a: 1}", 1, "tags (such as !name) are not accepted"),
        ("a: &a [*a]", 1, "an alias inside what it stands for"),
        ("a: *nowhere", 1, "an alias without its anchor"),
        ("? [a]\n: 1", 1, "a key must be a word"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nested more than 32 levels deep"),
        ("a: &a " + "[" * 20 + "]" * 20 + "\nb: " + "[" * 20 + "*a" + "]" * 20, 2, "nested more than 32"),
        ("a: " + "[" * 100_000, 1, "nested more than 32 levels deep"),
        ("\n".join(f"k{number}: 1" for number in range(5_001)), 5_001, "more than 5,000 keys"),
        ("a: &a 1\nb: [" + ",".join(["*a"] * 65) + "]", 2, "more than 64 aliases"),
        pytest.param("a: [" + "1," * 20_001 + "]", 1, "more than 20,000 values", marks=pytest.mark.no_cover),
        ("a: " + "x" * (1 << 20), None, "larger than 1 MiB"),
        ("a: \x00", None, "not YAML"),
        ("a: b: c", 1, "not YAML"),
    ],
)
def test_what_is_not_a_team_file_is_refused_with_its_line(text: str, line: int | None, message: str) -> None:
    tree = parse(text)
    assert tree.broken
    assert tree.value == {}
    assert tree.problems[0].line == line
    assert message in tree.problems[0].message


@pytest.mark.parametrize(
    "text",
    [
        "a: 'hunter2-secret",
        'a: "\\qhunter2-secret"',
        "a: [1\nhunter2-secret: x",
        "a: *hunter2-secret",
        "hunter2-secret\n: x: y",
        "%TAG !s! tag:hunter2-secret\n---\na: !t!hunter2-secret 3",
        "a:\n\t- hunter2-secret",
        "a: !hunter2-secret 1",
    ],
)
def test_an_error_repeats_nothing_of_the_file(text: str) -> None:
    tree = parse(text)
    assert tree.problems
    assert "hunter2" not in str(tree.problems)


@pytest.mark.parametrize(
    ("written", "trouble"),
    [
        ("2024-01-01", "a date"),
        ("010", "base 8 or 60"),
        ("1:30", "base 8 or 60"),
        ("1:30.5", "not meant here"),
        (".inf", "not meant here"),
        (".NaN", "not meant here"),
        ("9" * 5_000, "too long"),
    ],
)
def test_a_value_that_yaml_reads_as_something_else_is_a_problem(written: str, trouble: str) -> None:
    tree = parse(f"a: {written}")
    assert trouble in tree.problems[0].message
    assert "quotes" in tree.problems[0].hint
    assert tree.value == {"a": written}
    assert parse(f'a: "{written}"').problems == ()


def test_values_mean_what_they_mean_to_everybody_else() -> None:
    tree = parse("a: no\nb: 0x1f\nc: 1_000\nd: ~\ne: 1.5\nf: 'no'\non: off\ng: 0b11\nh: '='\ni: =\nj: -7")
    assert tree.value == {
        "a": False,
        "b": 31,
        "c": 1000,
        "d": None,
        "e": 1.5,
        "f": "no",
        "on": False,
        "g": 3,
        "h": "=",
        "i": "=",
        "j": -7,
    }


def test_a_key_set_twice_is_a_problem_at_its_second_place() -> None:
    tree = parse("model: a\nmodel: b\n")
    (problem,) = tree.problems
    assert str(problem) == "model (line 2): set twice, first in line 1. Remove one of them."
    assert tree.value == {"model": "a"}


def test_merged_keys_are_there_unless_the_mapping_sets_them() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {<<: *x, b: 3}\nz: {<<: [*y, {c: 4}], d: 5}\n"
    tree = parse(text)
    assert tree.problems == ()
    assert tree.value["z"] == {"d": 5, "b": 3, "a": 1, "c": 4}


def test_what_cannot_be_merged_is_a_problem() -> None:
    (problem,) = parse("a: {<<: 3}").problems
    assert problem.path == "a.<<"
    assert "`<<`" in problem.message


def test_every_key_and_item_has_its_place() -> None:
    tree = parse("agents:\n  - id: a\n    backend: {type: x}\n  - id: b\n")
    marks = tree.places.marks
    assert marks["agents",] == (1, 1)
    assert marks["agents", 0, "backend", "type"] == (3, 15)
    assert marks["agents", 1] == (4, 5)


def test_a_problem_below_a_missing_key_stands_at_the_nearest_key_above() -> None:
    tree = parse("agents:\n  - id: a\n")
    problem = tree.places.problem(("agents", 0, "backend", "type"), "required")
    assert (problem.path, problem.line, problem.column) == ("agents[0].backend.type", 2, 5)


def test_strange_letters_in_a_key_are_not_shown() -> None:
    tree = parse('"a\\eb": 1\n"a\\eb": 2\n')
    assert tree.problems[0].path == "a?b"
