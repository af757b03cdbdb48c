"""The media tools of one agent."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from massgen_mcp.errors import MassgenError
from massgen_mcp.messages import Image, ToolCall, ToolResult, ToolSpec, parse_arguments
from massgen_mcp.text import visible
from massgen_mcp.tools.custom.arguments import wrong_arguments
from massgen_mcp.tools.media.child import Launcher
from massgen_mcp.tools.media.documents import Unreadable, read_text_of
from massgen_mcp.tools.media.frames import NoFrames, frames_of
from massgen_mcp.tools.media.kinds import ending_for, image_mime, sound_mime, video_mime
from massgen_mcp.tools.media.ports import MediaPorts
from massgen_mcp.tools.media.specs import SPECS
from massgen_mcp.usage import Usage

__all__ = ["MediaTools"]

_PORT = {
    "understand_audio": "hear",
    "generate_image": "paint",
    "generate_audio": "speak",
    "generate_video": "film",
}
"""Tools that nothing can replace -> the port they need."""
_MAKES = {"generate_image": "image", "generate_audio": "audio", "generate_video": "video"}

_MIB = 1024 * 1024
_IMAGE, _SOUND, _WATCHED, _VIDEO, _DOCUMENT = 5 * _MIB, 18 * _MIB, 14 * _MIB, 64 * _MIB, 32 * _MIB
_ENDING = 10
_DESCRIBE = "Describe what is to be seen, in detail."
_TRANSCRIBE = "Write down what is said, word for word. Where nothing is said, describe what is to be heard."

Read: TypeAlias = Callable[[str, int], Awaitable[bytes]]
Write: TypeAlias = Callable[[str, bytes], Awaitable[None]]
Paid: TypeAlias = Callable[[str, Usage], Awaitable[None]]


async def _nothing(name: str, usage: Usage) -> None:
    del name, usage


class _Wrong(Exception):
    """The call can't be served; the text says why."""


@dataclass(frozen=True, slots=True)
class _Given:
    """Text and pictures for the model."""

    text: str
    images: tuple[Image, ...] = ()


