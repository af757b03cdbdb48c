"""Anthropic's Claude by the Messages API."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import httpx2
from pydantic import BaseModel, ConfigDict, Field, model_validator

from massgen_mcp.backends.account import find_account
from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.claude_backend import Backend
from massgen_mcp.backends.claude_parameters import LEAST_BUDGET
from massgen_mcp.backends.claude_sdk import open_client, sdk_errors
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.reasoning import Effort, Reasoning
from massgen_mcp.backends.sdk import load
from massgen_mcp.backends.urls import host_of, owned_by

__all__ = ["Options", "Thinking", "connect"]

_API_PATH = re.compile(r"/v1(?:/messages)?/?$")
_WEB_SEARCH = {"type": "web_search_20250305", "name": "web_search"}
_CODE_EXECUTION = {"type": "code_execution_20250825", "name": "code_execution"}
"""The versions that the most models take."""


class Thinking(BaseModel):
    """`thinking:` as the Messages API takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["adaptive", "enabled", "disabled"]
    budget_tokens: Annotated[int, Field(ge=LEAST_BUDGET)] | None = None

    @model_validator(mode="after")
    def _budget(self) -> Thinking:
        if (self.type == "enabled") != (self.budget_tokens is not None):
            raise ValueError("budget_tokens goes with type: enabled, and only with it")
        return self


class Options(BaseOptions):
    """The backend block of `type: claude`."""

    top_k: Annotated[int, Field(ge=0)] | None = None
    stop_sequences: tuple[str, ...] | None = None
    thinking: Thinking | None = None
    thinking_budget: Annotated[int, Field(ge=LEAST_BUDGET)] | None = None
    """Tokens for thinking, where the model takes a budget; else it thinks adaptively."""
    max_thinking_tokens: Annotated[int, Field(ge=LEAST_BUDGET)] | None = None
    """Another name of `thinking_budget`."""
    effort: Effort | None = None
    reasoning: Reasoning | None = None
    """`reasoning.effort` means the same as `effort`."""
    service_tier: Literal["auto", "standard_only"] | None = None


async def connect(options: Options, context: BackendContext) -> ModelBackend:
    """A backend ready to be asked.

    Raises:
        BackendError: the address may not be used, or a key is missing.
    """
    account = await find_account(options, context, _address(options, context))
    headers = dict(options.extra_headers)
    if not owned_by(host_of(account.base_url), context.info.hosts):
        # The package sends a bearer token alone; gateways made for earlier ones look here.
        headers["X-Api-Key"] = account.key
    return Backend(
        context,
        account,
        options=options,
        tools=_built_in(options),
        client=await open_client(context.pool, account, headers),
        errors=await sdk_errors(),
        events=(await load("anthropic")).AsyncStream[object],
    )


def _address(options: Options, context: BackendContext) -> str:
    """The address that the file gives, else the vendor's; the package adds `/v1/messages` to it."""
    if options.base_url is None:
        return context.info.base_url or ""
    context.pool.allow_http(host_of(options.base_url))
    url = httpx2.URL(options.base_url)
    return str(url.copy_with(path=_API_PATH.sub("", url.path) or "/"))


def _built_in(options: Options) -> tuple[dict[str, Any], ...]:
    code = options.enable_code_execution or options.enable_code_interpreter
    return (*([_WEB_SEARCH] if options.enable_web_search else ()), *([_CODE_EXECUTION] if code else ()))
