"""The resources and prompts that the conformance runner asks for by name, beside our own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import mcp_types as types
from mcp.server.context import HandlerResult

from tests.conformance.asking import form
from tests.conformance.tools import IMAGE

__all__ = ["PROMPTS", "RESOURCES", "TEMPLATES", "prompt", "resource"]

RESOURCES = tuple(
    types.Resource(uri=f"test://{name}", name=name, description=f"A {name} resource.", mime_type=mime)
    for name, mime in (
        ("static-text", "text/plain"),
        ("static-binary", "image/png"),
        ("watched-resource", "text/plain"),
    )
)
TEMPLATES = (
    types.ResourceTemplate(
        uri_template="test://template/{id}/data",
        name="template",
        description="A resource with a name in its address.",
        mime_type="application/json",
    ),
)
_TEXTS = {
    "test://static-text": "This is the content of the static text resource.",
    "test://watched-resource": "What is watched.",
}


def resource(uri: str) -> types.ReadResourceResult | None:
    """What is under that address; None: nothing of the runner's."""
    found: types.TextResourceContents | types.BlobResourceContents
    if uri in _TEXTS:
        found = types.TextResourceContents(uri=uri, mime_type="text/plain", text=_TEXTS[uri])
    elif uri == "test://static-binary":
        found = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=IMAGE)
    elif match := re.fullmatch(r"test://template/([^/]+)/data", uri):
        text = json.dumps({"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"})
        found = types.TextResourceContents(uri=uri, mime_type="application/json", text=text)
    else:
        return None
    return types.ReadResourceResult(contents=[found])


def _prompt(name: str, *arguments: str) -> types.Prompt:
    return types.Prompt(
        name=name,
        description=f"The runner's {name}.",
        arguments=[types.PromptArgument(name=each, description=each, required=True) for each in arguments],
    )


PROMPTS = (
    _prompt("test_simple_prompt"),
    _prompt("test_prompt_with_arguments", "arg1", "arg2"),
    _prompt("test_prompt_with_embedded_resource", "resourceUri"),
    _prompt("test_prompt_with_image"),
    _prompt("test_input_required_result_prompt"),
)


def prompt(params: types.GetPromptRequestParams) -> HandlerResult:
    """One prompt; None: none of the runner's."""
    given: Mapping[str, str] = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            return _said("This is a simple prompt for testing.")
        case "test_prompt_with_arguments":
            return _said(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")
        case "test_prompt_with_embedded_resource":
            contents = types.TextResourceContents(
                uri=given["resourceUri"],
                mime_type="text/plain",
                text="Embedded resource content for testing.",
            )
            embedded = types.EmbeddedResource(type="resource", resource=contents)
            return _said(embedded, "Please process the embedded resource above.")
        case "test_prompt_with_image":
            image = types.ImageContent(type="image", data=IMAGE, mime_type="image/png")
            return _said(image, "Please analyze the image above.")
        case "test_input_required_result_prompt":
            return _with_context(params)
        case _:
            return None


def _with_context(params: types.GetPromptRequestParams) -> HandlerResult:
    reply = (params.input_responses or {}).get("user_context")
    if not isinstance(reply, types.ElicitResult):
        ask = form("What should the prompt know?", context={"type": "string"})
        return types.InputRequiredResult(input_requests={"user_context": ask})
    return _said(f"Use this: {(reply.content or {}).get('context', 'nothing')}")


def _said(*contents: str | types.ContentBlock) -> types.GetPromptResult:
    blocks = [
        types.TextContent(type="text", text=each) if isinstance(each, str) else each for each in contents
    ]
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=block) for block in blocks]
    )
