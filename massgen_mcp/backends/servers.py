"""Servers found by where they listen: which address, which software, which model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import httpx2

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.registry import by_host
from massgen_mcp.backends.urls import host_of, is_loopback
from massgen_mcp.errors import BackendError

__all__ = ["Located", "find_address", "find_model", "find_title", "list_models"]

_SOFTWARE: Mapping[int, str] = {8000: "vLLM", 30000: "SGLang", 1234: "LM Studio", 11434: "Ollama"}
"""Ports that these servers listen on unless told otherwise."""
_OWNERS: Mapping[str, str] = {"vllm": "vLLM", "sglang": "SGLang"}
"""What they say in `owned_by` of a model."""
_TRIED = (8000, 30000)
_LOOK = httpx2.Timeout(3.0)


class Located(Protocol):
    """The options that say where a server is."""

    @property
    def base_url(self) -> str | None:
        """Its address."""
        ...

    @property
    def port(self) -> int | None:
        """Its port on this machine."""
        ...


async def find_address(options: Located, context: BackendContext) -> str:
    """The base URL to talk to: the file's, the row's, or that of the first server found on this machine.

    A host that the file names may be talked to over plain http, and one given without a path means `/v1`.

    Raises:
        BackendError: there is none.
    """
    if options.base_url is not None:
        context.pool.allow_http(host_of(options.base_url))
        return _with_path(options.base_url)
    if options.port is not None:
        return f"http://localhost:{options.port}/v1"
    if context.info.base_url is not None:
        return context.info.base_url
    if context.info.local:
        for port in _TRIED:
            address = f"http://localhost:{port}/v1"
            if await _models(context, address, "") is not None:
                return address
    title = context.info.title
    ports = " and ".join(str(port) for port in _TRIED)
    what = (
        f"No server found on the ports {ports} for {title}"
        if context.info.local
        else f"{title} needs an address"
    )
    remedy = "Give `base_url` in the backend block."
    raise BackendError(f"{what}. {remedy}", kind="network", remedy=remedy, connected=False)


def _with_path(base_url: str) -> str:
    url = httpx2.URL(base_url)
    return str(url.copy_with(path="/v1")) if url.path in {"", "/"} else base_url


async def find_title(context: BackendContext, base_url: str, key: str) -> str:
    """Who answers there, as a person knows it."""
    info, host = context.info, host_of(base_url)
    if info.base_url is not None:
        return info.title
    owner = by_host(host)
    if owner is not None:
        return owner.title
    port = httpx2.URL(base_url).port
    where = host if port is None else f"{host}:{port}"
    software = _SOFTWARE.get(port or 0) if is_loopback(host) else None
    if software is None and info.local:
        software = await _software(context, base_url, key)
    return f"{software} at {where}" if software else where


async def _software(context: BackendContext, base_url: str, key: str) -> str | None:
    models = await _models(context, base_url, key) or ()
    owners = (str(model.get("owned_by", "")).lower() for model in models)
    return next((_OWNERS[owner] for owner in owners if owner in _OWNERS), None)


async def find_model(context: BackendContext, base_url: str, key: str) -> str:
    """The first model that one's own server offers, where neither file nor row names one.

    Raises:
        BackendError: it offers none, or does not say.
    """
    host = host_of(base_url)
    own = context.info.local or is_loopback(host)
    names = await list_models(context, base_url, key) if own else ()
    if names:
        return names[0]
    remedy = "Name a `model` in the backend block."
    what = (
        f"{host} does not say which models it has" if own else f"No model is named for {context.info.title}"
    )
    raise BackendError(
        f"{what}. {remedy}",
        kind="not_found",
        remedy=remedy,
        connected=False,
    )


async def list_models(context: BackendContext, base_url: str, key: str) -> tuple[str, ...]:
    """The names of the models that a server offers; empty when it does not say."""
    models = await _models(context, base_url, key) or ()
    return tuple(name for model in models if isinstance(name := model.get("id"), str) and name)


async def _models(context: BackendContext, base_url: str, key: str) -> Sequence[Mapping[str, Any]] | None:
    """What `GET /models` answers; None when nothing usable does."""
    client = await context.pool.client()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        response = await client.get(f"{base_url.rstrip('/')}/models", headers=headers, timeout=_LOOK)
        value: object = response.json() if response.is_success else None
    except (httpx2.HTTPError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    data: object = cast("dict[str, object]", value).get("data")
    entries = cast("list[object]", data) if isinstance(data, list) else []
    return [cast("Mapping[str, Any]", entry) for entry in entries if isinstance(entry, dict)]
