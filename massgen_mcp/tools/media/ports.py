"""What media tools need of a provider: small callables, handed in by whoever knows providers.

Each gives its result with what it used, and raises `MassgenError` with words for the model that called.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from massgen_mcp.messages import Image
from massgen_mcp.usage import Usage

__all__ = ["Film", "Look", "MediaPorts", "Paint", "Speak"]

Look: TypeAlias = Callable[[Sequence[Image], str], Awaitable[tuple[str, Usage]]]
"""Pictures, sounds or videos and a question -> what a model says of them."""
Paint: TypeAlias = Callable[[str, Sequence[Image], str], Awaitable[tuple[Image, Usage]]]
"""A description, pictures to start from, a size or nothing -> a picture."""
Speak: TypeAlias = Callable[[str, str, str], Awaitable[tuple[Image, Usage]]]
"""A text, a voice or nothing, words on how to say it or nothing -> a sound."""
Film: TypeAlias = Callable[[str, Sequence[Image]], Awaitable[tuple[Image, Usage]]]
"""A description, a picture to begin with or none -> a video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPorts:
    """What there is; None for what nobody offers here."""

    see: Look | None = None
    hear: Look | None = None
    watch: Look | None = None
    """Takes a video as it is; without it, a video is looked at in single frames."""
    paint: Paint | None = None
    speak: Speak | None = None
    film: Film | None = None
    why: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name of a port that is None -> the reason and the remedy, in a sentence."""
