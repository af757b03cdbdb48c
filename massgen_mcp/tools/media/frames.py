"""Single frames of a video, by ffmpeg in the sandbox."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import anyio

from massgen_mcp.messages import Image
from massgen_mcp.tools.media.child import Launcher, Unfinished, private_folder, run_confined
from massgen_mcp.workspace.confinement import Confinement, ProcessLimits

__all__ = ["NoFrames", "frames_of"]

_LIMITS = ProcessLimits(cpu_seconds=120, memory_bytes=2 * 1024**3, file_bytes=16 * 1024**2)
_SECONDS = 120.0
_WIDTH = 768
_MOST = 4 * 1024 * 1024
_ONLY_FILES = ("-protocol_whitelist", "file,pipe")
"""A playlist could name addresses and other files."""


class NoFrames(Exception):
    """There are none to be had; the text says why and what to do."""


async def frames_of(
    data: bytes, ending: str, count: int, *, sandbox: Launcher | None, environ: Mapping[str, str]
) -> tuple[tuple[Image, ...], float]:
    """So many frames, evenly spread, and the length of the video in seconds.

    Raises:
        NoFrames: as said.
    """
    path = environ.get("PATH", os.defpath)
    ffmpeg, ffprobe = shutil.which("ffmpeg", path=path), shutil.which("ffprobe", path=path)
    if ffmpeg is None or ffprobe is None:
        raise NoFrames("Videos are looked at in frames, for which the operator has to install ffmpeg.")
    if sandbox is None:
        raise NoFrames("Videos are taken apart in a sandbox alone, and none works here.")
    async with private_folder() as folder:
        file = folder / f"video.{ending}"
        await anyio.Path(file).write_bytes(data)
        maker = _Maker(folder, sandbox)
        try:
            seconds = await maker.length(ffprobe, file)
            await maker.cut(ffmpeg, file, seconds, count)
        except Unfinished as error:
            raise NoFrames(f"The video can't be taken apart: {error}.") from error
        images = [await anyio.Path(name).read_bytes() for name in _made(folder)]
    small = tuple(Image(mime="image/jpeg", data=image) for image in images[:count] if len(image) <= _MOST)
    if not small:
        raise NoFrames("The video holds no frame that can be shown.")
    return small, seconds


def _made(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("frame*.jpg")) if path.is_file() and not path.is_symlink()]


class _Maker:
    def __init__(self, folder: Path, sandbox: Launcher) -> None:
        self._confinement = Confinement(cwd=folder, write=(folder,), limits=_LIMITS)
        self._sandbox = sandbox

    async def _run(self, *argv: str) -> bytes:
        return await run_confined(
            argv,
            self._confinement,
            self._sandbox,
            environ={"PATH": os.defpath, "LANG": "C.UTF-8"},
            seconds=_SECONDS,
            most=64 * 1024,
        )

    async def length(self, ffprobe: str, file: Path) -> float:
        shown = ("-show_entries", "format=duration", "-of", "csv=p=0")
        out = await self._run(ffprobe, "-v", "error", *_ONLY_FILES, *shown, str(file))
        try:
            return max(0.0, min(float(out.strip() or b"0"), 1e6))
        except ValueError:  # N/A: it does not say
            return 0.0

    async def cut(self, ffmpeg: str, file: Path, seconds: float, count: int) -> None:
        # Without a length, the first frames.
        rate = f"fps={count / seconds:.6f}," if seconds > 0 else ""
        scale = f"{rate}scale='min({_WIDTH},iw)':-2"
        where = file.parent / "frame%02d.jpg"
        quiet = ("-nostdin", "-v", "error", *_ONLY_FILES, "-i", str(file), "-an", "-sn", "-dn")
        await self._run(ffmpeg, *quiet, "-vf", scale, "-frames:v", str(count), "-q:v", "4", str(where))
