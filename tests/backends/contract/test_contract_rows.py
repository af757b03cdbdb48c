"""No row of the registry is left out of the contract without a reason and a place where it is tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.registry import BACKENDS
from tests.backends.contract.seats import ELSEWHERE, SEATS, SPOKEN

_ROOT = Path(__file__).parents[3]
ROWS = tuple(BACKENDS.values())


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.kind == "model" and not row.hidden], ids=lambda row: row.type
)
def test_every_model_keeps_the_contract(row: BackendInfo) -> None:
    if row.type in ELSEWHERE:
        where, why = ELSEWHERE[row.type]
        assert Path(_ROOT, where).is_file(), f"{row.type!r} is tested in {where}, as {why}; it is not there."
        return
    assert row.module in SPOKEN, (
        f"The row {row.type!r} is made by massgen_mcp.backends.{row.module}, and nothing says what that "
        "speaks. Add the module to SPOKEN in tests/backends/contract/seats.py with the dialect of its wire "
        "format; for a new format, write one more Dialect beside the others."
    )
    assert any(seat.row is row for seat in SEATS)


@pytest.mark.parametrize("row", [row for row in ROWS if row.kind == "runtime"], ids=lambda row: row.type)
def test_a_runtime_has_tests_of_its_own(row: BackendInfo) -> None:
    """A runtime gives whole turns over a transport of its own, which no script of a wire format fits."""
    found = [*Path(_ROOT, "tests").rglob(f"test_{row.type}*.py")]
    assert found or not row.executes, (
        f"{row.type!r} runs, and nobody promises how: write tests/backends/test_{row.type}.py: text "
        "streams, tools make the round trip, failures have their kinds, leaving stops it, the key is nowhere."
    )


def test_nothing_is_kept_here_for_rows_that_are_gone() -> None:
    assert set(SPOKEN) <= {row.module for row in ROWS}
    assert set(ELSEWHERE) <= set(BACKENDS)
