"""What every test needs: one event loop backend, and children that are measured as their test is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

_MEASURES_CHILDREN = "COVERAGE_PROCESS_CONFIG"
"""Where coverage tells the processes that a test starts to count lines too."""


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
