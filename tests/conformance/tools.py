"""The tools that the conformance runner calls by name, beside our own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import anyio
import mcp_types as types
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

__all__ = ["AUDIO", "EMPTY", "IMAGE", "TOOLS", "Call", "Fixture", "said", "tool"]

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
"""One red pixel, PNG."""
AUDIO = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA=="
"""One sample of silence, WAV."""
EMPTY: Mapping[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Call:
    """One call of a fixture."""

    ctx: ServerRequestContext[Any, Any]
    params: types.CallToolRequestParams

    @property
    def arguments(self) -> Mapping[str, Any]:
        return self.params.arguments or {}


Answer: TypeAlias = Callable[[Call], Awaitable[HandlerResult]]
_AnswerT = TypeVar("_AnswerT", bound=Answer)


@dataclass(frozen=True)
class Fixture:
    """A tool of the runner's: its definition and what it does."""

    definition: types.Tool
    answer: Answer = field(compare=False)


TOOLS: dict[str, Fixture] = {}


def tool(schema: Mapping[str, Any] = EMPTY) -> Callable[[_AnswerT], _AnswerT]:
    """Make a function a tool of its own name."""

    def add(answer: _AnswerT) -> _AnswerT:
        name = getattr(answer, "__name__", "")
        definition = types.Tool(name=name, description=answer.__doc__ or name, input_schema=dict(schema))
        TOOLS[name] = Fixture(definition, answer)
        return answer

    return add


def said(text: str, *, is_error: bool = False) -> types.CallToolResult:
    """A reply of one text."""
    return types.CallToolResult(is_error=is_error, content=[types.TextContent(type="text", text=text)])


async def _log(call: Call, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        await call.ctx.session.send_log_message(  # pyright: ignore[reportDeprecated] - the suite has it
            "info", text, related_request_id=call.ctx.request_id
        )


def _embedded(uri: str, mime: str, text: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(
        type="resource", resource=types.TextResourceContents(uri=uri, mime_type=mime, text=text)
    )


_PICTURE = types.ImageContent(type="image", data=IMAGE, mime_type="image/png")


@tool()
async def test_simple_text(call: Call) -> HandlerResult:
    """One text."""
    del call
    return said("This is a simple text response for testing.")


@tool()
async def test_image_content(call: Call) -> HandlerResult:
    """One picture."""
    del call
    return types.CallToolResult(content=[_PICTURE])


@tool()
async def test_audio_content(call: Call) -> HandlerResult:
    """One sound."""
    del call
    return types.CallToolResult(content=[types.AudioContent(type="audio", data=AUDIO, mime_type="audio/wav")])


@tool()
async def test_embedded_resource(call: Call) -> HandlerResult:
    """One resource."""
    del call
    embedded = _embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    return types.CallToolResult(content=[embedded])


@tool()
async def test_multiple_content_types(call: Call) -> HandlerResult:
    """A text, a picture and a resource."""
    del call
    text = types.TextContent(type="text", text="Multiple content types test:")
    mixed = json.dumps({"test": "data", "value": 123})
    embedded = _embedded("test://mixed-content-resource", "application/json", mixed)
    return types.CallToolResult(content=[text, _PICTURE, embedded])


@tool()
async def test_tool_with_logging(call: Call) -> HandlerResult:
    """Three messages for the client's log."""
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await _log(call, text)
        await anyio.sleep(0.05)
    return said("Logged.")


@tool()
async def test_logging_tool(call: Call) -> HandlerResult:
    """One message for the client's log."""
    await _log(call, "Something for the log")
    return said("Logged.")


@tool()
async def test_tool_with_progress(call: Call) -> HandlerResult:
    """Progress in three steps."""
    for done in (0.0, 50.0, 100.0):
        await call.ctx.session.report_progress(done, 100, f"{done:.0f} of 100")
        await anyio.sleep(0.05)
    return said("Progressed.")


@tool()
async def test_error_handling(call: Call) -> HandlerResult:
    """Always an error."""
    del call
    return said("This tool intentionally returns an error for testing", is_error=True)


@tool()
async def test_missing_capability(call: Call) -> HandlerResult:
    """Works only for a client that can sample."""
    declared = call.ctx.session.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "The client has not declared sampling.",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return said("The client can sample.")


@tool(
    {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    }
)
async def test_custom_headers(call: Call) -> HandlerResult:
    """An argument that is a header too."""
    return said(f"Region: {call.arguments.get('region', 'none')}")


@tool(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    }
)
async def json_schema_2020_12_tool(call: Call) -> HandlerResult:
    """A schema with everything that the dialect has."""
    del call
    return said("Taken.")


@tool({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]})
async def greet(call: Call) -> HandlerResult:
    """A greeting, never as a task."""
    return said(f"Hello, {call.arguments.get('name')}!")


@tool()
async def test_reconnection(call: Call) -> HandlerResult:
    """Close the stream in the middle, where the transport can; the reply is for who comes back."""
    if call.ctx.close_sse_stream is not None:
        await call.ctx.close_sse_stream()
    await anyio.sleep(0.1)
    return said("Reconnection test completed")
