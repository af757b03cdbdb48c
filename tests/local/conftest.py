"""Backends over a fake process, and model files made by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.local import LocalBackend, Options, connect
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.clock import SystemClock

_FAKE = Path(__file__).with_name("fake_local_child.py")
_CODES = {str: 8, bool: 7, int: 4, float: 6}
_FORMS = {bool: "<?", int: "<I", float: "<f"}

Connect = Callable[..., Any]


def context(cache: Path, *, environ: Mapping[str, str] | None = None, seed: int = 0) -> BackendContext:
    """The outside of one agent. A local backend uses neither pool nor secrets."""
    return BackendContext(
        info=BACKENDS["local"],
        pool=cast("Any", None),
        secrets=cast("Any", None),
        clock=SystemClock(),
        environ=environ or {},
        seed=seed,
        cache_dir=cache,
    )


@pytest.fixture
def outside(tmp_path: Path) -> Callable[..., BackendContext]:
    """Make a context: `outside(environ=..., seed=...)`."""

    def make(**given: Any) -> BackendContext:
        return context(tmp_path / "cache", **given)

    return make


@pytest.fixture
def scripted(tmp_path: Path) -> Connect:
    """Open backends on a process that follows a script: `async with scripted(script) as backend`."""

    @asynccontextmanager
    async def opened(script: Mapping[str, Any], *, agents: int = 1, **options: Any) -> AsyncGenerator[Any]:
        model = tmp_path / "scripted.gguf"
        model.write_text(json.dumps(script), encoding="utf-8")
        async with AsyncExitStack() as stack:
            backends: list[LocalBackend] = []
            for seed in range(agents):
                backend = await connect(
                    Options.model_validate({"type": "local", "path": str(model), **options}),
                    context(tmp_path, seed=seed),
                    command=("-P", str(_FAKE)),
                )
                stack.push_async_callback(backend.aclose)
                backends.append(backend)
            yield backends if agents > 1 else backends[0]

    return opened


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, list):
        items = cast("list[Any]", value)
        body = b"".join(_value(item)[4:] for item in items)
        return struct.pack("<IIQ", 9, _CODES[type(items[0])], len(items)) + body
    code = struct.pack("<I", _CODES[type(value)])
    return code + (_text(value) if isinstance(value, str) else struct.pack(_FORMS[type(value)], value))


@pytest.fixture
def gguf(tmp_path: Path) -> Callable[..., Path]:
    """Write the head of a GGUF file: `gguf({"general.name": "m"})`."""

    def write(pairs: Mapping[str, Any], *, version: int = 3, name: str = "m.gguf") -> Path:
        body = b"".join(_text(key) + _value(value) for key, value in pairs.items())
        path = tmp_path / name
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs)) + body)
        return path

    return write
