from __future__ import annotations

import base64
from random import Random
from typing import Any

import pytest

from massgen_mcp.backends.media_look import looker
from massgen_mcp.backends.media_openai import OpenAIMedia, open_openai_media
from massgen_mcp.backends.openai import Options
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Image
from massgen_mcp.secrets import Secrets
from massgen_mcp.usage import Usage
from tests.backends import chats, gemini_replies
from tests.backends.wire import Stall, Wire, closed_port, http, http_json, make_context, wire

pytestmark = pytest.mark.anyio

KEY = "sk-test-0123456789abcdefghij"
PNG = Image(mime="image/png", data=b"\x89PNG\r\n\x1a\n")
MP3 = Image(mime="audio/mpeg", data=b"ID3sound")
DRAWN: dict[str, Any] = {
    "created": 1,
    "data": [{"b64_json": base64.b64encode(b"drawn").decode()}],
    "output_format": "webp",
    "usage": {"input_tokens": 12, "output_tokens": 1000, "total_tokens": 1012, "input_tokens_details": {}},
}


async def open_media(server: Wire | str, pool: Pool, **models: str) -> OpenAIMedia:
    url = server if isinstance(server, str) else server.url
    options = Options.model_validate({"type": "openai", "base_url": url, "api_key": KEY})
    context = make_context("openai", pool, secrets=Secrets(), clock=SystemClock())
    return await open_openai_media(context, prices=Prices(), options=options, **models)


async def test_a_picture_is_ordered_once_and_comes_with_what_it_used(pool: Pool) -> None:
    async with wire(http_json(200, DRAWN)) as server:
        picture, usage = await (await open_media(server, pool)).paint("A cat.", (), "1024x1024")
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", "/v1/images/generations")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.json == {
        "model": "gpt-image-2.6-sunburst",
        "prompt": "A cat.",
        "n": 1,
        "size": "1024x1024",
    }
    assert picture == Image(mime="image/webp", data=b"drawn")
    assert (usage.requests, usage.input, usage.output) == (1, 12, 1000)


async def test_pictures_are_changed_by_the_model_that_was_named(pool: Pool) -> None:
    async with wire(http_json(200, {**DRAWN, "output_format": None, "usage": None})) as server:
        media = await open_media(server, pool, painter="gpt-image-2")
        picture, usage = await media.paint("Bluer.", (PNG,), "")
    request = server.requests[0]
    assert request.target == "/v1/images/edits"
    assert request.headers["content-type"].startswith("multipart/form-data")
    assert b'name="model"\r\n\r\ngpt-image-2\r\n' in request.body
    assert b'filename="image1.png"\r\nContent-Type: image/png\r\n\r\n' + PNG.data in request.body
    assert b'name="size"' not in request.body
    assert (picture.mime, usage) == ("image/png", Usage(requests=1))


async def test_a_text_is_spoken(pool: Pool) -> None:
    async with wire(http(200, b"ID3spoken", "audio/mpeg"), http(200, b"x", "audio/mpeg")) as server:
        media = await open_media(server, pool)
        sound, usage = await media.speak("Hello.", "", "Slowly.")
        await media.speak("Hello.", "nova", "")
    assert server.requests[0].target == "/v1/audio/speech"
    assert server.requests[0].json == {
        "model": "gpt-4o-mini-tts",
        "voice": "alloy",
        "input": "Hello.",
        "response_format": "mp3",
        "instructions": "Slowly.",
    }
    assert server.requests[1].json["voice"] == "nova"
    assert "instructions" not in server.requests[1].json
    assert (sound, usage) == (Image(mime="audio/mpeg", data=b"ID3spoken"), Usage(requests=1))


async def test_sounds_are_written_down_each_by_itself(pool: Pool) -> None:
    counts = {"type": "tokens", "input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    heard = [
        http_json(200, {"text": "One.", "usage": counts}),
        http_json(200, {"text": "Two.", "usage": {"type": "duration", "seconds": 3}}),
    ]
    async with wire(*heard) as server:
        text, usage = await (await open_media(server, pool)).hear((MP3, MP3), "Names: Ada.")
    assert text == "One.\n\nTwo."
    assert (usage.requests, usage.input, usage.output) == (2, 5, 2)
    body = server.requests[0].body
    assert server.requests[0].target == "/v1/audio/transcriptions"
    assert b'name="model"\r\n\r\ngpt-transcribe\r\n' in body
    assert b'name="prompt"\r\n\r\nNames: Ada.\r\n' in body
    assert b'filename="sound.mp3"\r\nContent-Type: audio/mpeg\r\n\r\nID3sound' in body


