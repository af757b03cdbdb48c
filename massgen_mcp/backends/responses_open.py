"""From a backend block to a model behind the Responses API."""

from __future__ import annotations

from dataclasses import dataclass

from massgen_mcp.backends.account import find_account
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.openai_sdk import open_client, sdk_errors
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.responses_backend import Backend, Place
from massgen_mcp.backends.responses_options import ResponsesOptions
from massgen_mcp.backends.responses_wire import Item
from massgen_mcp.backends.sdk import load
from massgen_mcp.backends.servers import find_address

__all__ = ["CODE_INTERPRETER", "WEB_SEARCH", "find_base_url", "find_model", "open_responses", "wants_code"]

WEB_SEARCH: Item = {"type": "web_search"}
CODE_INTERPRETER: Item = {"type": "code_interpreter", "container": {"type": "auto"}}


@dataclass(frozen=True, slots=True)
class _Server:
    base_url: str | None
    port: int | None = None


def wants_code(options: Options) -> bool:
    """Whether code is to run in the provider's sandbox, by either name of the switch."""
    return options.enable_code_interpreter or options.enable_code_execution


def find_model(options: Options, context: BackendContext) -> str:
    """The model to ask for, by the provider's exact name."""
    name = options.model or context.info.default_model or ""
    return context.info.aliases.get(name, name)


async def find_base_url(options: Options, context: BackendContext) -> str:
    """The address that the file gives, else the vendor's own.

    Raises:
        BackendError: there is none.
    """
    return await find_address(_Server(options.base_url), context)


async def open_responses(options: ResponsesOptions, context: BackendContext, place: Place) -> Backend:
    """A backend ready to be asked.

    Raises:
        BackendError: the address may not be used, or a key is missing.
    """
    account = await find_account(options, context, place.base_url, model=place.model)
    client = await open_client(context.pool, account, {**place.headers, **options.extra_headers})
    sdk = await load("openai")
    await load("openai.resources.responses.responses")
    return Backend(
        context,
        account,
        options=options,
        place=place,
        client=client,
        errors=await sdk_errors(),
        events=sdk.AsyncStream[object],
    )
