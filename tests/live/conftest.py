"""Live tests run only when they are asked for by name: they spend money."""

from __future__ import annotations

import re

import pytest

_ASKED_FOR = re.compile(r"(?<!not )\blive\b")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _ASKED_FOR.search(config.getoption("-m") or ""):
        return
    left_out = [item for item in items if item.get_closest_marker("live")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
