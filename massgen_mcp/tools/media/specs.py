"""The definitions of the media tools."""

from __future__ import annotations

from typing import Any

from massgen_mcp.messages import ToolSpec

__all__ = ["SPECS"]

_TEXT = {"type": "string"}


def _spec(name: str, description: str, required: tuple[str, ...], **properties: Any) -> ToolSpec:
    return ToolSpec(
        name=name,
        description=description,
        parameters={
            "type": "object",
            "properties": properties,
            "required": list(required),
            "additionalProperties": False,
        },
    )


def _path(what: str) -> dict[str, str]:
    return {**_TEXT, "description": f"Path of the {what}."}


_PROMPT = {**_TEXT, "description": "What you want to know; absent: a description."}
_OUTPUT = {**_TEXT, "description": "Where to put it in your workspace; absent: a name is made up."}
_FROM = {"type": "array", "items": _TEXT, "maxItems": 4}

SPECS = {
    spec.name: spec
    for spec in (
        _spec(
            "understand_image",
            "Look at a picture (PNG, JPEG, WebP, GIF) or several.",
            ("image_path",),
            image_path={
                "anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 8}],
                "description": "Path of the picture, or several.",
            },
            prompt=_PROMPT,
        ),
        _spec(
            "understand_audio",
            "Listen to a sound file: what is said in it, or an answer about it.",
            ("audio_path",),
            audio_path=_path("sound file (MP3, WAV, M4A, OGG, FLAC, WebM)"),
            prompt={**_TEXT, "description": "What you want to know; absent: a transcript."},
        ),
        _spec(
            "understand_video",
            "Watch a video file.",
            ("video_path",),
            video_path=_path("video (MP4, MOV, WebM, MKV, AVI)"),
            prompt=_PROMPT,
            num_frames={
                "type": "integer",
                "minimum": 1,
                "maximum": 16,
                "default": 8,
                "description": "How many single frames to look at, where the video can't be watched whole.",
            },
        ),
        _spec(
            "understand_file",
            "The text of a document: PDF, DOCX, XLSX, PPTX or any text file.",
            ("file_path",),
            file_path=_path("document"),
            pages={
                **_TEXT,
                "description": "Of a PDF, slides or sheets: a page or a range, as 3 or 10-20.",
            },
            max_chars={"type": "integer", "minimum": 1, "maximum": 60000, "default": 50000},
        ),
        _spec(
            "generate_image",
            "Make a picture from a description, or change pictures. Costs money.",
            ("prompt",),
            prompt={**_TEXT, "description": "What it shows."},
            images={**_FROM, "description": "Paths of pictures to start from."},
            size={**_TEXT, "description": "Width x height, as 1024x1024; absent: what the provider likes."},
            output_path=_OUTPUT,
        ),
        _spec(
            "generate_audio",
            "Speak a text. Costs money.",
            ("text",),
            text={**_TEXT, "description": "What is said."},
            voice={**_TEXT, "description": "A voice of the provider's; absent: its usual one."},
            instructions={**_TEXT, "description": "How it is said."},
            output_path=_OUTPUT,
        ),
        _spec(
            "generate_video",
            "Make a short video from a description. Takes minutes and costs much more than a picture.",
            ("prompt",),
            prompt={**_TEXT, "description": "What happens in it."},
            image={**_TEXT, "description": "Path of a picture that it begins with."},
            output_path=_OUTPUT,
        ),
    )
}
