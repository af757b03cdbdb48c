"""What kind of file some bytes are, by their content, and by their name where content does not tell."""

from __future__ import annotations

from pathlib import PurePosixPath

__all__ = ["document_kind", "ending_for", "image_mime", "sound_mime", "video_mime"]

_ENDINGS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "video/mp4": "mp4",
}
_SOUNDS = (
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"\x1aE\xdf\xa3", "audio/webm"),
)
_SYNC_AND_LAYER, _LAYER_3 = 0xE6, 0xE2
_OFFICE = {b"word/": "docx", b"xl/work": "xlsx", b"ppt/": "pptx"}
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"


def image_mime(data: bytes) -> str | None:
    """The media type of a picture that every provider takes."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def sound_mime(data: bytes) -> str | None:
    """The media type of a sound."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "audio/wav"
    if data[4:8] == b"ftyp":
        return "audio/mp4"
    found = next((mime for start, mime in _SOUNDS if data.startswith(start)), None)
    return found or ("audio/mpeg" if _is_mpeg(data[:2]) else None)


def _is_mpeg(head: bytes) -> bool:
    """Whether an MPEG frame of layer III begins here: eleven bits set, then version and layer."""
    return head[:1] == b"\xff" and len(head) > 1 and head[1] & _SYNC_AND_LAYER == _LAYER_3


def video_mime(data: bytes) -> str | None:
    """The media type of a video."""
    if data[4:8] == b"ftyp":
        return "video/quicktime" if data[8:12] == b"qt  " else "video/mp4"
    if data.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm"
    return "video/x-msvideo" if data[:4] == b"RIFF" and data[8:12] == b"AVI " else None


def document_kind(name: str, data: bytes) -> str:
    """`pdf`, `docx`, `xlsx`, `pptx`, `text`, or what it seems to be where it can't be read, as `.doc`."""
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"PK"):
        return _packed(data) or ".zip"
    if data.startswith(_OLD_OFFICE):
        return PurePosixPath(name).suffix.lower() or ".doc"
    return "text" if b"\0" not in data[:8192] else (PurePosixPath(name).suffix.lower() or "binary")


def _packed(data: bytes) -> str | None:
    """Told by the names of its parts, which are never packed: to list them here, there could be too many."""
    if b"[Content_Types].xml" not in data:
        return None
    return next((kind for part, kind in _OFFICE.items() if part in data), None)


def ending_for(mime: str) -> str:
    """How a file of that type ends."""
    return _ENDINGS.get(mime, "bin")
