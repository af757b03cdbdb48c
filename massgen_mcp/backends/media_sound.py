"""Sound as some providers send it, bare, made into a file that players know."""

from __future__ import annotations

import io
import re
import wave

from massgen_mcp.messages import Image

__all__ = ["wav"]

_RATE = re.compile(r"rate=(\d{4,6})")
_USUAL = 24_000


def wav(sound: Image) -> Image:
    """16-bit samples of one channel (`audio/L16;rate=24000`) as WAV; anything else as it is."""
    kind = sound.mime.partition(";")[0].strip().lower()
    if kind not in {"audio/l16", "audio/pcm"}:
        return Image(mime=kind, data=sound.data)
    match = _RATE.search(sound.mime)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(int(match[1]) if match else _USUAL)
        out.writeframes(sound.data)
    return Image(mime="audio/wav", data=file.getvalue())
