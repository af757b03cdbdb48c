"""LM Studio: a chat-completions server on this machine, with models that `lms` can fetch and load."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import httpx2

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.chat import Backend as ChatBackend, Options as ChatOptions, connect as connect_chat
from massgen_mcp.backends.chat_server import ChatServer
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.lms import PAUSE, Lms, LmsFailed, LmsModel, find_lms
from massgen_mcp.backends.pulse import PULSE
from massgen_mcp.backends.servers import find_address
from massgen_mcp.backends.urls import host_of, is_loopback
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import Delta, ObservedCall, Request

__all__ = ["Backend", "Options", "connect"]

_USUAL_PORT = 1234
_START_SECONDS = 60.0
_LOAD_SECONDS = 600.0
_GET_SECONDS = 6 * 3600.0
"""Models are gigabytes; the run's own deadline usually comes first, and what was fetched by then is kept."""
_LOOK = httpx2.Timeout(3.0)
_DOWNLOAD_PAGE = "https://lmstudio.ai/download"


class Options(ChatOptions):
    """The backend block of `type: lmstudio`."""

    auto_download: bool = False
    """Fetch the model with `lms get` when it is not there: gigabytes, so only when asked for."""
    auto_install: bool = False
    """Nothing is installed by it: that would run a script from the network. Where `lms` is missing, the error
    says what to install."""


class Backend(ChatServer):
    """LM Studio's chat completions, its server started and the model loaded before the first of them."""

    def __init__(
        self, chat: ChatBackend, options: Options, context: BackendContext, address: str, lms: Lms | None
    ) -> None:
        super().__init__(chat)
        self._options = options
        self._context = context
        self._address = address
        self._lms = lms
        self._ready = lms is None

    async def _deltas(self, request: Request) -> AsyncGenerator[Delta]:
        if self._lms is not None and not self._ready:
            async with aclosing(self._prepare(self._lms)) as steps:
                async for step in steps:
                    yield step
            self._ready = True
        try:
            async with aclosing(super()._deltas(request)) as deltas:
                async for delta in deltas:
                    yield delta
        except BackendError:
            self._ready = self._lms is None  # the server may have been stopped, or the model put away
            raise

    # What has to be there before the first request.

    async def _prepare(self, lms: Lms) -> AsyncGenerator[Delta]:
        if not await self._answers():
            steps = self._watched("server start", lms.start(self._port), _START_SECONDS)
            async with aclosing(steps):
                async for step in steps:
                    yield step
        steps = self._loaded(lms, self.model)
        async with aclosing(steps):
            async for step in steps:
                yield step

    async def _loaded(self, lms: Lms, name: str) -> AsyncGenerator[Delta]:
        """Have the model in memory."""
        try:
            for loaded in await lms.loaded():
                if loaded.identifier is not None and (loaded.identifier == name or loaded.is_called(name)):
                    await self._ask_for(loaded.identifier)
                    return
            model = await self._on_disk(lms, name)
        except LmsFailed:
            return  # its server answers, and may load what it is asked for by itself
        if model is None and self._options.auto_download:
            steps = self._watched(f"get {name}", lms.get(name), _GET_SECONDS)
            async with aclosing(steps):
                async for step in steps:
                    yield step
            with suppress(LmsFailed):
                model = await self._on_disk(lms, name)
        if model is None:
            raise self._absent(name)
        steps = self._watched(f"load {name}", lms.load(model, identifier=name), _LOAD_SECONDS)
        async with aclosing(steps):
            async for step in steps:
                yield step

    async def _on_disk(self, lms: Lms, name: str) -> LmsModel | None:
        return next((model for model in await lms.models() if model.is_called(name)), None)

    async def _watched(
        self, what: str, steps: AsyncGenerator[str], seconds: float
    ) -> AsyncGenerator[ObservedCall]:
        """Show how far `lms` is, within its own limit; it is alive as long as it runs."""
        clock, begun, shown = self._context.clock, self._context.clock.monotonic(), ""
        yield ObservedCall(name="lms", detail=what)
        try:
            async with aclosing(steps):
                async for step in steps:
                    if pulse := PULSE.get():
                        pulse.beat()
                    if step and step != shown:
                        shown = step
                        yield ObservedCall(name="lms", detail=f"{what}: {step}")
                    if clock.monotonic() - begun > seconds:
                        raise self._failure(f"`lms {what}` had not finished after {seconds:g} s", "timeout")
        except (LmsFailed, OSError) as error:
            words = str(error) if isinstance(error, LmsFailed) else f"`lms {what}` can't be run: {error}"
            raise self._failure(words, "unavailable") from error

    async def _ask_for(self, identifier: str) -> None:
        """Ask for a loaded model by the identifier it was loaded under, which may be another name."""
        if identifier != self._chat.model:
            options = self._options.model_copy(update={"model": identifier})
            self._chat = await connect_chat(options, self._context)

    async def _answers(self) -> bool:
        client = await self._context.pool.client()
        try:
            await client.get(f"{self._address.rstrip('/')}/models", timeout=_LOOK)
        except httpx2.HTTPError:
            return False
        return True

    @property
    def _port(self) -> int:
        return httpx2.URL(self._address).port or _USUAL_PORT

    # What a person is told.

    def _absent(self, name: str) -> BackendError:
        remedy = f"Fetch it: `lms get {name}`; or set `auto_download: true`."
        return self._failure(f"LM Studio has no model {name!r} on this machine", "not_found", remedy)

    def _remedy(self, error: BackendError) -> str:
        if error.kind == "not_found":
            return f"Fetch it: `lms get {self.model}`, then `lms load`; if it is there, check `base_url`."
        if error.kind == "network" and not error.connected:
            start = f"Start its server: `lms server start --port {self._port}`."
            return start if self._lms is not None else start + self._missing()
        return ""

    def _missing(self) -> str:
        if not is_loopback(host_of(self._address)):
            return ""
        words = f" There is no `lms` on PATH: install LM Studio from {_DOWNLOAD_PAGE} and open it once."
        if self._options.auto_install:
            words += " `auto_install` does not do that: it would run a script from the network."
        return words

    def _failure(self, what: str, kind: FailureKind, remedy: str = "") -> BackendError:
        text = f"{what}. {remedy}".rstrip()
        return BackendError(self._context.secrets.redact(text), kind=kind, remedy=remedy, connected=False)


async def connect(options: Options, context: BackendContext, *, pause: float = PAUSE) -> ModelBackend:
    """Open it like any chat-completions server; nothing is started before the first request.

    Args:
        options: the backend block.
        context: the outside.
        pause: seconds between two looks at how far `lms` is.

    Raises:
        BackendError: as for those.
    """
    address = await find_address(options, context)
    program = find_lms(context.environ) if is_loopback(host_of(address)) else None
    lms = Lms.at(program, context.environ, pause=pause) if program else None
    return Backend(await connect_chat(options, context), options, context, address, lms)
