"""What is said to SQLite, as functions of a connection: the writer's first, then the reader's."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from massgen_mcp.journal.codec import checksum, decode
from massgen_mcp.journal.owner import is_gone, place_of, read_owner
from massgen_mcp.journal.records import (
    SCHEMA,
    Kind,
    Owner,
    Record,
    RecordDamaged,
    RunRow,
    RunState,
)
from massgen_mcp.journal.rules import already_there, not_found

__all__ = [
    "Draft",
    "activities",
    "delete_run",
    "deliver",
    "expired",
    "find_number",
    "finish_run",
    "insert_record",
    "insert_run",
    "interrupted",
    "last_seq",
    "read_records",
    "read_row",
    "read_rows",
    "release_pages",
    "request_cancel",
    "same",
]

_ROW = (
    "SELECT run_id, state, question, team, started, ended, pid, host, process_started, heartbeat, "
    "cancel_requested, cost_usd, user_name, digest, delivered FROM runs"
)

_RECORD = "SELECT seq, schema, at, CAST(kind AS BLOB), turn, call, CAST(body AS BLOB), checksum FROM records"

_BY_ID = 5
"""The first version of the file in which one number, of run and seq, is the key of a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A record before it has a number: its body is text already."""

    run_id: str
    at: float
    kind: Kind
    text: str
    turn: int | None = None
    call: int | None = None
    cost: float | None = None
    """US dollars, by `rules.cost_of`."""
    lost: float = 0.0
    """Further ones, by `rules.lost_cost_of`."""


def insert_run(
    connection: sqlite3.Connection,
    draft: Draft,
    *,
    question: str,
    team: str,
    owner: Owner,
    lease: int,
    user: str,
    digest: str,
) -> tuple[int, int]:
    """A new run with its first record. Returns its number and the record's seq.

    Raises:
        JournalError: there is a run of that name.
    """
    try:
        cursor = connection.execute(
            "INSERT INTO runs "
            "(run_id, state, question, team, started, pid, host, process_started, heartbeat, lease, "
            "user_name, digest) VALUES (?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                draft.run_id,
                question,
                team,
                draft.at,
                owner.pid,
                place_of(owner),
                owner.started,
                draft.at,
                lease,
                user,
                digest,
            ),
        )
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
            raise
        raise already_there(draft.run_id) from error
    number = cast("int", cursor.lastrowid)
    insert_record(connection, number, 1, draft, lease=lease)
    return number, 1


def last_seq(connection: sqlite3.Connection, number: int) -> int:
    """The seq of a run's newest record; 0 where a damaged journal has lost them all."""
    last: int | None = connection.execute(
        "SELECT max(id) & 0xFFFFFFFF FROM records WHERE id > ? << 32 AND id < (? + 1) << 32", (number, number)
    ).fetchone()[0]
    return last or 0


def insert_record(connection: sqlite3.Connection, number: int, seq: int, draft: Draft, *, lease: int) -> bool:
    """One record, where that lease stands in the row of a run that is driven. Returns whether it does.

    Two pens for one run can't both write the same seq.
    """
    check = checksum(
        draft.text.encode(),
        run_id=draft.run_id,
        seq=seq,
        schema=SCHEMA,
        at=draft.at,
        kind=draft.kind,
        turn=draft.turn,
        call=draft.call,
    )
    written = connection.execute(
        "INSERT INTO records SELECT (number << 32) + ?, number, ?, ?, ?, ?, ?, ?, ?, ? FROM runs "
        "WHERE number = ? AND lease = ? AND state = 'running'",
        (
            seq,
            seq,
            SCHEMA,
            draft.at,
            draft.kind,
            draft.turn,
            draft.call,
            draft.text,
            check,
            number,
            lease,
        ),
    ).rowcount
    if written and draft.cost and draft.kind != "Finished":  # which carries the total
        connection.execute("UPDATE runs SET cost_usd = cost_usd + ? WHERE number = ?", (draft.cost, number))
    return bool(written)


