"""The one stream of a run's events: written to the journal first, then told to whoever listens.

Progress, the terminal and waiting callers read the same records; a slow reader loses the oldest, never holds
up the run. What an agent is doing right now is activity, not an event: it is coalesced and may be dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from massgen_mcp.journal.records import Entry, Kind, Record, RunLog
from massgen_mcp.team.inbox import Inbox

__all__ = ["EventLog", "Listener"]

Listener: TypeAlias = Inbox[Record]
"""One reader of a run's records, from the moment it was made."""

_KEPT = 1_000
"""Records a listener may fall behind before it loses the oldest."""
_TAIL = 400
"""Characters of an agent's newest text that are shown."""
_REDACTED_AT_ONCE = 2_000
"""Characters kept to find secrets in: one that begins before what is shown is still found whole."""


class EventLog:
    """The pen of a run's driver."""

    def __init__(self, log: RunLog, *, redact: Callable[[str], str] = str) -> None:
        self._log = log
        self._redact = redact
        self._listeners: set[Listener] = set()
        self._tails: dict[str, str] = {}
        self._changed: set[str] = set()
        self.watch_activity: Callable[[str, str], None] | None = None
        """Called in the process with an agent and its newest text, for a live view."""

    @property
    def run_id(self) -> str:
        """The run written to."""
        return self._log.run_id

    async def append(
        self, kind: Kind, body: Mapping[str, Any], *, turn: int | None = None, call: int | None = None
    ) -> Record:
        """Journal one record, then tell the listeners.

        Raises:
            JournalError: it could not be written; nobody was told.
        """
        record = await self._log.append(kind, body, turn=turn, call=call)
        self.tell(record)
        return record

    async def append_all(self, entries: Sequence[Entry]) -> Sequence[Record]:
        """Journal several records as one, all or none, then tell the listeners.

        Raises:
            JournalError: they could not be written; nobody was told.
        """
        records = await self._log.append_all(entries)
        for record in records:
            self.tell(record)
        return records

    def tell(self, record: Record) -> None:
        """Hand an already journalled record to the listeners."""
        for listener in self._listeners:
            listener.put(record)

    def activity(self, agent: str, text: str, *, fresh: bool = False) -> None:
        """An agent's model has said more; `fresh` voids what it said before."""
        tail = (text if fresh else self._tails.get(agent, "") + text)[-_REDACTED_AT_ONCE:]
        self._tails[agent] = tail
        self._changed.add(agent)
        if self.watch_activity is not None:
            self.watch_activity(agent, self._shown(agent))

    async def show_activity(self) -> None:
        """Let other processes see what has changed since the last call."""
        changed, self._changed = self._changed, set()
        for agent in changed:
            await self._log.activity(agent, self._shown(agent))

    def _shown(self, agent: str) -> str:
        return self._redact(self._tails[agent])[-_TAIL:]

    @contextmanager
    def listen(self) -> Generator[Listener]:
        """A `Listener` for the time of the block."""
        listener: Listener = Inbox(_KEPT)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """The run is over."""
        for listener in self._listeners:
            listener.close()

    async def leave(self) -> None:
        """Let go of the run unfinished: it shows as interrupted, and can be taken up again."""
        await self._log.leave()

    async def cancel_requested(self) -> str | None:
        """The reason some process gave for stopping this run, if one did."""
        return await self._log.cancel_requested()
