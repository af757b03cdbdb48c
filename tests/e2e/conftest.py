"""The surroundings of each end-to-end test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import processes_with, wait_until
from tests.e2e.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage for our server; after the test no process of it may be left."""
    stage = Stage(folder=tmp_path)
    yield stage
    wait_until(lambda: not processes_with(stage.mark), seconds=5, what="every process of the server is gone")
