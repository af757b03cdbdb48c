"""Nothing leads out of a workspace: as whoever runs this, and as an ordinary user."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workspace.escapes import ESCAPES, OPENERS, World, world

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NOBODY = 65534


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("escape", ESCAPES, ids=lambda escape: escape.__name__)
def test_no_way_leads_out(tmp_path: Path, opener: str, escape: Callable[[World], None]) -> None:
    with world(tmp_path, OPENERS[opener]) as there:
        escape(there)


@pytest.mark.no_cover
@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as an ordinary user already")
def test_no_way_leads_out_for_an_ordinary_user() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, str(HERE / "escapes.py"), str(NOBODY), folder],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(ESCAPES) * len(OPENERS)
