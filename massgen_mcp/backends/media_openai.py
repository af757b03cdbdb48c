"""What OpenAI makes and hears beside its models' replies: pictures, speech, transcripts.

Each call is made once: a picture that may have been made is not ordered again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from massgen_mcp.backends.account import Account, find_account
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.media_maker import MediaMaker
from massgen_mcp.backends.openai_sdk import explain, open_client, sdk_errors
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.backends.sdk import load
from massgen_mcp.messages import Image
from massgen_mcp.usage import Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["VIDEO_GONE", "OpenAIMedia", "open_openai_media"]

VIDEO_GONE = "OpenAI's video API was shut down on 2026-09-24"

_PAINTER = "gpt-image-2.6-sunburst"
_SPEAKER = "gpt-4o-mini-tts"
_LISTENER = "gpt-transcribe"
_VOICE = "alloy"
_FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
_ENDINGS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/webm": "webm",
}
"""The API goes by the file's name."""


class OpenAIMedia(MediaMaker):
    """Pictures, speech and transcripts at one account.

    Args:
        client: borrowed from the pool; never closed here.
        context: the row, for prices.
        account: who is asked, with the model for pictures.
        prices: the table.
        errors: what calls through the client may raise.
        speaker: the model for speech; empty for the usual one.
        listener: the model for transcripts; empty for the usual one.
    """

    def __init__(
        self,
        client: AsyncOpenAI,
        context: BackendContext,
        account: Account,
        prices: Prices,
        *,
        errors: tuple[type[Exception], ...],
        speaker: str,
        listener: str,
    ) -> None:
        super().__init__(context, account, prices, errors=errors, explain=explain)
        self._client: Any = client
        self._speaker = speaker or _SPEAKER
        self._listener = listener or _LISTENER

    async def paint(self, prompt: str, images: Sequence[Image], size: str) -> tuple[Image, Usage]:
        """A picture of that, or those pictures changed.

        Raises:
            BackendError: there is none.
        """
        wanted: dict[str, Any] = {"model": self._painter, "prompt": prompt, "n": 1}
        if size:
            wanted["size"] = size
        if images:
            files = [
                (f"image{number}.{_ENDINGS.get(image.mime, 'png')}", image.data, image.mime)
                for number, image in enumerate(images, 1)
            ]
            call = partial(self._client.images.edit, image=files, **wanted)
        else:
            call = partial(self._client.images.generate, **wanted)
        answer = await self._asked(call, self._painter)
        data = self._picture(answer)
        mime = _FORMATS.get(str(getattr(answer, "output_format", None) or "png"), "image/png")
        return Image(mime=mime, data=data), await self._used(answer, self._painter)

    def _picture(self, answer: Any) -> bytes:
        items: object = getattr(answer, "data", None)
        first: object = cast("list[object]", items)[0] if isinstance(items, list) and items else None
        text: object = getattr(first, "b64_json", None)
        if not isinstance(text, str) or not text:
            raise self._failures.broken("it holds no picture", retryable=False)
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self._failures.broken("its picture is not base64", retryable=False) from None

    async def speak(self, text: str, voice: str, instructions: str) -> tuple[Image, Usage]:
        """That text, spoken.

        Raises:
            BackendError: there is no sound.
        """
        wanted = {"model": self._speaker, "voice": voice or _VOICE, "input": text, "response_format": "mp3"}
        if instructions:
            wanted["instructions"] = instructions
        answer = await self._asked(partial(self._client.audio.speech.create, **wanted), self._speaker)
        data: bytes = answer.content
        kind = str(answer.response.headers.get("content-type", "")).partition(";")[0]
        if not data or not kind.startswith(("audio/", "application/octet-stream")):
            raise self._failures.broken(f"it is {kind or 'of no type'}, not a sound", retryable=False)
        return Image(mime="audio/mpeg", data=data), Usage(requests=1)

    async def hear(self, material: Sequence[Image], prompt: str) -> tuple[str, Usage]:
        """What is said in a sound; `prompt` only helps to understand names and terms.

        Raises:
            BackendError: there is no transcript.
        """
        texts: list[str] = []
        whole = Usage()
        for sound in material:
            file = (f"sound.{_ENDINGS.get(sound.mime, 'mp3')}", sound.data, sound.mime)
            wanted = {"model": self._listener, "file": file, "prompt": prompt, "response_format": "json"}
            answer = await self._asked(
                partial(self._client.audio.transcriptions.create, **wanted), self._listener
            )
            text: Any = getattr(answer, "text", None)
            if not isinstance(text, str):
                raise self._failures.broken("it holds no transcript", retryable=False)
            texts.append(text)
            whole += await self._used(answer, self._listener)
        return "\n\n".join(texts), whole

    async def film(self, prompt: str, images: Sequence[Image]) -> tuple[Image, Usage]:
        """Always refused.

        Raises:
            BackendError: with the reason and what to use.
        """
        del prompt, images
        remedy = "Use video_generation_backend: gemini, with GOOGLE_API_KEY set."
        raise self._failures.make("not_found", VIDEO_GONE, remedy=remedy, connected=False)

    async def _asked(self, call: Callable[[], Awaitable[Any]], model: str) -> Any:
        with self._order(model):
            return await call()

    async def _used(self, answer: Any, model: str) -> Usage:
        counts: Any = getattr(answer, "usage", None)
        usage = Usage(
            requests=1,
            input=_number(getattr(counts, "input_tokens", None)),
            output=_number(getattr(counts, "output_tokens", None)),
        )
        return await self._priced(usage, model) if usage.tokens else usage


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


async def open_openai_media(
    context: BackendContext,
    *,
    prices: Prices,
    options: Options | None = None,
    painter: str = "",
    speaker: str = "",
    listener: str = "",
) -> OpenAIMedia:
    """Media at OpenAI, with the key of the context's row.

    Args:
        context: of the row `openai`.
        prices: the table.
        options: the backend block, where an agent's own has an address or key.
        painter: the model for pictures.
        speaker: the model for speech.
        listener: the model for transcripts.

    Raises:
        BackendError: there is no key, or the address may not be used.
    """
    info = context.info
    options = options or Options(type=info.type)
    base_url = options.base_url or info.base_url or ""
    account = await find_account(options, context, base_url, model=painter or _PAINTER, title=info.title)
    client = await open_client(context.pool, account, options.extra_headers)
    for name in ("openai.resources.images", "openai.resources.audio"):
        await load(name)
    return OpenAIMedia(
        client,
        context,
        account,
        prices,
        errors=await sdk_errors(),
        speaker=speaker,
        listener=listener,
    )
