"""The process in which an operator's Python functions run. The standard library only; started by its path.

It speaks in JSON lines on what were its standard streams. In: `call` and `cancel`. Out: any number of
`piece`, then one `done`, `error` or `cancelled` for each call. The end of its input ends it. Its own standard
output leads to standard error, so that a function that prints breaks nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import ctypes
import dataclasses
import importlib.util
import inspect
import json
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

__all__ = ["main", "offer_massgen", "serve"]

_HALF = 128 * 1024
"""Characters kept of a long text at each of its ends."""
_PIECE = 2000
_IMAGES = 4 * 1024 * 1024
"""Bytes of all pictures of one result."""
_THREADS = 16
_SET_PARENT_DEATH_SIGNAL = 1
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
_END = object()


class _Text:
    """A text that grows, of which head and tail are kept."""

    def __init__(self) -> None:
        self._head = ""
        self._tail = ""
        self._dropped = 0

    def add(self, text: str) -> None:
        room = _HALF - len(self._head)
        self._head += text[:room]
        rest = self._tail + text[room:] if room > 0 else self._tail + text
        cut = max(0, len(rest) - _HALF)
        self._dropped += cut
        self._tail = rest[cut:]

    def __str__(self) -> str:
        if not self._dropped:
            return self._head + self._tail
        return f"{self._head}\n[... {self._dropped} characters left out ...]\n{self._tail}"


class _Result:
    """What a function gave, piece by piece."""

    def __init__(self) -> None:
        self.text = _Text()
        self.images: list[dict[str, str]] = []
        self._bytes = 0
        self._empty = True

    def add(self, value: Any) -> str:
        """Take a value in; its text."""
        blocks: Any = getattr(value, "output_blocks", None)
        if blocks is None:
            text = _plain(value)
            self._say(text, apart=False)
            return text
        texts = [self._block(block) for block in blocks]
        text = "\n".join(part for part in texts if part)
        self._say(text, apart=True)
        return text

    def _say(self, text: str, *, apart: bool) -> None:
        if text:
            self.text.add(f"\n{text}" if apart and not self._empty else text)
            self._empty = False

    def _block(self, block: Any) -> str:
        kind = f"{getattr(block, 'block_type', '')} {type(block).__name__}".lower()
        data: Any = getattr(block, "data", block)
        if "image" in kind:
            return self._image(data)
        if "audio" in kind:
            return "[A sound, which can't be shown here.]"
        return _plain(data)

    def _image(self, data: Any) -> str:
        try:
            raw = (
                data
                if isinstance(data, bytes)
                else base64.b64decode(str(data).rpartition(",")[2], validate=True)
            )
        except (binascii.Error, ValueError):
            return "[A picture that is not base64.]"
        mime = next((mime for start, mime in _MAGIC if raw.startswith(start)), "")
        if not mime:
            return "[A picture of a kind that is not known here.]"
        if self._bytes + len(raw) > _IMAGES:
            return f"[A picture of {len(raw)} bytes, too much to show.]"
        self._bytes += len(raw)
        self.images.append({"mime": mime, "data": base64.b64encode(raw).decode()})
        return ""


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    elif callable(dump := getattr(value, "model_dump", None)):
        value = dump()
    if isinstance(value, dict | list | tuple | bool | int | float):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


class _Modules:
    """The operator's files, each imported once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[str, types.ModuleType] = {}

    def function(self, file: str, name: str) -> Callable[..., Any]:
        with self._lock:
            if file not in self._loaded:
                self._loaded[file] = _import(file, len(self._loaded))
        found: Any = getattr(self._loaded[file], name)
        if not callable(found):
            raise TypeError(f"{name} is not a function")
        return found


