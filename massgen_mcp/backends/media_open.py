"""Who looks at, hears and makes things for an agent: its own provider first, then one whose key is set.

Nothing is opened before it is first used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias, cast

import anyio

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.gemini import Options as GeminiOptions
from massgen_mcp.backends.media_gemini import GeminiMedia, open_gemini_media
from massgen_mcp.backends.media_look import Look, looker
from massgen_mcp.backends.media_openai import VIDEO_GONE, OpenAIMedia, open_openai_media
from massgen_mcp.backends.open import open_backend
from massgen_mcp.backends.openai import Options as OpenAIOptions
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.messages import Image
from massgen_mcp.usage import Usage

__all__ = ["MediaWishes", "OpenedMedia", "open_media"]

_PROVIDERS = ("openai", "gemini")
_NAMES = {"google": "gemini"}
_NO_KEY = "No key for it is set: OPENAI_API_KEY, or GOOGLE_API_KEY."

Make: TypeAlias = Callable[..., Awaitable[tuple[Image, Usage]]]
Provider: TypeAlias = OpenAIMedia | GeminiMedia


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaWishes:
    """What a team file says of who makes what; empty for the usual."""

    image_backend: str = ""
    image_model: str = ""
    audio_backend: str = ""
    audio_model: str = ""
    video_backend: str = ""
    video_model: str = ""


@dataclass(slots=True, kw_only=True)
class OpenedMedia:
    """Callables in the shape of the media tools' ports; None for what nobody offers, with the reason.

    Close it when the run is over.
    """

    see: Look | None = None
    hear: Look | None = None
    watch: Look | None = None
    paint: Make | None = None
    speak: Make | None = None
    film: Make | None = None
    why: dict[str, str] = field(default_factory=dict[str, str])
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def aclose(self) -> None:
        """Let go of the models that were opened."""
        await self.closing.aclose()


def open_media(
    wishes: MediaWishes,
    *,
    contexts: Mapping[str, BackendContext],
    own: Options | None = None,
    prices: Prices,
    random: Callable[[], Random] = Random,
) -> OpenedMedia:
    """What is offered to an agent.

    Args:
        wishes: of the team file.
        contexts: of the rows `openai` and `gemini` where they have a key.
        own: the agent's own backend block; its address, key and model serve, where it is one of these two.
        prices: the table.
        random: chance for retries.
    """
    opener = _Opener(wishes, contexts, own, prices, random)
    return opener.opened()


class _Opener:
    def __init__(
        self,
        wishes: MediaWishes,
        contexts: Mapping[str, BackendContext],
        own: Options | None,
        prices: Prices,
        random: Callable[[], Random],
    ) -> None:
        self._wishes = wishes
        self._contexts = contexts
        self._own = own
        self._prices = prices
        self._random = random
        self._lock = anyio.Lock()
        self._providers: dict[str, Provider] = {}
        self._looks: dict[str, Look] = {}
        self._media = OpenedMedia()

    def opened(self) -> OpenedMedia:
        media, wishes = self._media, self._wishes
        order = self._order()
        if order:
            media.see = self._look(order[0])
            media.hear = self._transcribe() if order[0] == "openai" else self._look(order[0])
        if "gemini" in order:
            media.watch = self._look("gemini")
        media.paint = self._made_by("paint", wishes.image_backend, order)
        media.speak = self._made_by("speak", wishes.audio_backend, order)
        video = _NAMES.get(wishes.video_backend, wishes.video_backend)
        media.film = self._made_by("film", video or "gemini", order)
        if video == "openai":
            media.film = None
            media.why["film"] = f"{VIDEO_GONE}. Use video_generation_backend: gemini."
        for port in ("see", "hear", "watch"):
            if getattr(media, port) is None:
                media.why[port] = _NO_KEY
        return media

    def _order(self) -> list[str]:
        own = self._own.type if self._own is not None else ""
        return sorted((name for name in _PROVIDERS if name in self._contexts), key=lambda name: name != own)

    def _made_by(self, method: str, wished: str, order: Sequence[str]) -> Make | None:
        name = _NAMES.get(wished, wished) or next(iter(order), "")
        if name in order:
            return self._make(method, name)
        if not name or name in _PROVIDERS:
            self._media.why[method] = _NO_KEY if not name else f"No key for {name} is set."
        else:
            self._media.why[method] = f"{name} makes none here. Use openai or gemini."
        return None

    def _make(self, method: str, name: str) -> Make:
        async def make(*arguments: Any) -> tuple[Image, Usage]:
            found: Make = getattr(await self._provider(name), method)
            return await found(*arguments)

        return make

    def _transcribe(self) -> Look:
        async def hear(material: Sequence[Image], prompt: str) -> tuple[str, Usage]:
            provider = cast("OpenAIMedia", await self._provider("openai"))
            return await provider.hear(material, prompt)

        return hear

    def _look(self, name: str) -> Look:
        async def look(material: Sequence[Image], prompt: str) -> tuple[str, Usage]:
            return await (await self._model(name))(material, prompt)

        return look

    def _block(self, name: str) -> Options:
        if self._own is not None and self._own.type == name:
            return self._own
        return (OpenAIOptions if name == "openai" else GeminiOptions)(type=name)

    async def _provider(self, name: str) -> Provider:
        async with self._lock:
            if name not in self._providers:
                self._providers[name] = await self._open(name)
            return self._providers[name]

    async def _open(self, name: str) -> Provider:
        wishes, context, block = self._wishes, self._contexts[name], self._block(name)
        painter = self._wished(wishes.image_backend, wishes.image_model, name)
        speaker = self._wished(wishes.audio_backend, wishes.audio_model, name)
        if name == "openai":
            return await open_openai_media(
                context, prices=self._prices, options=block, painter=painter, speaker=speaker
            )
        return await open_gemini_media(
            context,
            prices=self._prices,
            options=cast("GeminiOptions", block),
            painter=painter,
            speaker=speaker,
            filmer=wishes.video_model,
        )

    def _wished(self, backend: str, model: str, name: str) -> str:
        """The model of a wish, where it is meant for this provider."""
        order = self._order()
        return model if (_NAMES.get(backend, backend) or order[0]) == name else ""

    async def _model(self, name: str) -> Look:
        async with self._lock:
            if name not in self._looks:
                backend = await open_backend(self._block(name), self._contexts[name])
                self._media.closing.push_async_callback(backend.aclose)
                clock = self._contexts[name].clock
                self._looks[name] = looker(cast("ModelBackend", backend), clock=clock, random=self._random())
            return self._looks[name]
