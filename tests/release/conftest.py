"""One build of the source tree as it is now, for all tests of a worker that look into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from release.__main__ import main

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Built:
    """What a draft of this source tree has made."""

    folder: Path

    @property
    def wheel(self) -> Path:
        (found,) = self.folder.glob("*.whl")
        return found

    @property
    def sdist(self) -> Path:
        (found,) = self.folder.glob("*.tar.gz")
        return found

    @property
    def bill(self) -> str:
        (found,) = self.folder.glob("*.cdx.json")
        return found.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("dist")
    assert main(["--draft", "--out", str(out)]) == 0
    return Built(out)
