from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.errors import BackendError, MassgenError
from massgen_mcp.messages import Image, ToolCall, ToolResult
from massgen_mcp.tools.media import MediaPorts, MediaTools
from massgen_mcp.tools.media.child import Launcher, Unfinished, run_confined
from massgen_mcp.tools.media.kinds import document_kind, ending_for, image_mime, sound_mime, video_mime
from massgen_mcp.usage import Usage
from massgen_mcp.workspace.confinement import Confinement

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20
MP3 = b"ID3" + b"0" * 20
MP4 = b"\0\0\0\x18ftypmp42" + b"0" * 20
PAID = Usage(requests=1, input=3)


class Plain:
    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        return ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(confinement.cwd), *argv)


class Stage:
    """An agent with files, and a provider that remembers what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"a.png": PNG, "a.mp3": MP3, "a.mp4": MP4, "a.txt": b"text"}
        self.asked: list[tuple[Any, ...]] = []
        self.paid: list[tuple[str, Usage]] = []
        self.closed: set[str] = set()

    async def read(self, path: str, most: int) -> bytes:
        if path not in self.files:
            raise MassgenError(f"There is no {path}.")
        if len(self.files[path]) > most:
            raise MassgenError(f"{path} is too large.")
        return self.files[path]

    async def write(self, path: str, data: bytes) -> None:
        if path in self.closed:
            raise MassgenError(f"{path} can't be written.")
        self.files[path] = data

    async def pay(self, name: str, usage: Usage) -> None:
        self.paid.append((name, usage))

    async def look(self, material: Sequence[Image], prompt: str) -> tuple[str, Usage]:
        self.asked.append((tuple(image.mime for image in material), prompt))
        return "A cat.", PAID

    async def paint(self, prompt: str, images: Sequence[Image], size: str) -> tuple[Image, Usage]:
        self.asked.append((prompt, len(images), size))
        return Image(mime="image/png", data=PNG), PAID

    async def speak(self, text: str, voice: str, instructions: str) -> tuple[Image, Usage]:
        self.asked.append((text, voice, instructions))
        return Image(mime="audio/mpeg", data=MP3), PAID

    async def film(self, prompt: str, images: Sequence[Image]) -> tuple[Image, Usage]:
        if prompt == "nothing":
            raise BackendError("The model declined.", kind="refusal")
        self.asked.append((prompt, len(images)))
        return Image(mime="video/mp4", data=MP4), PAID

    @property
    def ports(self) -> MediaPorts:
        return MediaPorts(
            see=self.look,
            hear=self.look,
            watch=self.look,
            paint=self.paint,
            speak=self.speak,
            film=self.film,
        )

    def tools(
        self, ports: MediaPorts | None = None, *, sandbox: Launcher | None = None, **options: Any
    ) -> MediaTools:
        return MediaTools(
            self.ports if ports is None else ports,
            read=self.read,
            write=self.write,
            paid=self.pay,
            sandbox=sandbox,
            **options,
        )


async def call(tools: MediaTools, name: str, **arguments: Any) -> ToolResult:
    return await tools.call(ToolCall(id="1", name=name, arguments=json.dumps(arguments)))


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_nobody_need_be_told_of_what_is_paid(stage: Stage) -> None:
    tools = MediaTools(stage.ports, read=stage.read, write=stage.write, sandbox=None)
    assert (await call(tools, "understand_image", image_path="a.png")).content == "A cat."
    assert (await call(tools, "understand_file", file_path="a.txt")).content == "text"


async def test_pictures_are_looked_at_by_a_model_that_sees(stage: Stage) -> None:
    result = await call(stage.tools(), "understand_image", image_path=["a.png", "a.png"], prompt="Why?")
    assert (result.content, result.images) == ("A cat.", ())
    await call(stage.tools(), "understand_image", image_path="a.png")
    assert stage.asked[0] == (("image/png", "image/png"), "Why?")
    assert stage.asked[1][1].startswith("Describe")
    assert stage.paid == [("understand_image", PAID)] * 2


async def test_an_agent_that_sees_is_shown_them_itself_for_nothing(stage: Stage) -> None:
    result = await call(stage.tools(sees=True), "understand_image", image_path="a.png")
    assert result.content == "Here is a.png."
    assert result.images == (Image(mime="image/png", data=PNG),)
    assert stage.asked == stage.paid == []


async def test_sounds_are_written_down_or_asked_about(stage: Stage) -> None:
    await call(stage.tools(), "understand_audio", audio_path="a.mp3")
    await call(stage.tools(), "understand_audio", audio_path="a.mp3", prompt="Who?")
    assert stage.asked[0][0] == ("audio/mpeg",)
    assert stage.asked[0][1].startswith("Write down what is said")
    assert stage.asked[1][1] == "Who?"


async def test_a_video_is_watched_whole_where_a_model_can(stage: Stage) -> None:
    assert (await call(stage.tools(), "understand_video", video_path="a.mp4")).content == "A cat."
    assert stage.asked[0][0] == ("video/mp4",)


async def test_things_that_are_made_lie_in_the_workspace(stage: Stage) -> None:
    tools = stage.tools()
    first = await call(tools, "generate_image", prompt="A cat.", images=["a.png"], size="1024x1024")
    second = await call(
        tools, "generate_audio", text="Hello.", voice="v", instructions="i", output_path="s/x.mp3"
    )
    third = await call(tools, "generate_video", prompt="A cat.", image="a.png")
    assert first.content == f"Made image-1.png (image/png, {len(PNG)} bytes)."
    assert second.content.startswith("Made s/x.mp3 (audio/mpeg")
    assert third.content.startswith("Made video-3.mp4 (video/mp4")
    assert (stage.files["image-1.png"], stage.files["s/x.mp3"], stage.files["video-3.mp4"]) == (PNG, MP3, MP4)
    assert stage.asked == [("A cat.", 1, "1024x1024"), ("Hello.", "v", "i"), ("A cat.", 1)]
    assert [name for name, _ in stage.paid] == ["generate_image", "generate_audio", "generate_video"]


async def test_an_agent_that_sees_is_shown_what_it_made(stage: Stage) -> None:
    result = await call(stage.tools(sees=True), "generate_image", prompt="A cat.")
    assert result.images == (Image(mime="image/png", data=PNG),)


async def test_what_was_paid_for_is_not_lost_for_a_bad_path(stage: Stage) -> None:
    stage.closed.add("/etc/x.png")
    result = await call(stage.tools(), "generate_image", prompt="A cat.", output_path="/etc/x.png")
    assert result.content.endswith("Not where you wanted it: /etc/x.png can't be written.")
    assert stage.files["image-1.png"] == PNG


async def test_a_tool_that_nobody_offers_is_left_out_or_says_why(stage: Stage) -> None:
    bare = MediaPorts(why={"film": "OpenAI's video API was shut down."})
    tools = stage.tools(bare)
    assert [spec.name for spec in tools.specs] == ["understand_image", "understand_video", "understand_file"]
    asked = stage.tools(bare, names={"generate_video", "generate_image"})
    assert asked.warnings == (
        "generate_image: no provider that is set up here offers it.",
        "generate_video: OpenAI's video API was shut down.",
    )
    for name, said in (
        ("generate_video", "shut down"),
        ("generate_image", "no provider that is set up here"),
    ):
        result = await call(asked, name, prompt="x")
        assert result.is_error
        assert said in result.content
    for name, path in (("understand_image", "image_path"), ("understand_video", "video_path")):
        result = await call(tools, name, **{path: "a.png" if "image" in name else "a.mp4"})
        assert "can't be done here" in result.content


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("understand_image", {"image_path": "nope.png"}, "There is no nope.png."),
        ("understand_image", {"image_path": "a.txt"}, "a.txt is no picture of a kind that is taken"),
        ("understand_image", {}, "image_path is missing"),
        ("understand_audio", {"audio_path": "a.txt"}, "a.txt is no sound"),
        ("understand_video", {"video_path": "a.txt"}, "a.txt is no video"),
        ("generate_video", {"prompt": "nothing"}, "The model declined."),
        ("generate_image", {"prompt": 3}, "prompt must be string"),
        ("other", {}, "There is no tool named 'other'"),
    ],
    ids=["missing", "text", "argument", "sound", "video", "declined", "type", "tool"],
)
async def test_what_fails_is_an_error_for_the_model(
    stage: Stage, name: str, arguments: dict[str, Any], said: str
) -> None:
    result = await call(stage.tools(), name, **arguments)
    assert result.is_error
    assert said in result.content


async def test_arguments_that_are_no_json_are_refused(stage: Stage) -> None:
    result = await stage.tools().call(ToolCall(id="1", name="understand_file", arguments="{"))
    assert result.is_error


def test_looking_may_be_repeated_and_nothing_has_effects_outside(stage: Stage) -> None:
    tools = stage.tools()
    assert tools.idempotent("understand_image")
    assert not tools.idempotent("generate_image")
    assert not tools.side_effects("generate_image")
    assert tools.warnings == ()


def test_kinds_are_known_by_content() -> None:
    wave, mpeg = b"RIFF0000WAVE", b"\xff\xfb\x90"
    sounds = [wave, MP3, mpeg, b"OggS", b"fLaC", b"\xff\xf1", b"\x1aE\xdf\xa3", MP4, b"\xff", b"text"]
    assert [sound_mime(data) for data in sounds] == [
        *("audio/wav", "audio/mpeg", "audio/mpeg", "audio/ogg", "audio/flac"),
        *("audio/aac", "audio/webm", "audio/mp4", None, None),
    ]
    pictures = [PNG, b"\xff\xd8\xff", b"GIF89a", b"RIFF0000WEBP", b"%PDF"]
    assert [image_mime(data) for data in pictures] == [
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        None,
    ]
    videos = [MP4, b"\0\0\0\0ftypqt  ", b"\x1aE\xdf\xa3", b"RIFF0000AVI ", b"x"]
    assert [video_mime(data) for data in videos] == [
        *("video/mp4", "video/quicktime", "video/webm", "video/x-msvideo"),
        None,
    ]
    assert document_kind("a.doc", b"\xd0\xcf\x11\xe0") == ".doc"
    assert document_kind("a", b"\xd0\xcf\x11\xe0") == ".doc"
    assert document_kind("a.bin", b"\0") == ".bin"
    assert document_kind("a", b"\0") == "binary"
    assert document_kind("a.zip", b"PK\x03\x04 no archive") == ".zip"
    assert ending_for("x/y") == "bin"


# Frames.


def film(folder: Path, *, seconds: int = 2) -> bytes:
    path = folder / "film.mp4"
    source = f"testsrc=duration={seconds}:size=320x240:rate=10"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, str(path)]
    subprocess.run(command, check=True)  # noqa: S603 - the command of this file
    return path.read_bytes()


async def test_a_video_is_looked_at_in_frames_where_no_model_takes_it_whole(
    stage: Stage, tmp_path: Path
) -> None:
    stage.files["film.mp4"] = film(tmp_path)
    ports = MediaPorts(see=stage.look)
    result = await call(
        stage.tools(ports, sandbox=Plain()), "understand_video", video_path="film.mp4", num_frames=3
    )
    assert result.content == "A cat."
    assert stage.asked[0][0] == ("image/jpeg",) * 3
    assert stage.asked[0][1].startswith(
        "These are 3 frames of film.mp4, evenly spread over its 2 s. Describe"
    )
    shown = await call(
        stage.tools(MediaPorts(), sees=True, sandbox=Plain()), "understand_video", video_path="film.mp4"
    )
    assert len(shown.images) == 8


async def test_a_broken_video_is_told(stage: Stage) -> None:
    tools = stage.tools(MediaPorts(), sees=True, sandbox=Plain())
    result = await call(tools, "understand_video", video_path="a.mp4")
    assert result.is_error
    assert "can't be taken apart" in result.content


async def test_without_ffmpeg_or_a_sandbox_frames_are_refused_with_the_remedy(
    stage: Stage, tmp_path: Path
) -> None:
    tools = stage.tools(MediaPorts(), sees=True, environ={"PATH": str(tmp_path)})
    assert "has to install ffmpeg" in (await call(tools, "understand_video", video_path="a.mp4")).content
    for name in ("ffmpeg", "ffprobe"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert "in a sandbox alone" in (await call(tools, "understand_video", video_path="a.mp4")).content


async def test_a_video_that_does_not_say_its_length_and_gives_no_frame_is_told(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "ffprobe").write_text("#!/bin/sh\necho N/A\n")
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    for name in ("ffmpeg", "ffprobe"):
        (tmp_path / name).chmod(0o755)
    tools = stage.tools(MediaPorts(), sees=True, sandbox=Plain(), environ={"PATH": str(tmp_path)})
    stage.files["a.b c"] = MP4
    assert "holds no frame" in (await call(tools, "understand_video", video_path="a.b c")).content


# The confined child.


async def run(code: str, *, seconds: float = 20, most: int = 1000, program: str = sys.executable) -> bytes:
    confinement = Confinement(cwd=Path("/"))
    return await run_confined(
        (program, "-S", "-c", code), confinement, Plain(), environ={}, seconds=seconds, most=most
    )


async def test_a_child_gives_its_output_or_the_reason() -> None:
    assert await run("print('x')") == b"x\n"
    for code, seconds, why in (
        ("import time; time.sleep(60)", 0.3, "longer than 0.3 s"),
        ("print('x' * 5000)", 20, "too large"),
        ("raise SystemExit('no luck')", 20, "no luck"),
        ("raise SystemExit(3)", 20, "exit code 3"),
    ):
        with pytest.raises(Unfinished, match=why):
            await run(code, seconds=seconds)


async def test_a_program_that_can_t_be_started_is_told() -> None:
    class Gone:
        def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
            return ("/nowhere",)

    with pytest.raises(Unfinished, match="can't be started"):
        await run_confined(("x",), Confinement(cwd=Path("/")), Gone(), environ={}, seconds=1, most=1)


async def test_a_disk_that_fails_and_an_endless_ending_are_errors_for_the_model(stage: Stage) -> None:
    class Full(Stage):
        async def read(self, path: str, most: int) -> bytes:
            raise OSError(28, "No space left on device")

    full = await call(Full().tools(), "understand_image", image_path="a.png")
    assert (full.is_error, full.content) == (True, "understand_image failed: No space left on device.")
    stage.files[f"a.{'x' * 253}"] = MP4
    tools = stage.tools(MediaPorts(), sees=True, sandbox=Plain())
    assert "taken apart" in (await call(tools, "understand_video", video_path=f"a.{'x' * 253}")).content


def test_a_packed_file_of_endless_parts_is_known_without_listing_them() -> None:
    entry = b"PK\x01\x02" + bytes(24) + b"\x05\0" + bytes(16) + b"word/"
    bomb = b"PK\x03\x04[Content_Types].xml" + entry * 400_000
    begun = time.process_time()

    assert document_kind("a.docx", bomb) == "docx"
    assert time.process_time() - begun < 0.5
