from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.gemini import Options as GeminiOptions
from massgen_mcp.backends.media_open import MediaWishes, OpenedMedia, open_media
from massgen_mcp.backends.openai import Options as OpenAIOptions
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import SystemClock
from massgen_mcp.messages import Image
from tests.backends import gemini_replies, responses_events
from tests.backends.wire import Wire, http, http_json, make_context, wire

pytestmark = pytest.mark.anyio

KEY = "sk-test-0123456789abcdefghij"
PNG = Image(mime="image/png", data=b"\x89PNG")
MP3 = Image(mime="audio/mpeg", data=b"ID3")
B64 = base64.b64encode(b"drawn").decode()


def contexts(pool: Pool, *names: str) -> Mapping[str, BackendContext]:
    return {name: make_context(name, pool, clock=SystemClock()) for name in names}


def own(type: str, server: Wire) -> Options:  # noqa: A002 - the word of the team file
    url = server.url if type == "openai" else server.url.removesuffix("/v1")
    options = OpenAIOptions if type == "openai" else GeminiOptions
    return options.model_validate({"type": type, "base_url": url, "api_key": KEY, "model": "mine"})


def media_of(pool: Pool, *names: str, own: Options | None = None, **wishes: str) -> OpenedMedia:
    return open_media(MediaWishes(**wishes), contexts=contexts(pool, *names), own=own, prices=Prices())


def offered(media: OpenedMedia) -> list[str]:
    ports = ("see", "hear", "watch", "paint", "speak", "film")
    return [port for port in ports if getattr(media, port) is not None]


def test_what_is_offered_follows_the_keys_and_the_rest_says_why(pool: Pool) -> None:
    nothing = media_of(pool)
    assert offered(nothing) == []
    assert set(nothing.why) == {"see", "hear", "watch", "paint", "speak", "film"}
    openai = media_of(pool, "openai")
    assert offered(openai) == ["see", "hear", "paint", "speak"]
    assert openai.why == {
        "watch": "No key for it is set: OPENAI_API_KEY, or GOOGLE_API_KEY.",
        "film": "No key for gemini is set.",
    }
    assert offered(media_of(pool, "gemini", "openai")) == ["see", "hear", "watch", "paint", "speak", "film"]


def test_wishes_that_can_t_be_met_say_why(pool: Pool) -> None:
    media = media_of(pool, "openai", "gemini", image_backend="grok", video_backend="openai")
    assert media.why == {
        "paint": "grok makes none here. Use openai or gemini.",
        "film": "OpenAI's video API was shut down on 2026-09-24. Use video_generation_backend: gemini.",
    }


async def test_an_agents_own_provider_serves_first(pool: Pool) -> None:
    drawn: dict[str, Any] = {"inlineData": {"mimeType": "image/png", "data": B64}}
    async with wire(gemini_replies.HELLO, gemini_replies.HELLO, gemini_replies.said(drawn)) as server:
        media = media_of(
            pool, "openai", "gemini", own=own("gemini", server), image_model="painter", audio_backend="openai"
        )
        assert media.see is not None
        assert media.hear is not None
        assert media.paint is not None
        assert (await media.see((PNG,), "What?"))[0] == "Hello."
        assert (await media.hear((MP3,), "What?"))[0] == "Hello."
        assert (await media.paint("A cat.", (), ""))[0].data == b"drawn"
        await media.aclose()
    assert [request.target.partition(":")[0].rpartition("/")[2] for request in server.requests] == [
        "mine",
        "mine",
        "painter",
    ]


async def test_openai_hears_by_transcripts_and_sees_by_its_model(pool: Pool) -> None:
    drawn = {"created": 1, "data": [{"b64_json": B64}]}
    answers = [responses_events.HELLO, http_json(200, {"text": "Said."}), http_json(200, drawn)]
    async with wire(*answers, http(200, b"ID3", "audio/mpeg")) as server:
        media = media_of(pool, "openai", own=own("openai", server), audio_model="speaker")
        assert media.see is not None
        assert media.hear is not None
        assert media.paint is not None
        assert media.speak is not None
        assert (await media.see((PNG,), "What?"))[0] == "Hello."
        assert (await media.hear((MP3,), "What?"))[0] == "Said."
        await media.paint("A cat.", (), "")
        await media.speak("Hello.", "", "")
        await media.aclose()
    assert server.requests[0].json["model"] == "mine"
    assert server.requests[2].json["model"] == "gpt-image-2.6-sunburst"
    assert server.requests[3].json["model"] == "speaker"
