"""Pages: nothing is lost, nothing comes twice, none is too long."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, strategies as st

from massgen_mcp.server.pages import Entry, page

LIMIT = 200
TEXTS = st.lists(st.text(st.sampled_from('ab"\\\né😀\u0001'), max_size=500), max_size=12)


@given(TEXTS)
def test_all_pages_together_are_everything_in_order(texts: list[str]):
    entries = [Entry({"n": number}, text) for number, text in enumerate(texts)]
    cursor: str | None = None
    found: list[dict[str, Any]] = []
    while True:
        rows, cursor = page(entries, cursor, limit=LIMIT)
        assert len(json.dumps(rows, ensure_ascii=False)) <= LIMIT + 2
        assert rows or not entries
        found += rows
        if cursor is None:
            break
    joined = ["".join(row["text"] for row in found if row["n"] == number) for number in range(len(texts))]
    assert joined == texts
    assert [row["n"] for row in found] == sorted(row["n"] for row in found)


def test_what_fits_a_page_of_its_own_is_not_cut():
    entries = [Entry({"n": 0}, "x" * 100), Entry({"n": 1}, "y" * 100)]
    first, cursor = page(entries, None, limit=LIMIT)
    second, end = page(entries, cursor, limit=LIMIT)
    assert [row["text"] for row in (*first, *second)] == ["x" * 100, "y" * 100]
    assert end is None


def test_a_page_that_has_no_room_left_for_a_beginning_ends():
    entries = [Entry({"n": 0}, "x" * 170), Entry({"n": 1}, "y" * 300)]
    rows, cursor = page(entries, None, limit=LIMIT)
    assert ([row["n"] for row in rows], cursor) == ([0], "1.0")


def test_a_cursor_stays_good_while_entries_are_added():
    entries = [Entry({"n": number}, "x" * 100) for number in range(2)]
    _, cursor = page(entries, None, limit=LIMIT)
    rows, _ = page([*entries, Entry({"n": 2}, "new")], cursor, limit=LIMIT)
    assert [row["n"] for row in rows] == [1, 2]


def test_a_cursor_beyond_the_end_is_an_empty_page():
    assert page([Entry({"n": 0}, "x")], "7.0") == ([], None)
