"""A run as JSON lines, and what can be read of one that is damaged."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from massgen_mcp.journal.records import Journal, Record, RecordDamaged

__all__ = ["export_jsonl", "read_intact"]

_PAGE = 200


async def read_intact(
    journal: Journal, run_id: str, *, after: int = 0, limit: int | None = None
) -> tuple[Sequence[Record], RecordDamaged | None]:
    """A run's records up to the first damaged one, and what is wrong with that.

    Raises:
        RunNotFound: no such run.
        JournalError: the store can't be read at all.
    """
    try:
        return await journal.read(run_id, after=after, limit=limit), None
    except RecordDamaged as error:
        return await journal.read(run_id, after=after, limit=error.seq - 1 - after), error


async def export_jsonl(journal: Journal, run_id: str) -> AsyncIterator[str]:
    """A run's records in order, each as one line of JSON without its line end.

    Raises:
        RunNotFound: no such run.
        RecordDamaged: after the last line that could be read.
    """
    after = 0
    while True:
        records, damage = await read_intact(journal, run_id, after=after, limit=_PAGE)
        for record in records:
            yield _line(record)
        if damage is not None:
            raise damage
        if len(records) < _PAGE:
            return
        after = records[-1].seq


def _line(record: Record) -> str:
    fields = {
        "run_id": record.run_id,
        "seq": record.seq,
        "schema": record.schema,
        "at": record.at,
        "kind": record.kind,
        "turn": record.turn,
        "call": record.call,
        "body": record.body,
    }
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    # Lines end at "\n" alone, but some readers also split at these.
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")
