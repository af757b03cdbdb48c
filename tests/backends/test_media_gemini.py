from __future__ import annotations

import base64
import io
import wave
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.gemini import Options
from massgen_mcp.backends.media_gemini import GeminiMedia, open_gemini_media
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import Clock, ScriptedClock, SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Image
from tests.backends.gemini_replies import last, refusal, said, stream
from tests.backends.wire import Cut, Stall, Wire, closed_port, http, http_json, make_context, wire

pytestmark = pytest.mark.anyio

KEY = "AIzaTest0123456789abcdefghij"
PNG = Image(mime="image/png", data=b"\x89PNG\r\n\x1a\n")


def part(mime: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}, **more}


async def open_media(
    server: Wire | str, pool: Pool, *, clock: Clock | None = None, **models: str
) -> GeminiMedia:
    url = server if isinstance(server, str) else server.url.removesuffix("/v1")
    options = Options.model_validate({"type": "gemini", "base_url": url, "api_key": KEY})
    context = make_context("gemini", pool, clock=clock or SystemClock())
    return await open_gemini_media(context, prices=Prices(), options=options, **models)


async def test_a_picture_is_asked_for_in_the_shape_nearest_to_a_size(pool: Pool) -> None:
    drawn = said({"text": "Here."}, part("image/png", b"draft", thought=True), part("image/png", b"drawn"))
    async with wire(drawn) as server:
        picture, usage = await (await open_media(server, pool)).paint("A cat.", (PNG,), "1920x1080")
    request = server.requests[0]
    assert request.target.startswith("/v1beta/models/gemini-3.1-flash-image:streamGenerateContent")
    assert request.headers["x-goog-api-key"] == KEY
    assert request.json == {
        "contents": [{"role": "user", "parts": [{"text": "A cat."}, part("image/png", PNG.data)]}],
        "generationConfig": {
            "responseModalities": ["TEXT", "IMAGE"],
            "imageConfig": {"aspectRatio": "16:9"},
        },
    }
    assert picture == Image(mime="image/png", data=b"drawn")
    assert usage.requests == 1
    assert usage.output > 0


@pytest.mark.parametrize(
    ("size", "ratio"), [("3:4", "3:4"), ("1024 x 1536", "2:3"), ("", None), ("large", None)]
)
async def test_a_shape_may_be_given_or_left_out(pool: Pool, size: str, ratio: str | None) -> None:
    async with wire(said(part("image/png", b"x"))) as server:
        await (await open_media(server, pool, painter="mine")).paint("A cat.", (), size)
    assert server.requests[0].json["generationConfig"].get("imageConfig", {}).get("aspectRatio") == ratio
    assert "/models/mine:" in server.requests[0].target


async def test_bare_samples_become_a_file_that_players_know(pool: Pool) -> None:
    async with wire(
        said(part("audio/L16;codec=pcm;rate=16000", b"\1\0\2\0")), said(part("audio/mp3", b"x"))
    ) as server:
        media = await open_media(server, pool)
        sound, _ = await media.speak("Hello.", "", "Say slowly:")
        other, _ = await media.speak("Hello.", "Puck", "")
    body = server.requests[0].json
    assert body["contents"][0]["parts"] == [{"text": "Say slowly: Hello."}]
    assert body["generationConfig"] == {
        "responseModalities": ["AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }
    assert sound.mime == "audio/wav"
    with wave.open(io.BytesIO(sound.data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16000, 1, 2)
    assert other == Image(mime="audio/mp3", data=b"x")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said({"text": "I can't draw that."}), "declined to answer: I can't draw that"),
        (said({"inlineData": {"mimeType": "image/png", "data": "%"}}), "neither a picture nor a reason"),
        (said({"inlineData": {"mimeType": "image/png"}}), "neither a picture nor a reason"),
        (stream(last(finish="IMAGE_SAFETY")), "IMAGE_SAFETY"),
        (http_json(400, refusal("bad size")), "bad size"),
        (http_json(403, refusal("no access", 403, "PERMISSION_DENIED")), "does not let the key"),
        ([Cut()], "broke before"),
        (stream(b"data: {nope\n\n"), "not JSON"),
    ],
    ids=["words", "garbled", "empty", "safety", "request", "access", "cut", "json"],
)
async def test_a_picture_that_does_not_come_is_an_error_and_not_ordered_again(
    pool: Pool, answer: Any, words: str
) -> None:
    async with wire(answer) as server:
        media = await open_media(server, pool)
        with pytest.raises(BackendError, match=words) as caught:
            await media.paint("A cat.", (), "")
    assert not caught.value.retryable
    assert len(server.requests) == 1


async def test_a_sound_that_does_not_come_or_takes_too_long_is_an_error(pool: Pool) -> None:
    async with wire(said({"text": "no"}), [Stall()]) as server:
        media = await open_media(server, pool)
        with pytest.raises(BackendError, match="it holds no sound"):
            await media.speak("Hello.", "", "")
        media.seconds = 0.2
        with pytest.raises(BackendError, match="took longer than"):
            await media.speak("Hello.", "", "")


# Videos.

STARTED = http_json(200, {"name": "models/veo/operations/op-1"})


def made(uri: str, **more: Any) -> bytes:
    samples = [{"video": {"uri": uri}}]
    answer = {"generateVideoResponse": {"generatedSamples": samples}, **more}
    return http_json(200, {"name": "models/veo/operations/op-1", "done": True, "response": answer})


async def filmed(media: GeminiMedia, clock: ScriptedClock, *images: Image) -> Image:
    """The video, with the clock moved on while it is waited for."""
    found: list[Image] = []

    async def film() -> None:
        found.append((await media.film("A cat.", images))[0])
        tasks.cancel_scope.cancel()

    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        try:
            await film()
        except BackendError as error:
            failure = error
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return found[0]


