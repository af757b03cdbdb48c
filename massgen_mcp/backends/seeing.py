"""What a model that can't see is told of the pictures that tools gave."""

from __future__ import annotations

from dataclasses import replace

from massgen_mcp.messages import Image, Message, Request, ToolResult

__all__ = ["blind", "shown_by", "shown_later", "told"]


def blind(request: Request) -> Request:
    """The request with words in place of the pictures of tools' results."""
    if not any(result.images for message in request.messages for result in message.results):
        return request
    messages = (
        replace(message, results=tuple(told(result) for result in message.results))
        for message in request.messages
    )
    return replace(request, messages=tuple(messages))


def told(result: ToolResult) -> ToolResult:
    """The same with words in place of its pictures."""
    count = len(result.images)
    if not count:
        return result
    what = "a picture" if count == 1 else f"{count} pictures"
    words = f"[Here came {what}, which you can't be shown. A tool such as understand_image can describe it.]"
    return replace(result, content="\n".join(part for part in (result.content, words) if part), images=())


def shown_later(message: Message) -> tuple[tuple[str, tuple[Image, ...]], ...]:
    """For dialects whose results hold text alone: what each result shows, under a heading of its own."""
    return tuple((shown_by(result), result.images) for result in message.results if result.images)


def shown_by(result: ToolResult) -> str:
    """The heading above what a result shows."""
    return f"Shown by the tool call {result.call_id}:"
