"""A process between us and a program that starts MCP servers: joins its pipes to our socket.

It is this very file, run by a bare Python: it imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable

__all__ = ["main"]

_CHUNK = 64 * 1024


def _pump(read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
    """Pass everything on, until one side ends."""
    try:
        while data := read(_CHUNK):
            write(data)
    except OSError:
        pass  # gone is gone, however it went


def _write_out(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def main(path: str) -> None:
    """Join this process's pipes to the socket at that path, and end with the first of them that ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(path)

        def say() -> None:
            _pump(lambda size: os.read(0, size), line.sendall)
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_WR)

        threading.Thread(target=say, daemon=True).start()
        _pump(line.recv, _write_out)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
