"""OpenAI by the Responses API."""

from __future__ import annotations

from typing import Literal

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.responses_backend import Place
from massgen_mcp.backends.responses_open import (
    CODE_INTERPRETER,
    WEB_SEARCH,
    find_base_url,
    find_model,
    open_responses,
    wants_code,
)
from massgen_mcp.backends.responses_options import ResponsesOptions

__all__ = ["Options", "connect"]


class Options(ResponsesOptions):
    """The backend block of `type: openai`."""

    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    organization: str | None = None
    project: str | None = None


async def connect(options: Options, context: BackendContext) -> ModelBackend:
    """A backend ready to be asked.

    Raises:
        BackendError: the address may not be used, or a key is missing.
    """
    tools = [WEB_SEARCH] if options.enable_web_search else []
    tools += [CODE_INTERPRETER] if wants_code(options) else []
    identity = {"OpenAI-Organization": options.organization, "OpenAI-Project": options.project}
    place = Place(
        base_url=await find_base_url(options, context),
        model=find_model(options, context),
        tools=tools,
        parameters={"service_tier": options.service_tier},
        headers={name: value for name, value in identity.items() if value},
    )
    return await open_responses(options, context, place)
