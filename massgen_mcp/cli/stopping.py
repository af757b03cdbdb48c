"""Ctrl-C and SIGTERM while a run is in motion: the first stops the run, the second leaves it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

import anyio

from massgen_mcp.runs import RunHandle

__all__ = ["Stopping"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """The wish of a person, or of the system, to stop one run."""

    def __init__(self, handle: RunHandle) -> None:
        self.asked = False
        """The run was told to stop; it ends with the best answer so far."""
        self._handle = handle
        self._signals: AsyncIterator[signal.Signals] | None = None
        self._listening = anyio.CancelScope()

    @contextmanager
    def taken(self) -> Generator[None]:
        """For the time of the block the signals come here instead of ending the program."""
        try:
            receiver = anyio.open_signal_receiver(*_SIGNALS)
            self._signals = receiver.__enter__()
        except NotImplementedError:
            # Windows has no such receiver: there Ctrl-C ends the program at once.
            yield
            return
        try:
            yield
        finally:
            receiver.__exit__(None, None, None)

    async def listen(self, waiting: anyio.CancelScope) -> None:
        """Stop the run at the first signal, and at the second whoever is `waiting` for it; until `close`."""
        if self._signals is None:
            return
        with self._listening:
            async for _ in self._signals:
                if self.asked:
                    waiting.cancel()
                    # Should anything hold up the end, a third one ends the process at once.
                    for number in _SIGNALS:
                        signal.signal(number, signal.SIG_DFL)
                else:
                    self.asked = True
                    self._handle.cancel("the person at the terminal stopped it")

    def close(self) -> None:
        """Nobody waits for the run any more."""
        self._listening.cancel()
