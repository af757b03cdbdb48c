"""OpenAI's models in Azure: chat completions of a deployment, or the v1 API."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import httpx2

from massgen_mcp.backends.account import Account, find_account
from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.chat import Backend as ChatBackend, Options as ChatOptions
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.openai_sdk import forget_environment, sdk_errors
from massgen_mcp.backends.options import BaseUrl
from massgen_mcp.backends.pool import TIMEOUT, Pool
from massgen_mcp.backends.responses_backend import Place
from massgen_mcp.backends.responses_open import CODE_INTERPRETER, WEB_SEARCH, open_responses, wants_code
from massgen_mcp.backends.responses_options import ResponsesOptions
from massgen_mcp.backends.sdk import load
from massgen_mcp.backends.urls import host_of, url_problem
from massgen_mcp.errors import BackendError

if TYPE_CHECKING:
    from openai import AsyncAzureOpenAI

__all__ = ["V1_API_VERSIONS", "Options", "connect"]

V1_API_VERSIONS = ("v1", "preview", "latest")
"""Values of `api_version` that mean the v1 API; an absent one means it too."""

_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
_VERSION = "AZURE_OPENAI_API_VERSION"
_API_PATH = re.compile(r"/openai(?:/.*)?$")
_PREVIEW = "preview"
"""The one version that the v1 API wants to be told."""


class Options(ResponsesOptions):
    """The backend block of `type: azure_openai`.

    The file wins over `AZURE_OPENAI_ENDPOINT` and `AZURE_OPENAI_API_VERSION`. Deployments' chat completions
    take `effort` alone of `reasoning`.
    """

    deployment_name: str | None = None
    """What is asked for; `model` then only says whose prices and limits hold."""
    azure_endpoint: BaseUrl | None = None
    """Another name of `base_url`."""
    api_version: str | None = None

    @property
    def deployment(self) -> str | None:
        """The name sent to Azure."""
        return self.deployment_name or self.model

    @property
    def endpoint(self) -> str | None:
        """The resource's address as the file gives it."""
        return self.base_url or self.azure_endpoint

    def with_model(self, model: str) -> Self:
        """The same block for another deployment."""
        return super().with_model(model).model_copy(update={"deployment_name": None})

    def is_v1(self, environment_version: str | None = None) -> bool:
        """Whether the v1 API is meant, which has the built-in tools; deployments' chat has not."""
        version = self.api_version or environment_version
        return not version or version in V1_API_VERSIONS


async def connect(options: Options, context: BackendContext) -> ModelBackend:
    """A backend ready to be asked, on the route that the API version means.

    Raises:
        BackendError: no resource or deployment is named, its address may not be used, a key is missing, or
            a built-in tool is asked for where there is none.
    """
    resource, context = _resource(options, context)
    deployment = options.deployment
    if deployment is None:
        raise _unset("No deployment is named for Azure OpenAI", "Give `deployment_name`.")
    version = options.api_version or context.environ.get(_VERSION, "")
    if options.is_v1(version):
        return await _open_v1(options, context, resource, deployment, version)
    return await _open_chat(options, context, resource, deployment, version)


def _resource(options: Options, context: BackendContext) -> tuple[str, BackendContext]:
    """The resource's address without a path of the API; the key of the environment may go to its endpoint."""
    address = options.endpoint
    if address is None:
        address = context.environ.get(_ENDPOINT, "").strip()
        if not address:
            raise _unset("No Azure resource is named", f"Set {_ENDPOINT}, or give `azure_endpoint`.")
        hosts = (*context.info.hosts, host_of(address))
        context = replace(context, info=replace(context.info, hosts=hosts))
    if refused := url_problem(address):
        raise _unset(f"The address of the Azure resource: {refused}", f"Correct {_ENDPOINT}.")
    context.pool.allow_http(host_of(address))
    url = httpx2.URL(address)
    root = _API_PATH.sub("", url.path).rstrip("/")
    return str(url.copy_with(path=root or "/", query=None, fragment=None)).rstrip("/"), context


def _unset(what: str, remedy: str) -> BackendError:
    return BackendError(f"{what}. {remedy}", kind="bad_request", remedy=remedy, connected=False)


async def _open_v1(
    options: Options, context: BackendContext, resource: str, deployment: str, version: str
) -> ModelBackend:
    tools = [WEB_SEARCH] if options.enable_web_search else []
    tools += [CODE_INTERPRETER] if wants_code(options) else []
    place = Place(
        base_url=f"{resource}/openai/v1/",
        model=deployment,
        tools=tools,
        query={"api-version": _PREVIEW} if version == _PREVIEW else {},
    )
    return await open_responses(options, context, place)


async def _open_chat(
    options: Options, context: BackendContext, resource: str, deployment: str, version: str
) -> ModelBackend:
    account = await find_account(options, context, resource, model=deployment, by_host=False)
    if options.enable_web_search or wants_code(options):
        what = "Chat completions of an Azure deployment have no built-in tools"
        remedy = "Use `api_version: v1`, or remove enable_web_search and enable_code_interpreter."
        raise account.failures.make("bad_request", what, remedy=remedy, connected=False)
    client = await _azure_client(context.pool, account, version)
    forget_environment(client, options.extra_headers)
    return ChatBackend(
        context, account, options=_chat_options(options), client=client, errors=await sdk_errors()
    )


async def _azure_client(pool: Pool, account: Account, version: str) -> AsyncAzureOpenAI:
    """A client that asks once, over the shared pool. Never close it."""
    sdk = await load("openai")
    client: AsyncAzureOpenAI = sdk.AsyncAzureOpenAI(
        api_key=account.key,
        azure_endpoint=account.base_url,
        azure_deployment=quote(account.model, safe=""),
        api_version=version,
        http_client=await pool.client(),
        max_retries=0,
        timeout=TIMEOUT,
    )
    return client


def _chat_options(options: Options) -> ChatOptions:
    return ChatOptions(
        type=options.type,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        verbosity=options.text.verbosity if options.text else None,
        reasoning_effort=options.reasoning.effort if options.reasoning else None,
        parallel_tool_calls=options.parallel_tool_calls,
        extra_body=options.extra_body,
    )
