"""The surroundings of each end-to-end test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import ENDING, adopt_orphans, descendants, wait_until
from tests.e2e.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage for our server; after the test no process may be left of it, or of what it started."""
    adopt_orphans()
    before = descendants()
    yield Stage(folder=tmp_path)
    wait_until(lambda: not descendants() - before, seconds=ENDING, what="every process of the test has ended")
