"""Who may write to a run: what is said to SQLite by, and about, the one process that drives it.

Whoever begins a run or takes it over puts a number of its own in the run's row, its lease. What a driver
writes is written only where that number still stands, looked at in the same statement: one that was
suspended while another process took its run over finds another number there.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Collection, Mapping
from typing import NamedTuple

from massgen_mcp.errors import MassgenError
from massgen_mcp.journal import queries, rules
from massgen_mcp.journal.owner import is_gone, place_of, read_owner
from massgen_mcp.journal.queries import Draft
from massgen_mcp.journal.records import Owner

__all__ = ["Hold", "abandon", "beat", "draw", "refusal", "show_activity", "standing", "take_over"]


class Hold(NamedTuple):
    """A run, by its number in the tables, and the lease it is held by."""

    number: int
    lease: int


def draw() -> int:
    """A lease that no other pen has, in any process, for any run."""
    return 1 + secrets.randbits(62)


def refusal(connection: sqlite3.Connection, hold: Hold, run_id: str) -> MassgenError:
    """Why a run's record was not written: its lease does not stand in the row of a run that is driven.

    `RunTaken` where another process drives it, `RunNotFound` where it was deleted.
    """
    row = connection.execute(
        # A deleted run's number may belong to another one by now.
        "SELECT lease, state, pid, host FROM runs WHERE number = ? AND run_id = ?",
        (hold.number, run_id),
    ).fetchone()
    if row is None:
        return rules.not_found(run_id)
    lease, state, pid, host = row
    if lease != hold.lease:
        return rules.lost(run_id, pid, read_owner(pid, host).host)
    return rules.left(run_id) if state == "interrupted" else rules.finished(run_id)


def take_over(connection: sqlite3.Connection, draft: Draft, *, owner: Owner, lease: int) -> tuple[int, int]:
    """Make this process the driver of a run that nobody drives. Returns its number and the record's seq.

    Raises:
        RunNotFound: no such run.
        RunTaken: its driver lives.
        RunOver: it is finished.
    """
    number = queries.find_number(connection, draft.run_id)
    state, *process, heartbeat = connection.execute(
        "SELECT state, pid, host, process_started, heartbeat FROM runs WHERE number = ?", (number,)
    ).fetchone()
    if state == "running":
        driver = read_owner(*process)
        if not is_gone(driver, heartbeat=heartbeat, now=draft.at):
            raise rules.driven(draft.run_id, driver.pid, driver.host)
    elif state != "interrupted":
        raise rules.over(draft.run_id, state)
    connection.execute(
        "UPDATE runs SET state = 'running', pid = ?, host = ?, process_started = ?, heartbeat = ?, "
        "lease = ?, cancel_requested = NULL, ended = NULL, delivered = 0 WHERE number = ?",
        (owner.pid, place_of(owner), owner.started, draft.at, lease, number),
    )
    connection.execute("DELETE FROM activity WHERE run = ?", (number,))
    seq = 1 + queries.last_seq(connection, number)
    queries.insert_record(connection, number, seq, draft, lease=lease)
    return number, seq


def beat(connection: sqlite3.Connection, holds: Collection[Hold], now: float) -> None:
    """Say that these runs' driver is alive."""
    connection.executemany(
        "UPDATE runs SET heartbeat = ? WHERE number = ? AND lease = ? AND state = 'running'",
        [(now, *hold) for hold in holds],
    )


def show_activity(connection: sqlite3.Connection, tails: Collection[tuple[Hold, str, str]]) -> None:
    """What agents are doing now: (run, agent, tail). Those of runs that are over, or lost, are dropped."""
    connection.executemany(
        "INSERT INTO activity (run, agent, tail) SELECT number, ?, ? FROM runs "
        "WHERE number = ? AND lease = ? AND state = 'running' "
        "ON CONFLICT (run, agent) DO UPDATE SET tail = excluded.tail",
        [(agent, tail, *hold) for hold, agent, tail in tails],
    )


def abandon(connection: sqlite3.Connection, holds: Collection[Hold]) -> None:
    """Mark runs that their driver leaves unfinished."""
    connection.executemany(
        "UPDATE runs SET state = 'interrupted' WHERE number = ? AND lease = ? AND state = 'running'", holds
    )


def standing(
    connection: sqlite3.Connection, numbers: Collection[int]
) -> Mapping[str, tuple[int, str | None]]:
    """By id, the lease of each run that has one of these numbers, and why somebody wants it stopped."""
    marks = ",".join("?" * len(numbers))
    rows = connection.execute(
        f"SELECT run_id, lease, cancel_requested FROM runs WHERE number IN ({marks})",  # noqa: S608 - only question marks
        tuple(numbers),
    )
    return {run_id: (lease, reason) for run_id, lease, reason in rows}
