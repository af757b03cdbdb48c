"""Vendors' packages, imported when a run first needs one: the one sanctioned deferred import."""

from __future__ import annotations

import importlib
from types import ModuleType

import anyio.to_thread

from massgen_mcp.errors import BackendError

__all__ = ["load"]

_loaded: dict[str, ModuleType] = {}


async def load(name: str, *, extra: str | None = None) -> ModuleType:
    """The module of that name, imported in a worker thread, since it may take seconds of CPU.

    Args:
        name: a module, as `openai` or `google.genai`.
        extra: the extra of this package that brings it; None for what is always installed.

    Raises:
        BackendError: it is not installed or can't be loaded here; the text says what to install.
    """
    if name not in _loaded:
        try:
            _loaded[name] = await anyio.to_thread.run_sync(importlib.import_module, name)
        except ImportError as error:
            raise _missing(name, extra, error) from error
    return _loaded[name]


def _missing(name: str, extra: str | None, error: ImportError) -> BackendError:
    package = f"massgen-mcp[{extra}]" if extra else "massgen-mcp"
    remedy = f"Install it: pip install '{package}'."
    absent = isinstance(error, ModuleNotFoundError) and (error.name or "") in name
    what = "is not installed" if absent else f"can't be loaded here ({error})"
    return BackendError(
        f"The package {name!r} {what}. {remedy}", kind="unavailable", remedy=remedy, connected=False
    )
