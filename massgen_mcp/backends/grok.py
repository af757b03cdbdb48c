"""xAI's Grok by the Responses API."""

from __future__ import annotations

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.responses_backend import Place
from massgen_mcp.backends.responses_open import (
    WEB_SEARCH,
    find_base_url,
    find_model,
    open_responses,
    wants_code,
)
from massgen_mcp.backends.responses_options import ResponsesOptions
from massgen_mcp.backends.responses_wire import Item

__all__ = ["Options", "connect"]

_X_SEARCH: Item = {"type": "x_search"}
_CODE: Item = {"type": "code_interpreter"}
"""xAI has no containers to choose from."""


class Options(ResponsesOptions):
    """The backend block of `type: grok`."""

    enable_x_search: bool = False
    """Search posts on X, beside or instead of the web."""


async def connect(options: Options, context: BackendContext) -> ModelBackend:
    """A backend ready to be asked.

    Raises:
        BackendError: the address may not be used, or a key is missing.
    """
    tools = [WEB_SEARCH] if options.enable_web_search else []
    tools += [_X_SEARCH] if options.enable_x_search else []
    tools += [_CODE] if wants_code(options) else []
    place = Place(
        base_url=await find_base_url(options, context), model=find_model(options, context), tools=tools
    )
    return await open_responses(options, context, place)