def finish_run(connection: sqlite3.Connection, number: int, state: RunState, draft: Draft) -> None:
    """A run's row says how it ended and what it cost, by its last record; nobody is at work in it."""
    connection.execute(
        "UPDATE runs SET state = ?, ended = ?, cost_usd = coalesce(?, cost_usd) + ? WHERE number = ?",
        (state, draft.at, draft.cost, draft.lost, number),
    )
    connection.execute("DELETE FROM activity WHERE run = ?", (number,))


def request_cancel(connection: sqlite3.Connection, run_id: str, reason: str) -> None:
    """Leave word for the owner of a run that is not finished; the first reason stays.

    Raises:
        RunNotFound: no such run.
    """
    number = find_number(connection, run_id)
    connection.execute(
        "UPDATE runs SET cancel_requested = coalesce(cancel_requested, ?) "
        "WHERE number = ? AND state IN ('running', 'interrupted')",
        (reason, number),
    )


def deliver(connection: sqlite3.Connection, run_id: str) -> None:
    """A run's result has been handed to a caller.

    Raises:
        RunNotFound: no such run.
    """
    number = find_number(connection, run_id)
    connection.execute("UPDATE runs SET delivered = 1 WHERE number = ?", (number,))


def delete_run(connection: sqlite3.Connection, run_id: str, *, before: float, now: float) -> bool:
    """Delete everything there is of a run that has been over since before then. Returns whether it was."""
    # Looked at again, in the transaction that deletes it: another process may have taken it over just now.
    if run_id not in expired(connection, before=before, now=now, run_id=run_id):
        return False
    number = find_number(connection, run_id)
    connection.execute("DELETE FROM records WHERE id > ? << 32 AND id < (? + 1) << 32", (number, number))
    connection.execute("DELETE FROM activity WHERE run = ?", (number,))
    connection.execute("DELETE FROM runs WHERE number = ?", (number,))
    return True


def release_pages(connection: sqlite3.Connection, count: int) -> int:
    """Give up to so many unused pages back to the disk. Returns how many it were. Its own transaction."""
    before = _free_pages(connection)
    # Each step frees one page, and only `executescript` takes all steps of a statement without columns.
    connection.executescript(f"PRAGMA incremental_vacuum({count})")
    return before - _free_pages(connection)


