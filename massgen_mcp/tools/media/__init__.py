"""Tools that look at pictures, sounds, videos and documents, and that make some."""

from __future__ import annotations

from massgen_mcp.tools.media.ports import Film, Look, MediaPorts, Paint, Speak
from massgen_mcp.tools.media.tools import MediaTools

__all__ = ["Film", "Look", "MediaPorts", "MediaTools", "Paint", "Speak"]