async def test_a_video_is_ordered_waited_for_and_fetched_in_pieces(pool: Pool) -> None:
    clock = ScriptedClock()
    pending = http_json(200, {"name": "models/veo/operations/op-1"})
    pieces = [
        http(206, b"first", "video/mp4", content_range="bytes 0-4/10"),
        http(206, b"other", "video/mp4", content_range="bytes 5-9/10"),
    ]
    async with wire() as server:
        uri = f"{server.url.removesuffix('/v1')}/v1beta/files/x:download?alt=media"
        server.answer(STARTED, pending, made(uri), *pieces)
        video = await filmed(await open_media(server, pool, clock=clock), clock, PNG)
    assert video == Image(mime="video/mp4", data=b"firstother")
    order, look, again, first, second = server.requests
    assert (order.method, order.target) == (
        "POST",
        "/v1beta/models/veo-3.1-generate-preview:predictLongRunning",
    )
    image = {"bytesBase64Encoded": base64.b64encode(PNG.data).decode(), "mimeType": "image/png"}
    assert order.json == {"instances": [{"prompt": "A cat.", "image": image}]}
    assert (
        (look.method, look.target)
        == (again.method, again.target)
        == ("GET", "/v1beta/models/veo/operations/op-1")
    )
    assert {request.headers["x-goog-api-key"] for request in server.requests} == {KEY}
    assert (first.headers["range"], second.headers["range"]) == ("bytes=0-7340031", "bytes=5-7340036")
    assert clock.monotonic() >= 20


async def test_a_video_is_fetched_from_google_alone(pool: Pool) -> None:
    clock = ScriptedClock()
    async with wire(STARTED, made("http://example.com/video")) as server:
        media = await open_media(server, pool, clock=clock)
        with pytest.raises(BackendError, match="at a host that is not Google's"):
            await filmed(media, clock)


async def test_a_redirect_of_a_video_is_followed_but_not_for_ever(pool: Pool) -> None:
    clock = ScriptedClock()
    async with wire() as server:
        address = f"{server.url.removesuffix('/v1')}/video"
        moved = http(302, b"", location="/elsewhere")
        server.answer(STARTED, made(address), moved, http(200, b"video", "video/mp4"))
        server.answer(STARTED, made(address), moved, moved, moved, moved)
        media = await open_media(server, pool, clock=clock)
        assert (await filmed(media, clock)).data == b"video"
        with pytest.raises(BackendError, match="leads in circles"):
            await filmed(media, clock)
    assert server.requests[3].target == "/elsewhere"


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([http_json(200, {"name": "../../files"})], "names no operation"),
        ([http_json(200, {})], "names no operation"),
        ([http(200, b"<html>", "text/html")], "not JSON"),
        ([http_json(429, refusal("quota", 429, "RESOURCE_EXHAUSTED"))], "quota"),
        ([http(500, b"oops")], "out of order"),
        (
            [STARTED, http_json(200, {"done": True, "error": {"code": 3, "message": "bad prompt"}})],
            "bad prompt",
        ),
        ([STARTED, http_json(200, {"done": True, "response": {}})], "no video came of it"),
        (
            [
                STARTED,
                http_json(
                    200,
                    {
                        "done": True,
                        "response": {"generateVideoResponse": {"raiMediaFilteredReasons": ["a celebrity"]}},
                    },
                ),
            ],
            "declined to answer: a celebrity",
        ),
        ([STARTED, "made", http(404, b"gone")], "gone|has no model"),
        ([STARTED, "made", http(200, b"", "video/mp4")], "empty or too large"),
        (
            [
                STARTED,
                "made",
                http(206, b"half", "video/mp4", content_range="bytes 0-3/9"),
                http(200, b"whole", "video/mp4"),
            ],
            "anew",
        ),
        ([[Cut()]], "broke before"),
    ],
    ids=[
        "path",
        "unnamed",
        "html",
        "quota",
        "server",
        "failed",
        "none",
        "filtered",
        "gone",
        "empty",
        "anew",
        "cut",
    ],
)
async def test_a_video_that_does_not_come_is_an_error(pool: Pool, answers: list[Any], words: str) -> None:
    clock = ScriptedClock()
    async with wire() as server:
        uri = f"{server.url.removesuffix('/v1')}/video"
        server.answer(*(made(uri) if answer == "made" else answer for answer in answers))
        with pytest.raises(BackendError, match=words) as caught:
            await filmed(await open_media(server, pool, clock=clock), clock)
    assert not caught.value.retryable


async def test_a_video_that_is_never_done_is_given_up(pool: Pool) -> None:
    clock = ScriptedClock()
    async with wire(*[STARTED] * 100) as server:
        with pytest.raises(BackendError, match="was not made within 900 s"):
            await filmed(await open_media(server, pool, clock=clock, filmer="veo-x"), clock)
    assert server.requests[0].target == "/v1beta/models/veo-x:predictLongRunning"


async def test_a_server_that_is_not_there_is_told(pool: Pool) -> None:
    media = await open_media(f"http://127.0.0.1:{closed_port()}", pool)
    with pytest.raises(BackendError, match="No connection"):
        await media.film("A cat.", ())


async def test_without_a_key_nothing_is_opened(pool: Pool) -> None:
    with pytest.raises(BackendError, match="needs a key"):
        await open_gemini_media(make_context("gemini", pool), prices=Prices())
    context = make_context("gemini", pool, environ={"GEMINI_API_KEY": KEY})
    assert isinstance(await open_gemini_media(context, prices=Prices()), GeminiMedia)
