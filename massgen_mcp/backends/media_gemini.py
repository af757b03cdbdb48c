"""What Google makes beside its models' replies: pictures, speech, videos.

Each thing is ordered once: one that may have been made is not ordered again.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from massgen_mcp.backends.account import Account, find_account
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.gemini import Options, address_of
from massgen_mcp.backends.gemini_reading import Reading, Turn, chunks_of
from massgen_mcp.backends.gemini_sdk import ERRORS, Client, explain, open_client
from massgen_mcp.backends.gemini_wire import Item
from massgen_mcp.backends.media_maker import MediaMaker
from massgen_mcp.backends.media_sound import wav
from massgen_mcp.backends.media_veo import Veo
from massgen_mcp.backends.prices import Prices
from massgen_mcp.messages import Image
from massgen_mcp.usage import Usage

__all__ = ["GeminiMedia", "open_gemini_media"]

_PAINTER = "gemini-3.1-flash-image"
_SPEAKER = "gemini-3.8-flash-tts"
_FILMER = "veo-3.1-generate-preview"
_VOICE = "Kore"
_SIZE = re.compile(r"(\d{2,5})\s*x\s*(\d{2,5})")
_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")


class GeminiMedia(MediaMaker):
    """Pictures, speech and videos at one account.

    Args:
        client: asks generateContent.
        veo: makes videos.
        context: the row, for prices.
        account: who is asked, with the model for pictures.
        prices: the table.
        speaker: the model for speech; empty for the usual one.
    """

    def __init__(
        self,
        client: Client,
        veo: Veo,
        context: BackendContext,
        account: Account,
        prices: Prices,
        *,
        speaker: str,
    ) -> None:
        super().__init__(context, account, prices, errors=ERRORS, explain=explain)
        self._client = client
        self._veo = veo
        self._speaker = speaker or _SPEAKER

    async def paint(self, prompt: str, images: Sequence[Image], size: str) -> tuple[Image, Usage]:
        """A picture of that, or those pictures changed. Of a size, its shape counts.

        Raises:
            BackendError: there is none.
        """
        generation: Item = {"responseModalities": ["TEXT", "IMAGE"]}
        if ratio := _ratio(size):
            generation["imageConfig"] = {"aspectRatio": ratio}
        parts: list[Item] = [{"text": prompt}, *map(_inline, images)]
        turn = await self._made(self._painter, parts, generation)
        found = _first(turn, "image/")
        if found is None:
            said = turn.text.strip() or "it gave neither a picture nor a reason"
            raise replace(self._failures, model=self._painter).declined(said)
        return found, await self._used(turn, self._painter)

    async def speak(self, text: str, voice: str, instructions: str) -> tuple[Image, Usage]:
        """That text, spoken.

        Raises:
            BackendError: there is no sound.
        """
        generation: Item = {
            "responseModalities": ["AUDIO"],
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice or _VOICE}}},
        }
        said = f"{instructions.rstrip(':. ')}: {text}" if instructions else text
        turn = await self._made(self._speaker, [{"text": said}], generation)
        found = _first(turn, "audio/")
        if found is None:
            raise replace(self._failures, model=self._speaker).broken("it holds no sound", retryable=False)
        return wav(found), await self._used(turn, self._speaker)

    async def film(self, prompt: str, images: Sequence[Image]) -> tuple[Image, Usage]:
        """A video of that, beginning with a picture where one is given.

        Raises:
            BackendError: there is none.
        """
        return await self._veo.film(prompt, images), Usage(requests=1)

    async def _made(self, model: str, parts: list[Item], generation: Item) -> Turn:
        body = {"contents": [{"role": "user", "parts": parts}], "generationConfig": generation}
        with self._order(model) as failures:
            reading = Reading(failures, turn=0)
            await self._read(model, body, reading, failures)
            return reading.turn()

    async def _read(self, model: str, body: Item, reading: Reading, failures: Failures) -> None:
        async with (
            self._client.generate(model, body) as response,
            aclosing(chunks_of(response, failures)) as chunks,
        ):
            async for chunk in chunks:
                for _ in reading.feed(chunk):
                    pass

    async def _used(self, turn: Turn, model: str) -> Usage:
        return await self._priced(turn.usage, model, served=turn.model)


def _inline(image: Image) -> Item:
    return {"inlineData": {"mimeType": image.mime, "data": base64.b64encode(image.data).decode()}}


def _first(turn: Turn, kind: str) -> Image | None:
    """The first thing of that kind in a reply that is no draft."""
    for part in turn.parts:
        data: Any = part.get("inlineData")
        if part.get("thought") or not isinstance(data, dict):
            continue
        mime, text = str(data.get("mimeType", "")), data.get("data")  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType, reportUnknownVariableType] - JSON
        if not mime.startswith(kind) or not isinstance(text, str):
            continue
        try:
            return Image(mime=mime, data=base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            continue
    return None


def _ratio(size: str) -> str:
    """The nearest shape that the API knows; empty for no wish."""
    if size in _RATIOS:
        return size
    match = _SIZE.fullmatch(size.strip().lower())
    if match is None:
        return ""
    wanted = int(match[1]) / int(match[2])

    def off(ratio: str) -> float:
        width, height = map(int, ratio.split(":"))
        return abs(width / height - wanted)

    return min(_RATIOS, key=off)


async def open_gemini_media(
    context: BackendContext,
    *,
    prices: Prices,
    options: Options | None = None,
    painter: str = "",
    speaker: str = "",
    filmer: str = "",
) -> GeminiMedia:
    """Media at Google, with the key of the context's row.

    Args:
        context: of the row `gemini`.
        prices: the table.
        options: the backend block, where an agent's own has an address or key.
        painter: the model for pictures.
        speaker: the model for speech.
        filmer: the model for videos.

    Raises:
        BackendError: there is no key, or the address may not be used.
    """
    info = context.info
    options = options or Options(type=info.type)
    base_url, version = address_of(options, context)
    if options.api_version is None and version == "v1":
        version = "v1beta"  # where the models that make things are kept
    account = await find_account(options, context, base_url, model=painter or _PAINTER, title=info.title)
    client = await open_client(context.pool, account, options.extra_headers, api_version=version)
    veo = Veo(
        await context.pool.client(),
        account.asking(filmer or _FILMER),
        api_version=version,
        clock=context.clock,
    )
    return GeminiMedia(client, veo, context, account, prices, speaker=speaker)