class MediaTools:
    """Tools over what providers offer. A tool without its port is there, and says why it can't be used.

    Args:
        ports: what providers offer.
        names: which tools there are; absent: all that have their port, and those that need none.
        sees: whether the agent's own model can be shown pictures: then it looks itself, which costs no more.
        read: a file of the agent's areas, of at most so many bytes.
        write: a file of its workspace.
        sandbox: for readers of untrusted files; None where none works.
        environ: for PATH, where ffmpeg is looked for.
        paid: told what a call has used, before its result is given.
    """

    def __init__(
        self,
        ports: MediaPorts,
        *,
        names: Collection[str] | None = None,
        sees: bool = False,
        read: Read,
        write: Write,
        sandbox: Launcher | None,
        environ: Mapping[str, str] = os.environ,
        paid: Paid = _nothing,
    ) -> None:
        self._ports = ports
        self._names = tuple(name for name in SPECS if self._wanted(name, names))
        self._sees = sees
        self._read = read
        self._write = write
        self._sandbox = sandbox
        self._environ = environ
        self._paid = paid
        self._made = 0
        self._tools: dict[str, Callable[[dict[str, Any]], Awaitable[_Given]]] = {
            "understand_image": self._understand_image,
            "understand_audio": self._understand_audio,
            "understand_video": self._understand_video,
            "understand_file": self._understand_file,
            "generate_image": self._generate_image,
            "generate_audio": self._generate_audio,
            "generate_video": self._generate_video,
        }

    def _wanted(self, name: str, names: Collection[str] | None) -> bool:
        if names is not None:
            return name in names
        return name not in _PORT or getattr(self._ports, _PORT[name]) is not None

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The definitions."""
        return tuple(SPECS[name] for name in self._names)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Tools that were asked for and can't be used."""
        missing = ((name, _PORT[name]) for name in self._names if name in _PORT)
        return tuple(
            f"{name}: {self._why(port)}" for name, port in missing if getattr(self._ports, port) is None
        )

    def idempotent(self, name: str) -> bool:
        """Looking may be repeated; making costs again."""
        return name in self._names and name not in _MAKES

    def side_effects(self, name: str) -> bool:
        """None but files in the agent's own workspace."""
        del name
        return False

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call. Failures are results with `is_error`."""
        if call.name not in self._names:
            return _error(call, f"There is no tool named {call.name!r}.")
        try:
            given = parse_arguments(call)
            if wrong := wrong_arguments(SPECS[call.name].parameters, given):
                return _error(call, f"Wrong arguments: {wrong}.")
            found = await self._tools[call.name](given)
        except (MassgenError, NoFrames, Unreadable, ValueError, _Wrong) as error:
            return _error(call, visible(str(error)))
        except OSError as error:  # of the disk, in the middle of something
            return _error(call, f"{call.name} failed: {error.strerror or error}.")
        return ToolResult(call_id=call.id, content=found.text, images=found.images)

    def _why(self, port: str) -> str:
        return self._ports.why.get(port) or "no provider that is set up here offers it."

    def _need(self, port: str) -> Any:
        found = getattr(self._ports, port)
        if found is None:
            raise _Wrong(f"This can't be done here: {self._why(port)}")
        return found

    async def _ask(self, name: str, port: str, images: Sequence[Image], prompt: str) -> _Given:
        text, usage = await self._need(port)(images, prompt)
        await self._paid(name, usage)
        return _Given(text)

    # Understanding.

    async def _understand_image(self, given: dict[str, Any]) -> _Given:
        named: str | list[str] = given["image_path"]
        paths = [named] if isinstance(named, str) else named
        images = [await self._image(path) for path in paths]
        return await self._look("understand_image", images, given.get("prompt") or "", ", ".join(paths))

    async def _look(self, name: str, images: Sequence[Image], prompt: str, what: str) -> _Given:
        if self._sees:
            return _Given(f"Here is {what}.", tuple(images))
        return await self._ask(name, "see", images, prompt or _DESCRIBE)

    async def _image(self, path: str) -> Image:
        data = await self._read(path, _IMAGE)
        mime = image_mime(data)
        if mime is None:
            raise _Wrong(f"{path} is no picture of a kind that is taken: PNG, JPEG, WebP, GIF. Convert it.")
        return Image(mime=mime, data=data)

    async def _understand_audio(self, given: dict[str, Any]) -> _Given:
        path: str = given["audio_path"]
        self._need("hear")
        data = await self._read(path, _SOUND)
        mime = sound_mime(data)
        if mime is None:
            raise _Wrong(f"{path} is no sound of a kind that is taken: MP3, WAV, M4A, OGG, FLAC, WebM.")
        sound = Image(mime=mime, data=data)
        return await self._ask("understand_audio", "hear", [sound], given.get("prompt") or _TRANSCRIBE)

    async def _understand_video(self, given: dict[str, Any]) -> _Given:
        path: str = given["video_path"]
        data = await self._read(path, _VIDEO)
        mime = video_mime(data)
        if mime is None:
            raise _Wrong(f"{path} is no video of a kind that is taken: MP4, MOV, WebM, MKV, AVI.")
        prompt = given.get("prompt") or ""
        if self._ports.watch is not None and len(data) <= _WATCHED:
            video = Image(mime=mime, data=data)
            return await self._ask("understand_video", "watch", [video], prompt or _DESCRIBE)
        if not self._sees:
            self._need("see")
        count = max(1, min(16, int(given.get("num_frames") or 8)))
        ending = PurePosixPath(path).suffix.lstrip(".").lower()
        ending = ending if ending.isalnum() and ending.isascii() and len(ending) < _ENDING else "mp4"
        frames, seconds = await frames_of(data, ending, count, sandbox=self._sandbox, environ=self._environ)
        what = f"{len(frames)} frames of {path}, evenly spread over its {seconds:.0f} s"
        question = f"These are {what}. {prompt or _DESCRIBE}"
        return await self._look("understand_video", frames, question, what)

    async def _understand_file(self, given: dict[str, Any]) -> _Given:
        path: str = given["file_path"]
        data = await self._read(path, _DOCUMENT)
        most = max(1, min(60_000, int(given.get("max_chars") or 50_000)))
        pages = str(given.get("pages") or "")
        text = await read_text_of(path, data, pages=pages, most=most, sandbox=self._sandbox)
        return _Given(text or "(It is empty.)")

    # Making.

    async def _generate_image(self, given: dict[str, Any]) -> _Given:
        paint = self._need("paint")
        images = [await self._image(path) for path in given.get("images") or ()]
        made, usage = await paint(given["prompt"], images, given.get("size") or "")
        kept = await self._keep("generate_image", made, usage, given)
        return _Given(kept.text, (made,) if self._sees and len(made.data) <= _IMAGE else ())

    async def _generate_audio(self, given: dict[str, Any]) -> _Given:
        speak = self._need("speak")
        made, usage = await speak(given["text"], given.get("voice") or "", given.get("instructions") or "")
        return await self._keep("generate_audio", made, usage, given)

    async def _generate_video(self, given: dict[str, Any]) -> _Given:
        film = self._need("film")
        images = [await self._image(given["image"])] if given.get("image") else []
        made, usage = await film(given["prompt"], images)
        return await self._keep("generate_video", made, usage, given)

    async def _keep(self, name: str, made: Image, usage: Usage, given: Mapping[str, Any]) -> _Given:
        await self._paid(name, usage)
        self._made += 1
        usual = f"{_MAKES[name]}-{self._made}.{ending_for(made.mime)}"
        path, note = given.get("output_path") or usual, ""
        try:
            await self._write(path, made.data)
        except MassgenError as error:
            # It is paid for, so it is not lost for a bad path.
            path, note = usual, f" Not where you wanted it: {error}"
            await self._write(path, made.data)
        return _Given(f"Made {path} ({made.mime}, {len(made.data):,} bytes).{note}")


def _error(call: ToolCall, text: str) -> ToolResult:
    return ToolResult(call_id=call.id, content=text, is_error=True)
