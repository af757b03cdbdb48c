"""Opens an AG2 agent: its models, its conversation, and what runs its code.

AG2 owns the loop, the conversation and the tool that runs code; each request it makes goes to a model through
our own adapters, so that pool, keys, failures and checks are the same as for every other backend.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from massgen_mcp.backends import azure_openai, chat
from massgen_mcp.backends.ag2 import LlmEntry, Options
from massgen_mcp.backends.ag2_agent import Ag2Agent
from massgen_mcp.backends.ag2_code import open_code_tool
from massgen_mcp.backends.ag2_model import Entry, Models
from massgen_mcp.backends.base import AgentRuntime, ModelBackend
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.prices import Prices
from massgen_mcp.backends.registry import BACKENDS, by_host
from massgen_mcp.backends.sdk import load
from massgen_mcp.backends.urls import host_of

__all__ = ["open_agent"]

ADDRESSES = {
    "openai": "https://api.openai.com/v1/",
    "anthropic": "https://api.anthropic.com/v1/",
    "google": "https://generativelanguage.googleapis.com/v1beta/openai/",
}
"""Where each vendor speaks chat completions."""

_AZURE = "azure_openai"
_NO_CACHE = "AG2 1.x keeps no cache of replies: cache_seed is not used."


async def open_agent(options: Options, context: BackendContext) -> AgentRuntime:
    """An AG2 agent, ready for its turns.

    Raises:
        BackendError: AG2 or an extension of it is not installed, a key is missing, an address may not be
            used, or there is no sandbox for its code.
    """
    sdk = await load("ag2", extra="ag2")
    events = await load("ag2.events", extra="ag2")
    final = await load("ag2.tools.final", extra="ag2")
    entries = [await _open_entry(entry, options, context) for entry in options.entries]
    warnings = [_NO_CACHE] if any(entry.cache_seed is not None for entry in options.entries) else []
    code = None
    if options.code_execution_config is not None:
        code = await open_code_tool(options.code_execution_config, context)
    return Ag2Agent(
        info=context.info,
        agent=sdk.Agent(options.name or "agent", config=None),
        stream=sdk.MemoryStream(),
        events=events,
        final=final,
        models=Models(
            entries,
            events=events,
            clock=context.clock,
            random=Random(context.seed),  # noqa: S311 - spreads retries
            prices=None if options.price is not None else Prices(),
        ),
        secrets=context.secrets,
        system=options.system_message or "",
        code=code,
        warnings=warnings,
    )


async def _open_entry(entry: LlmEntry, options: Options, context: BackendContext) -> Entry:
    # The context's key belongs to the first entry's vendor; each entry finds its own.
    context = replace(context, api_key=None)
    if entry.api_key is not None:
        context.secrets.add(entry.api_key.get_secret_value(), context.key_name or "api_key")
    if entry.api_type == "azure":
        backend, row = await _open_azure(entry, options, context), BACKENDS[_AZURE]
    else:
        backend, row = await _open_chat(entry, options, context), by_host(host_of(_address(entry)))
    return Entry(backend=backend, vendor=row, timeout=entry.timeout)


def _address(entry: LlmEntry) -> str:
    return entry.base_url or ADDRESSES[entry.api_type]


async def _open_chat(entry: LlmEntry, options: Options, context: BackendContext) -> ModelBackend:
    return await chat.connect(
        chat.Options(
            type=options.type,
            model=entry.model,
            api_key=entry.api_key,
            base_url=_address(entry),
            temperature=entry.temperature,
            top_p=entry.top_p,
            max_tokens=entry.max_tokens,
            extra_body=options.extra_body,
            extra_headers=options.extra_headers,
        ),
        context,
    )


async def _open_azure(entry: LlmEntry, options: Options, context: BackendContext) -> ModelBackend:
    return await azure_openai.connect(
        azure_openai.Options(
            type=_AZURE,
            deployment_name=entry.model,
            api_key=entry.api_key,
            base_url=entry.base_url,
            api_version=entry.api_version,
            temperature=entry.temperature,
            top_p=entry.top_p,
            max_tokens=entry.max_tokens,
            extra_body=options.extra_body,
            extra_headers=options.extra_headers,
        ),
        replace(context, info=BACKENDS[_AZURE]),
    )
