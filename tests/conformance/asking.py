"""The runner's tools that ask the client for something: by a request to it, or by a reply that asks."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import mcp_types as types
from mcp.server.context import HandlerResult
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.conformance.tools import Call, said, tool

__all__ = ["ask_name", "form"]

_Asks: TypeAlias = "dict[str, types.InputRequest]"


def _schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def form(message: str, **properties: Mapping[str, Any]) -> types.ElicitRequest:
    """A question to the user."""
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=message, requested_schema=_schema(**properties))
    )


def ask_name(message: str = "What is your name?") -> types.ElicitRequest:
    """The question that most of these tools ask."""
    return form(message, name={"type": "string"})


def _sample(text: str) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=text))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=100)
    )


# In the older era the server makes a request of its own.


@tool(_schema(prompt={"type": "string"}))
async def test_sampling(call: Call) -> HandlerResult:
    """Ask the client's model."""
    message = types.SamplingMessage(
        role="user", content=types.TextContent(type="text", text=call.arguments["prompt"])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        reply = await call.ctx.session.create_message(  # pyright: ignore[reportDeprecated] - the suite has it
            [message], max_tokens=100, related_request_id=call.ctx.request_id
        )
    words = reply.content.text if isinstance(reply.content, types.TextContent) else "no text"
    return said(f"LLM response: {words}")


async def _elicit(call: Call, message: str, schema: dict[str, Any]) -> str:
    reply = await call.ctx.session.elicit_form(message, schema, related_request_id=call.ctx.request_id)
    return f"action={reply.action}, content={json.dumps(reply.content)}"


@tool(_schema(message={"type": "string"}))
async def test_elicitation(call: Call) -> HandlerResult:
    """Ask the user for two words."""
    asked = _schema(username={"type": "string"}, email={"type": "string"})
    return said("User response: " + await _elicit(call, call.arguments["message"], asked))


@tool()
async def test_elicitation_sep1034_defaults(call: Call) -> HandlerResult:
    """A question with a default for each kind of value."""
    kinds: dict[str, Any] = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    asked: dict[str, Any] = {"type": "object", "properties": kinds, "required": []}
    return said("Elicitation completed: " + await _elicit(call, "Who are you?", asked))


@tool()
async def test_elicitation_sep1330_enums(call: Call) -> HandlerResult:
    """A question with a choice of each kind."""
    words: Any = ["option1", "option2", "option3"]
    titled: Any = [
        {"const": f"value{number}", "title": f"{word} choice"}
        for number, word in enumerate(("First", "Second", "Third"), start=1)
    ]
    legacy: Any = {
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    }
    asked = _schema(
        untitledSingle={"type": "string", "enum": words},
        titledSingle={"type": "string", "oneOf": titled},
        legacyEnum={"type": "string", **legacy},
        untitledMulti={"type": "array", "items": {"type": "string", "enum": words}},
        titledMulti={"type": "array", "items": {"anyOf": titled}},
    )
    return said("Elicitation completed: " + await _elicit(call, "Which?", asked))


# In the newer era the reply asks, and the client calls again with what was asked for.


def _required(asks: _Asks, state: str | None = None) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=asks, request_state=state)


def _given(call: Call) -> Mapping[str, Any]:
    return call.params.input_responses or {}


def _word(reply: Any, key: str) -> str:
    content = reply.content if isinstance(reply, types.ElicitResult) else None
    return str((content or {}).get(key, "nothing"))


@tool()
async def test_input_required_result_elicitation(call: Call) -> HandlerResult:
    """Ask for a name."""
    if "user_name" in _given(call):
        return said(f"Hello, {_word(_given(call)['user_name'], 'name')}!")
    return _required({"user_name": ask_name()})


@tool()
async def test_streaming_elicitation(call: Call) -> HandlerResult:
    """Progress, then a question; never a request to the client."""
    await call.ctx.session.report_progress(1, 2, "about to ask")
    return _required({"user_name": ask_name()})


@tool()
async def test_input_required_result_sampling(call: Call) -> HandlerResult:
    """Ask the client's model."""
    reply = _given(call).get("capital_question")
    if reply is None:
        return _required({"capital_question": _sample("What is the capital of France?")})
    content = getattr(reply, "content", None)
    return said(f"The model says: {getattr(content, 'text', 'nothing')}")


@tool()
async def test_input_required_result_list_roots(call: Call) -> HandlerResult:
    """Ask for the client's folders."""
    reply = _given(call).get("client_roots")
    if reply is None:
        return _required({"client_roots": types.ListRootsRequest()})
    return said(f"{len(getattr(reply, 'roots', ()))} roots")


@tool()
async def test_input_required_result_request_state(call: Call) -> HandlerResult:
    """Ask, with a state that has to come back."""
    if "confirm" in _given(call) and call.params.request_state == "a-state":
        return said("state-ok")
    return _required({"confirm": form("Go on?", ok={"type": "boolean"})}, "a-state")


@tool()
async def test_input_required_result_tampered_state(call: Call) -> HandlerResult:
    """The same; what comes back altered never gets here."""
    if call.params.request_state is not None:
        return said("state-ok")
    return _required({"confirm": form("Go on?", ok={"type": "boolean"})}, "round-one")


@tool()
async def test_input_required_result_multiple_inputs(call: Call) -> HandlerResult:
    """Ask for three things at once."""
    asks: _Asks = {
        "user_name": ask_name(),
        "greeting": _sample("Greet somebody."),
        "client_roots": types.ListRootsRequest(),
    }
    if asks.keys() <= _given(call).keys():
        return said("All three came.")
    return _required(asks, "three-things")


@tool()
async def test_input_required_result_multi_round(call: Call) -> HandlerResult:
    """Ask twice, with another state each time."""
    state: dict[str, Any] = json.loads(call.params.request_state or "{}")
    given = _given(call)
    if state.get("round") == 1 and "step1" in given:
        kept = json.dumps({"round": 2, "name": _word(given["step1"], "name")})
        return _required({"step2": form("Which colour?", color={"type": "string"})}, kept)
    if state.get("round") == 2 and "step2" in given:
        return said(f"{state['name']} likes {_word(given['step2'], 'color')}.")
    return _required({"step1": ask_name("First, your name?")}, json.dumps({"round": 1}))


@tool()
async def test_input_required_result_capabilities(call: Call) -> HandlerResult:
    """Ask only for what the client can give."""
    declared = call.ctx.session.client_capabilities
    asks: _Asks = {}
    if declared is not None and declared.sampling is not None:
        asks["sample"] = _sample("Say something.")
    if declared is not None and declared.elicitation is not None:
        asks["ask"] = ask_name()
    return _required(asks, "what-it-can")