def _import(file: str, number: int) -> types.ModuleType:
    folder = str(Path(file).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    name = f"_custom_tools_{number}_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{Path(file).name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class _Server:
    def __init__(self, send: Callable[[Mapping[str, Any]], None]) -> None:
        self._send = send
        self._modules = _Modules()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tool")
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._left: set[int] = set()
        """Calls that were cancelled while a thread worked for them, which it goes on with."""

    def take(self, line: bytes) -> None:
        message: dict[str, Any] = json.loads(line)
        if "cancel" in message:
            if task := self._calls.get(message["cancel"]):
                task.cancel()
            return
        call = message["call"]
        task = asyncio.get_running_loop().create_task(self._run(message))
        self._calls[call] = task
        task.add_done_callback(lambda _: self._calls.pop(call, None))

    async def _run(self, message: Mapping[str, Any]) -> None:
        call, file = message["call"], message["file"]
        result = _Result()
        try:
            async for piece in self._pieces(message):
                text = result.add(piece.value)
                if piece.partial and text:
                    self._send({"call": call, "piece": text[:_PIECE]})
        except asyncio.CancelledError:
            self._send({"call": call, "cancelled": True, "running": call in self._left})
        except BaseException as error:  # noqa: BLE001 - whatever a stranger's function raises is its result
            self._send({"call": call, "error": _last_words(error, file), "text": str(result.text)})
        else:
            self._send({"call": call, "done": str(result.text), "images": result.images})

    async def _pieces(self, message: Mapping[str, Any]) -> AsyncIterator[_Piece]:
        call: int = message["call"]
        function = await self._aside(call, self._modules.function, message["file"], message["function"])
        arguments: dict[str, Any] = message["arguments"]
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            value = function(**arguments)
        else:
            value = await self._aside(call, lambda: function(**arguments))
        if inspect.isawaitable(value):
            value = await value
        if hasattr(value, "__aiter__"):
            async with contextlib.aclosing(value.__aiter__()) as pieces:
                async for piece in pieces:
                    yield _Piece(piece, partial=True)
        elif inspect.isgenerator(value):
            iterator: Iterator[Any] = value
            while (piece := await self._aside(call, next, iterator, _END)) is not _END:
                yield _Piece(piece, partial=True)
        else:
            yield _Piece(value, partial=False)

    async def _aside(self, call: int, function: Callable[..., Any], *arguments: Any) -> Any:
        future = self._threads.submit(function, *arguments)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if future.running():
                self._left.add(call)
            raise


@dataclasses.dataclass(frozen=True)
class _Piece:
    value: Any
    partial: bool


def _last_words(error: BaseException, file: str) -> str:
    """The last line of the traceback, and where in the operator's file it came from."""
    words = traceback.format_exception_only(error)[-1].strip()
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{words} ({Path(file).name}, line {lines[-1]})" if lines else words


def offer_massgen() -> None:
    """Let `from massgen.tool import ExecutionResult, TextContent` work where MassGen is not installed."""
    if importlib.util.find_spec("massgen") is not None:
        return
    names = _massgen_names()
    for path in ("massgen", "massgen.tool", "massgen.tool._result", "massgen.tool._decorators"):
        module = types.ModuleType(path)
        module.__dict__.update(names)
        module.__path__ = []
        sys.modules[path] = module
        parent, _, name = path.rpartition(".")
        if parent:
            setattr(sys.modules[parent], name, module)


def _massgen_names() -> dict[str, Any]:
    @dataclasses.dataclass
    class ContentBlock:
        data: Any = ""
        block_type: str = "text"

    class TextContent(ContentBlock):
        pass

    @dataclasses.dataclass
    class ImageContent(ContentBlock):
        block_type: str = "image"

    @dataclasses.dataclass
    class AudioContent(ContentBlock):
        block_type: str = "audio"

    @dataclasses.dataclass
    class ExecutionResult:
        output_blocks: list[Any] = dataclasses.field(default_factory=list[Any])
        meta_info: dict[str, Any] | None = None
        is_streaming: bool = False
        is_final: bool = True
        was_interrupted: bool = False
        is_log: bool = False

    def context_params(*names: str) -> Callable[[Any], Any]:
        del names
        return lambda function: function

    kinds = (ContentBlock, TextContent, ImageContent, AudioContent, ExecutionResult)
    return {kind.__name__: kind for kind in kinds} | {"context_params": context_params}


async def serve(take_from: int, write_to: int, ended: Callable[[], object]) -> None:
    """Serve calls for ever. When the input ends, `ended` is called in another thread."""
    lock = threading.Lock()
    loop = asyncio.get_running_loop()

    def send(message: Mapping[str, Any]) -> None:
        line = json.dumps(message, ensure_ascii=False, default=str).encode(errors="replace") + b"\n"
        with lock:
            while line:
                line = line[os.write(write_to, line) :]

    server = _Server(send)

    def listen() -> None:
        with os.fdopen(take_from, "rb") as lines, contextlib.suppress(OSError, RuntimeError):
            for line in lines:
                loop.call_soon_threadsafe(server.take, line)
        ended()

    threading.Thread(target=listen, daemon=True).start()
    await asyncio.Event().wait()


def main() -> None:  # pragma: no cover - in the child alone, which is given no way to count
    """Take over the standard streams and serve."""
    with contextlib.suppress(AttributeError, OSError):
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    take_from, write_to = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    offer_massgen()
    # Functions may still run in threads, which nothing else can stop.
    asyncio.run(serve(take_from, write_to, lambda: os._exit(0)))


if __name__ == "__main__":  # pragma: no cover - same
    main()
