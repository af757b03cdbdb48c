"""When two answers say the same."""

from __future__ import annotations

import pytest

from massgen_mcp.engine import Answer, conclusion_of, group_answers, normalise


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "paris"),
        ("Paris", "  paris.  "),
        ("Paris", "**Paris**"),
        ("Paris", "***Paris.***"),
        ("Paris", "“Paris”"),
        ("Paris", "«Paris»"),
        ("Paris", "'Paris'!"),
        ("Paris", "„Paris“"),
        ("Paris", "„Paris”"),
        ("Paris", "’Paris’"),  # noqa: RUF001 - Swedish quotes
        ("Paris", "›Paris‹"),  # noqa: RUF001 - quotes
        ("Paris, France", "**Paris**, France"),
        ("use sqlite (WAL)", "Use `sqlite` (**WAL**)"),
        ("Paris", '"**`Paris`**".'),
        ("Paris", "# Paris"),
        ("Paris", "~~Paris~~…"),
        ("_the Paris Agreement_", "Paris Agreement"),
        ("the   Paris\nAgreement", "Paris agreement"),
        ("The Nile", "Nile"),
        ("a cat", "A cat."),
        ("an owl", "owl"),
        ("STRASSE", "straße"),
        ("ｆｕｌｌ", "full"),  # noqa: RUF001 - what NFKC is for
        ("東京。", "東京"),
        ("42", "42.0"),
        ("42", "42."),
        ("42", "**42**"),
        ("42", "$42$"),
        ("42", "+42"),
        ("42", "４２"),  # noqa: RUF001 - what NFKC is for
        ("0.5", ".5"),
        ("0", "-0.0"),
        ("-7", "−7"),  # noqa: RUF001 - the minus sign of typeset text
        ("1000000", "1,000,000"),
        ("1000000", "1 000 000.00"),
        ("1000000", "1'000'000"),
        ("1000000", "1_000_000"),
        ("1000000", "1e6"),
        ("$1,000", "$1000.00"),
        ("$42", "$ 42"),
        ("42€", "42 €"),
        ("42 %", "42.0%"),
        ("100000000000000000000000000000000000000.0", "100000000000000000000000000000000000000"),
    ],
)
def test_these_conclusions_are_equal(one: str, other: str) -> None:
    assert normalise(one) is not None
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "London"),
        ("42", "43"),
        ("42", "-42"),
        ("42", "42%"),
        ("42", "$42"),
        ("$42", "€42"),
        ("5!", "5"),
        ("n!", "n"),
        ("(n+1)!", "(n+1)"),
        ("10²", "102"),
        ("H₂O", "H^2O"),
        ("1½", "11/2"),
        ("0,125", "125"),  # a decimal comma
        ("1,5", "15"),
        ("12,34", "1234"),
        ("1,000 000", "1000000"),  # no number is written so
        ("> 5", "5"),
        ("- 5", "5"),
        ("C#", "C"),
        ("A*", "A"),
        ("__init__", "init"),
        ("the", "a"),
        ("A B", "B"),  # two choices
        ("a 5", "5"),
        ("(2)**(3)**(4)", "(2)(3)(4)"),
        ("2**3**4", "234"),
        ("**kwargs", "kwargs"),
        ("f(*a, **b)", "f(*a, b)"),
        ('"yes" or "no"', 'yes" or "no'),
        ("100000000000000000000000000000000000001", "100000000000000000000000000000000000002"),
    ],
)
def test_these_conclusions_are_not_equal(one: str, other: str) -> None:
    assert normalise(one) is not None
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize("conclusion", ["", "   ", "...", "?!", "x" * 201])
def test_nothing_equals_an_empty_or_a_very_long_conclusion(conclusion: str) -> None:
    assert normalise(conclusion) is None


def test_a_conclusion_of_two_hundred_characters_still_merges() -> None:
    assert normalise("x" * 200) == "x" * 200


@pytest.mark.parametrize(
    "odd", ["1" * 200, "1" + "0" * 190 + "e999", "." * 200, "(" * 200, "!" * 199, "*_" * 100]
)
def test_odd_conclusions_are_taken_without_failing(odd: str) -> None:
    assert normalise(odd) == normalise(f" {odd} ")


@pytest.mark.parametrize("conclusion", ["A", "the", "a", ".", "e5", ".e5", "1e9999"])
def test_what_only_looks_like_an_article_or_a_number_stays_itself(conclusion: str) -> None:
    assert normalise(conclusion) in {conclusion.casefold(), None}


@pytest.mark.parametrize(
    ("text", "conclusion"),
    [
        ("Answer: 42", "42"),
        ("I add both.\n\nAnswer: 42\n", "42"),
        ("So:\n**Answer:** 42", "42"),
        ("So:\n**Answer: 42**", "42"),
        ("So:\n**Final answer**: **42**", "**42**"),
        ("## Conclusion: use SQLite.", "use SQLite."),
        ("- Result = 7", "7"),
        ("The answer is Paris.", "Paris."),
        ("The final answer is: Paris", "Paris"),
        ("Fazit: Berlin", "Berlin"),
        ("Réponse : Paris", "Paris"),
        ("答案：42", "42"),  # noqa: RUF001 - the colon of CJK text
        ("Answer: A*", "A*"),
        ("Answer: `__init__`", "`__init__`"),
        ("", ""),
        ("Paris", ""),
        ("Answer: 42\nBut I am not sure.", ""),
        ("Answer:", ""),
        ("The answer isn't known.", ""),
        ("Note: see below", ""),
        ("Answer: " + "x" * 200, ""),
    ],
)
def test_the_conclusion_of_a_plain_text_is_its_last_short_line(text: str, conclusion: str) -> None:
    assert conclusion_of(text) == conclusion


def answers(**said: tuple[str, str]) -> list[Answer]:
    return [
        Answer(id=f"{agent}.1", agent=agent, revision=1, content=content, conclusion=conclusion)
        for agent, (content, conclusion) in said.items()
    ]


def grouped(found: list[Answer], *, merge: bool = True) -> list[str]:
    return ["".join(answer.agent for answer in group) for group in group_answers(found, merge=merge)]


def test_equal_conclusions_are_one_group_in_the_order_given() -> None:
    found = answers(a=("1", "yes"), b=("2", "no"), c=("3", "Yes."), d=("4", "NO"), e=("5", "perhaps"))
    assert grouped(found) == ["ac", "bd", "e"]


def test_equal_texts_are_one_group_whatever_their_conclusions() -> None:
    found = answers(a=("same", ""), b=("other", ""), c=(" same\n", ""), d=("same", "x"))
    assert grouped(found) == ["acd", "b"]


def test_answers_without_a_conclusion_are_groups_of_their_own() -> None:
    assert grouped(answers(a=("1", ""), b=("2", ""))) == ["a", "b"]


def test_an_answer_joins_the_groups_it_is_equal_to() -> None:
    found = answers(a=("1", "yes"), b=("2", "sure"), c=("3", "no"), d=("2", "yes"))
    assert grouped(found) == ["abd", "c"]


def test_without_merging_only_equal_texts_are_one_group() -> None:
    found = answers(a=("1", "yes"), b=("2", "yes"), c=("1", "no"))
    assert grouped(found, merge=False) == ["ac", "b"]


def test_no_answers_are_no_groups() -> None:
    assert group_answers([]) == ()
