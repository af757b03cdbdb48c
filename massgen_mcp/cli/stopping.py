"""Ctrl-C and SIGTERM while a run is in motion: the first stops the run, the second leaves it."""

from __future__ import annotations

import signal

import anyio
from anyio.abc import TaskStatus

from massgen_mcp.runs import RunHandle

__all__ = ["Stopping"]


class Stopping:
    """Listens for the wish to stop. Once `scope` is cancelled nobody waits for the run any more."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.asked = False
        """Somebody wants the run to stop; it ends with the best answer so far."""
        self._scope = scope
        self._handle: RunHandle | None = None

    def of(self, handle: RunHandle) -> None:
        """From now on there is a run to stop."""
        self._handle = handle

    async def listen(self, *, task_status: TaskStatus[None]) -> None:
        """Listen until cancelled."""
        try:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                async for _ in signals:
                    self._stop()
        except NotImplementedError:
            # Windows: Ctrl-C ends the program at once.
            task_status.started()

    def _stop(self) -> None:
        if self.asked or self._handle is None:
            self._scope.cancel()
        else:
            self._handle.cancel("the person at the terminal stopped it")
        self.asked = True