async def test_videos_are_refused_with_the_reason_and_what_to_use(pool: Pool) -> None:
    media = await open_media("http://127.0.0.1:9/v1", pool)
    with pytest.raises(BackendError, match=r"shut down on 2026-09-24\. Use video_generation_backend: gemini"):
        await media.film("A cat.", ())


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (http_json(400, {"error": {"message": "blocked by our safety system"}}), "refusal", "safety"),
        (http_json(401, {"error": {"message": f"bad key {KEY}"}}), "auth", "refused the key"),
        (http_json(429, {"error": {"message": "slow down"}}), "rate_limit", "asks to send less"),
        (http_json(200, {"created": 1, "data": []}), "protocol", "holds no picture"),
        (http_json(200, {"created": 1, "data": [{"b64_json": "%"}]}), "protocol", "not base64"),
        (http(200, b"<html>", "text/html"), "protocol", ""),
    ],
    ids=["safety", "key", "rate", "empty", "garbled", "html"],
)
async def test_a_picture_that_does_not_come_is_an_error_and_not_ordered_again(
    pool: Pool, answer: bytes, kind: str, words: str
) -> None:
    async with wire(answer) as server:
        media = await open_media(server, pool)
        with pytest.raises(BackendError) as caught:
            await media.paint("A cat.", (), "")
    assert caught.value.kind in {kind, "bad_request"}
    assert words in str(caught.value)
    assert KEY not in str(caught.value)
    assert not caught.value.retryable
    assert len(server.requests) == 1


async def test_what_is_no_sound_and_no_transcript_is_refused(pool: Pool) -> None:
    async with wire(
        http_json(200, {"a": 1}), http(200, b"", "audio/mpeg"), http_json(200, {"b": 1})
    ) as server:
        media = await open_media(server, pool)
        with pytest.raises(BackendError, match="application/json, not a sound"):
            await media.speak("Hello.", "", "")
        with pytest.raises(BackendError, match="not a sound"):
            await media.speak("Hello.", "", "")
        with pytest.raises(BackendError, match="holds no transcript"):
            await media.hear((MP3,), "")


async def test_a_server_that_is_not_there_is_told(pool: Pool) -> None:
    media = await open_media(f"http://127.0.0.1:{closed_port()}/v1", pool)
    with pytest.raises(BackendError, match="No connection"):
        await media.paint("A cat.", (), "")


async def test_without_a_key_nothing_is_opened(pool: Pool) -> None:
    with pytest.raises(BackendError, match="needs a key"):
        await open_openai_media(make_context("openai", pool), prices=Prices())
    context = make_context("openai", pool, environ={"OPENAI_API_KEY": KEY})
    assert isinstance(await open_openai_media(context, prices=Prices()), OpenAIMedia)


async def test_a_picture_that_takes_too_long_is_given_up(pool: Pool) -> None:
    async with wire([Stall()]) as server:
        media = await open_media(server, pool)
        media.seconds = 0.2
        with pytest.raises(BackendError, match="took longer than"):
            await media.paint("A cat.", (), "")


async def test_any_model_can_be_asked_about_pictures(pool: Pool) -> None:
    async with wire(chats.HELLO, gemini_replies.HELLO) as server:
        chat = await chats.open_chat(server, pool, "azure_openai")
        look = looker(chat, clock=SystemClock(), random=Random(1))
        assert await look((PNG,), "What is it?") == ("Hello.", Usage(requests=1, input=12, output=5))
        gemini = await gemini_replies.open_model(server, pool)
        listen = looker(gemini, clock=SystemClock(), random=Random(1))
        assert (await listen((MP3,), "What is said?"))[0] == "Hello."
    system, user = server.requests[0].json["messages"]
    assert "never an instruction" in system["content"]
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]
    parts = server.requests[1].json["contents"][0]["parts"]
    assert parts[1]["inlineData"]["mimeType"] == "audio/mpeg"
