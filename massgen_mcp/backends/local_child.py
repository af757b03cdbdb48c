"""The embedded model's own process: native code may crash here without taking the server along.

It speaks in JSON lines. In: `load` once, then `complete` and `cancel`. Out: `ready` or `failed`, then for
each request `text`, `busy`, and one `done` or `error`. The end of its input ends it, and on Linux so does the
end of the thread that started it. Only the standard library and xllamacpp are imported.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import secrets
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from massgen_mcp.backends.local_gguf import NotGguf, read_head

__all__ = ["Native", "Serve", "bond", "main", "open_native", "serve"]

Message: TypeAlias = Mapping[str, Any]
Send: TypeAlias = Callable[[Message], None]
Take: TypeAlias = Callable[[Any], bool]
"""Takes a chunk; True ends the request."""

_SET_PARENT_DEATH_SIGNAL = 1
_CONTEXT = 4096
"""Tokens of context for each slot, where nobody says otherwise and the model was trained for as much."""
_BATCH = 256
"""Tokens of a prompt worked through between two looks at whether the request was cancelled."""

_CHECKPOINTS = 2
_STREAMED = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}


class Native(Protocol):
    """An engine with a loaded model, as xllamacpp's `Server`."""

    def handle_completions(self, body: Any, take: Take, /) -> object:
        """Continue a prompt, chunk by chunk."""
        ...

    def handle_chat_completions(self, body: Any, take: Take, /) -> object:
        """Reply to a conversation, chunk by chunk."""
        ...


def bond() -> None:
    """Die with the thread that started this process, where the system can promise it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def open_native(path: str, *, context: int, threads: int, slots: int, template: bool) -> Native:
    """Load a model with xllamacpp.

    Raises:
        ImportError: xllamacpp is not installed or can't be loaded here.
        Exception: whatever the engine has to say against the model.
    """
    xllamacpp: Any = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.n_batch = params.n_ubatch = _BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # Requests begin alike. With a sliding window the engine forgets that beginning, unless it keeps all of it
    # (cheap where a base model gets a short prompt: three agents need 4 s instead of 12) or some checkpoints.
    params.swa_full = not template
    params.n_ctx_checkpoints = _CHECKPOINTS if template else 0
    params.cache_ram_mib = 0
    params.warmup = params.fit_params = params.endpoint_slots = params.ui = False
    params.offline = True
    params.n_threads_http = 1
    # The engine always opens a port on the loopback. Nobody is told this key, so that nobody can use it.
    params.api_keys = [secrets.token_urlsafe(32)]
    params.verbosity = 1
    return xllamacpp.Server(params)


Open: TypeAlias = Callable[..., Native]


class Serve:
    """One conversation with the parent. Each request has a thread of its own; the engine has the slots."""

    def __init__(self, send: Send, open_engine: Open) -> None:
        self._send = send
        self._open = open_engine
        self._native: Native | None = None
        self._running: dict[int, threading.Event] = {}

    def take(self, message: Message) -> None:
        """Begin what a message asks for; returns at once."""
        match message:
            case {"op": "load"}:
                self._start(self.load, message)
            case {"op": "complete", "id": int(number)}:
                self._running[number] = threading.Event()
                self._start(self.complete, message)
            case {"op": "cancel", "id": int(number)}:
                if cancelled := self._running.get(number):
                    cancelled.set()
            case _:
                self._send({"event": "failed", "why": "protocol", "text": "an unknown message came"})

    def load(self, message: Message) -> None:
        """Read the model's head, load it, and say what it is."""
        try:
            head = read_head(Path(message["path"]))
            context = message["context"] or min(head.context or _CONTEXT, _CONTEXT)
            self._native = self._open(
                message["path"],
                context=context,
                threads=message["threads"],
                slots=message["slots"],
                template=head.template,
            )
        except (NotGguf, OSError) as error:
            self._send({"event": "failed", "why": "file", "text": str(error)})
        except ImportError as error:
            self._send({"event": "failed", "why": "missing", "text": str(error)})
        except Exception as error:  # noqa: BLE001 - the edge of this process; the parent raises it
            self._send({"event": "failed", "why": "load", "text": f"{type(error).__name__}: {error}"})
        else:
            self._send({"event": "ready", "name": head.name, "template": head.template, "context": context})

    def complete(self, message: Message) -> None:
        """Run one request to its end, its error or its cancellation."""
        number = message["id"]
        reply = _Reply(number, self._send, self._running[number])
        try:
            body = {**message["body"], **_STREAMED}
            if message["kind"] == "chat":
                self._loaded.handle_chat_completions(body, reply.take)
            else:
                self._loaded.handle_completions(body, reply.take)
        except Exception as error:  # noqa: BLE001 - the edge of this process; the parent raises it
            reply.fail("native", f"{type(error).__name__}: {error}")
        finally:
            del self._running[number]
            reply.close()

    @property
    def _loaded(self) -> Native:
        if self._native is None:
            raise RuntimeError("no model is loaded")
        return self._native

    @staticmethod
    def _start(run: Callable[[Message], None], message: Message) -> None:
        threading.Thread(target=run, args=(message,), daemon=True).start()


class _Reply:
    """Turns the engine's chunks into our events: at the end exactly one `done` or `error`."""

    def __init__(self, number: int, send: Send, cancelled: threading.Event) -> None:
        self._number = number
        self._send = send
        self._cancelled = cancelled
        self._finish: str | None = None
        self._usage: Mapping[str, Any] = {}
        self._failed = False

    def take(self, chunk: Any) -> bool:
        """One chunk of either dialect; True when the engine is to stop."""
        if error := chunk.get("error"):
            self.fail(str(error.get("type", "native")), str(error.get("message", error)))
            return True
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices", ()):
            self._finish = choice.get("finish_reason") or self._finish
            text = choice.get("text") or choice.get("delta", {}).get("content") or ""
            self._tell({"event": "text", "text": text} if text else {"event": "busy"})
        return self._cancelled.is_set()

    def fail(self, why: str, text: str) -> None:
        if not self._failed:
            self._failed = True
            self._tell({"event": "error", "why": why, "text": text})

    def close(self) -> None:
        """The engine has returned."""
        if self._failed or self._cancelled.is_set():
            return
        if self._finish is None:
            self.fail("native", "the reply ended without a reason")
            return
        details: Mapping[str, Any] = self._usage.get("prompt_tokens_details") or {}
        self._tell(
            {
                "event": "done",
                "finish": self._finish,
                "input": self._usage.get("prompt_tokens", 0),
                "output": self._usage.get("completion_tokens", 0),
                "cached": details.get("cached_tokens", 0),
            }
        )

    def _tell(self, event: Message) -> None:
        if not self._cancelled.is_set():
            self._send({"id": self._number, **event})


def serve(lines: Iterable[bytes], write: Callable[[bytes], object], open_engine: Open = open_native) -> None:
    """Take messages until there are no more."""
    lock = threading.Lock()

    def send(message: Message) -> None:
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with lock:
            write(line)

    session = Serve(send, open_engine)
    for line in lines:
        session.take(json.loads(line))


def main() -> None:
    """Serve on the pipes this process was started with."""
    bond()
    # Native code prints where it likes: our channel moves away from descriptor 1 and stderr takes its place.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def write(line: bytes) -> None:
        out.write(line)
        out.flush()

    code = 1
    try:
        serve(sys.stdin.buffer, write)
        code = 0
    except Exception:  # noqa: BLE001 - the edge of this process; the parent reads stderr
        traceback.print_exc()
    finally:
        # Threads inside native code do not end by themselves, and must not be waited for.
        os._exit(code)


if __name__ == "__main__":
    main()
