"""What every test needs: one event loop backend, and children that are measured as their test is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import coverage
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

_MEASURES_CHILDREN = "COVERAGE_PROCESS_CONFIG"
"""Where coverage tells the processes that a test starts to count lines too."""


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """Leave one counter of lines in a worker, the newest.

    A worker is a child of a process that has its children measured, so it is counted more than once, and
    whatever pauses the one counter lets the next go on.
    """
    counters: list[coverage.Coverage] = []
    while (counter := coverage.Coverage.current()) is not None:
        counter.stop()
        counters.append(counter)
    if counters:
        counters[0].start()


_LONG, _COUNTED = 8, 4
"""Of a table with so many cases, lines are counted in every so manieth."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Counting lines doubles the time of a test, and the cases of one table run through the same ones."""
    tables: dict[str, list[pytest.Item]] = {}
    for item in items:
        tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tables.values():
        for number, case in enumerate(cases):
            if len(cases) >= _LONG and number % _COUNTED:
                case.add_marker("no_cover")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test marked `no_cover` repeats what others cover: neither it nor its children count lines."""
    if item.get_closest_marker("no_cover") is None:
        return (yield)
    told = os.environ.pop(_MEASURES_CHILDREN, None)
    try:
        return (yield)
    finally:
        if told is not None:
            os.environ[_MEASURES_CHILDREN] = told