def _free_pages(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return count


def find_number(connection: sqlite3.Connection, run_id: str) -> int:
    """A run's number in the tables.

    Raises:
        RunNotFound: no such run.
    """
    row = connection.execute("SELECT number FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise not_found(run_id)
    return cast("int", row[0])


def read_records(
    connection: sqlite3.Connection, run_id: str, *, after: int, limit: int | None
) -> Sequence[Record]:
    """A run's records in order, each proved whole.

    Raises:
        RunNotFound: no such run.
        RecordDamaged: one is not what was written.
    """
    number = find_number(connection, run_id)
    records: list[Record] = []
    rows = connection.execute(
        f"{_RECORD} WHERE {_in_order(connection)} LIMIT :limit",
        {"run": number, "after": after, "limit": -1 if limit is None else limit},
    )
    try:
        for row in rows:
            records.append(_whole(run_id, after + len(records) + 1, row))
    except (sqlite3.DatabaseError, ValueError) as error:
        seq = after + len(records) + 1
        if (
            isinstance(error, sqlite3.DatabaseError)
            and error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT
        ):
            raise
        raise RecordDamaged(
            f"Run {run_id!r}: record {seq} in the journal is damaged ({error}). "
            "What is before it can be read.",
            run_id=run_id,
            seq=seq,
        ) from error
    return records


def _in_order(connection: sqlite3.Connection) -> str:
    """Which records are a run's, after a given one. A journal that is only looked at may be an older one."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version < _BY_ID:
        return "run = :run AND seq > :after ORDER BY seq"
    return "id > (:run << 32) + :after AND id < (:run + 1) << 32 ORDER BY id"


def _whole(run_id: str, expected: int, row: tuple[Any, ...]) -> Record:
    seq, schema, at, kind, turn, call, body, check = row
    if seq != expected:
        raise ValueError(f"the next one is {seq}")
    text: str = kind.decode()
    found = checksum(body, run_id=run_id, seq=seq, schema=schema, at=at, kind=text, turn=turn, call=call)
    if found != check:
        raise ValueError("its checksum differs")
    return Record(
        run_id=run_id,
        seq=seq,
        schema=schema,
        at=at,
        kind=cast("Kind", text),
        turn=turn,
        call=call,
        body=decode(body.decode()),
    )


def read_row(connection: sqlite3.Connection, run_id: str, *, now: float) -> RunRow:
    """A run's row.

    Raises:
        RunNotFound: no such run.
    """
    row = connection.execute(f"{_ROW} WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise not_found(run_id)
    return _row(row, now)


def read_rows(
    connection: sqlite3.Connection, *, limit: int, before: float | None, user: str | None, now: float
) -> Sequence[RunRow]:
    """The latest runs, newest first; with `user` those of one user."""
    rows = connection.execute(
        f"{_ROW} WHERE (? IS NULL OR started < ?) AND (? IS NULL OR user_name = ?) "
        "ORDER BY started DESC, number DESC LIMIT ?",
        (before, before, user, user, limit),
    )
    return [_row(row, now) for row in rows]


def _row(row: tuple[Any, ...], now: float) -> RunRow:
    run_id, state, question, team, started, ended, *process, heartbeat = row[:10]
    cancel, cost, user, digest, delivered = row[10:]
    owner = read_owner(*process)
    if state == "running" and is_gone(owner, heartbeat=heartbeat, now=now):
        state = "interrupted"
    return RunRow(
        run_id=run_id,
        state=state,
        question=question,
        team=team,
        started=started,
        ended=ended,
        owner=owner,
        heartbeat=heartbeat,
        cancel_requested=cancel,
        cost_usd=cost,
        user=user,
        digest=digest,
        delivered=bool(delivered),
    )


def same(connection: sqlite3.Connection, digest: str, *, user: str, now: float) -> RunRow | None:
    """The newest run of a user's with that digest that is driven, or whose answer nobody was given yet."""
    rows = connection.execute(
        f"{_ROW} WHERE digest = ? AND digest != '' AND user_name = ? AND ("
        "(state = 'running' AND cancel_requested IS NULL) "
        "OR (state IN ('completed', 'partial') AND NOT delivered)) ORDER BY started DESC, number DESC",
        (digest, user),
    )
    return next((row for row in (_row(found, now) for found in rows) if row.state != "interrupted"), None)


def interrupted(
    connection: sqlite3.Connection, *, since: float, limit: int, user: str | None, now: float
) -> Sequence[RunRow]:
    """The runs whose owner left them, or is gone, after then; oldest first. None that is to be stopped."""
    rows = connection.execute(
        f"{_ROW} WHERE state IN ('running', 'interrupted') AND heartbeat > ? AND cancel_requested IS NULL "
        "AND (? IS NULL OR user_name = ?) ORDER BY started, number",
        (since, user, user),
    )
    found = (row for row in (_row(found, now) for found in rows) if row.state == "interrupted")
    return list(islice(found, limit))


def activities(connection: sqlite3.Connection, run_id: str, *, now: float) -> Mapping[str, str]:
    """What each agent of a run is doing now; nothing for a run that nobody drives.

    Raises:
        RunNotFound: no such run.
    """
    if read_row(connection, run_id, now=now).state != "running":
        return {}
    rows = connection.execute(
        "SELECT agent, tail FROM activity WHERE run = ? ORDER BY agent", (find_number(connection, run_id),)
    )
    return dict(rows.fetchall())


def expired(
    connection: sqlite3.Connection, *, before: float, now: float, run_id: str | None = None
) -> Sequence[str]:
    """The runs, or this one, that have been over since before then, oldest first."""
    rows = connection.execute(
        f"{_ROW} WHERE coalesce(ended, heartbeat) < ? AND (? IS NULL OR run_id = ?) ORDER BY started",
        (before, run_id, run_id),
    ).fetchall()
    return [row.run_id for row in (_row(found, now) for found in rows) if row.state != "running"]
