"""What was spent: by the runs of a journal, and as amounts alone by those that it has no records of."""

from __future__ import annotations

import sqlite3

from massgen_mcp.journal.rules import DAY, midnight

__all__ = ["forget_spent", "note_spent", "spent"]


def spent(connection: sqlite3.Connection, *, since: float, user: str | None) -> float:
    """US dollars of all runs begun since then, and noted for its day or later ones; or of one `user`'s."""
    total: float = connection.execute(
        "SELECT (SELECT total(cost_usd) FROM runs "
        "WHERE started >= :since AND (:user IS NULL OR user_name = :user)) + "
        "(SELECT total(usd) FROM spendings WHERE day >= :day AND (:user IS NULL OR user_name = :user))",
        {"since": since, "day": midnight(since), "user": user},
    ).fetchone()[0]
    return total


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
