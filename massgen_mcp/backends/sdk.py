"""Vendors' packages, imported when a run first needs one: the one sanctioned deferred import."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import ModuleType

import anyio.to_thread

from massgen_mcp.errors import BackendError

__all__ = ["load"]

_loaded: dict[str, ModuleType] = {}
_ONE_AT_A_TIME = threading.Lock()
"""Imports that run side by side take no less time, and leave less of it to those who wait for an answer."""
_TURN = 0.0005
"""Seconds that an import may go on while another thread wants to."""


async def load(name: str, *, extra: str | None = None) -> ModuleType:
    """The module of that name, imported in a worker thread, since it may take seconds of CPU.

    Meanwhile the loop goes on, and who is cancelled does not wait for the end of it.

    Args:
        name: a module, as `openai` or `google.genai`.
        extra: the extra of this package that brings it; None for what is always installed.

    Raises:
        BackendError: it is not installed or can't be loaded here; the text says what to install.
    """
    if name not in _loaded:
        try:
            _loaded[name] = await anyio.to_thread.run_sync(_import, name, abandon_on_cancel=True)
        except ImportError as error:
            raise _missing(name, extra, error) from error
    return _loaded[name]


def _import(name: str) -> ModuleType:
    with _ONE_AT_A_TIME, _giving_way():
        # Where it is installed, google-genai imports it, and openai's clients look into it from then on: one
        # that is made while that import is under way would find it half empty.
        with suppress(ImportError):
            importlib.import_module("httpx")
        return importlib.import_module(name)


@contextmanager
def _giving_way() -> Generator[None]:
    """Let other threads have their turn often: an import would keep them waiting for 5 ms each time.

    It would also set off collections of everything there is, of 0.1 s and more, and makes hardly any garbage.
    """
    turn, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(min(turn, _TURN))
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        if collects:
            gc.enable()


def _missing(name: str, extra: str | None, error: ImportError) -> BackendError:
    package = f"massgen-mcp[{extra}]" if extra else "massgen-mcp"
    remedy = f"Install it: pip install '{package}'."
    absent = isinstance(error, ModuleNotFoundError) and (error.name or "") in name
    what = "is not installed" if absent else f"can't be loaded here ({error})"
    return BackendError(
        f"The package {name!r} {what}. {remedy}", kind="unavailable", remedy=remedy, connected=False
    )
