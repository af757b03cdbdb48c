"""What was spent: by the runs of a journal, and as amounts alone by those that it has no records of.

What an interrupted run had under way may have been billed: it counts at what was set aside for it, as it will
in the run's total, whether that is taken up again or ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from massgen_mcp.journal.owner import is_gone, read_owner
from massgen_mcp.journal.records import Noted
from massgen_mcp.journal.rules import DAY, midnight
from massgen_mcp.journal.summary import RESUMED

__all__ = ["forget_spent", "note_spent", "noted", "spent"]


_CALLS = """
    SELECT kind, turn, call, CASE
        WHEN kind NOT IN ('CallStarted', 'Notice') OR NOT json_valid(body) THEN NULL
        WHEN kind = 'CallStarted' THEN json_extract(body, '$.reserved_usd')
        WHEN kind = 'Notice' THEN json_extract(body, '$.event')
    END FROM records
    WHERE id > :run << 32 AND id < (:run + 1) << 32
    AND kind IN ('CallStarted', 'CallReplied', 'CallFailed', 'Notice') ORDER BY id
"""
"""What requests a run made and which of them came to something; and when it was taken up."""


def spent(connection: sqlite3.Connection, *, since: float, user: str | None, now: float) -> float:
    """US dollars of all runs begun since then, and noted for its day or later ones; or of one `user`'s."""
    total: float = connection.execute(
        "SELECT (SELECT total(cost_usd) FROM runs "
        "WHERE started >= :since AND (:user IS NULL OR user_name = :user)) + "
        "(SELECT total(usd) FROM spendings WHERE day >= :day AND (:user IS NULL OR user_name = :user))",
        {"since": since, "day": midnight(since), "user": user},
    ).fetchone()[0]
    return total + sum(
        _cut_off(connection, number) for number in _interrupted(connection, since=since, user=user, now=now)
    )


def _interrupted(
    connection: sqlite3.Connection, *, since: float, user: str | None, now: float
) -> Iterator[int]:
    rows = connection.execute(
        "SELECT number, state, heartbeat, pid, host, process_started FROM runs "
        "WHERE started >= ? AND state IN ('running', 'interrupted') AND (? IS NULL OR user_name = ?)",
        (since, user, user),
    ).fetchall()
    for number, state, heartbeat, *process in rows:
        if state == "interrupted" or is_gone(read_owner(*process), heartbeat=heartbeat, now=now):
            yield number


def _cut_off(connection: sqlite3.Connection, number: int) -> float:
    """US dollars set aside for requests of a run that have no outcome, as far as its records can be read."""
    total = 0.0
    under_way: dict[tuple[int, int], float] = {}
    try:
        for kind, turn, call, said in connection.execute(_CALLS, {"run": number}):
            if kind == "CallStarted":
                under_way[turn, call] = float(said) if isinstance(said, int | float) else 0.0
            elif kind != "Notice":
                under_way.pop((turn, call), None)
            elif said == RESUMED:  # whoever sent them was gone by then; they were sent once more
                total += sum(under_way.values())
                under_way.clear()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
    return total + sum(under_way.values())


def noted(connection: sqlite3.Connection, *, since: float, user: str | None) -> Sequence[Noted]:
    """What was noted for that day and later ones, the newest first; or for one `user`."""
    rows = connection.execute(
        "SELECT day, user_name, usd FROM spendings WHERE day >= ? AND (? IS NULL OR user_name = ?) "
        "ORDER BY day DESC, user_name",
        (midnight(since), user, user),
    )
    return [Noted(day=day, user=name, usd=usd) for day, name, usd in rows]


def note_spent(connection: sqlite3.Connection, usd: float, *, user: str, day: float) -> None:
    """Add to what a user has spent in the day that began then."""
    connection.execute(
        "INSERT INTO spendings (day, user_name, usd) VALUES (?, ?, ?) "
        "ON CONFLICT (day, user_name) DO UPDATE SET usd = usd + excluded.usd",
        (day, user, usd),
    )


def forget_spent(connection: sqlite3.Connection, *, before: float, now: float) -> None:
    """Forget what was noted for the days before that, but not what may count for today."""
    connection.execute("DELETE FROM spendings WHERE day < ?", (min(before, midnight(now) - DAY),))
