"""Getting to know a server, in either generation of the protocol.

`initialize` comes first: servers of both generations answer it at once, with a handshake or a refusal. An
old one may not answer `server/discover` at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    encode_header_value,
    mcp_param_headers,
)
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    LATEST_MODERN_VERSION,
    MODERN_PROTOCOL_VERSIONS,
)

from massgen_mcp import __version__
from massgen_mcp.tools.downstream.failures import CallFailed, Refused
from massgen_mcp.tools.downstream.session import Session, Stamp

__all__ = ["ParamHeaders", "greet"]

ParamHeaders = dict[str, dict[tuple[str, ...], str]]
"""By tool: which of its arguments are repeated in which HTTP header."""

_SHOWN = 120


def _ourselves() -> dict[str, str]:
    return {"name": "massgen-mcp", "version": __version__}


async def greet(session: Session, headers: ParamHeaders, *, seconds: float) -> bool:
    """Agree on a version; whether the server has tools.

    `headers` is consulted at each call, so it may be filled later.

    Raises:
        CallFailed: it speaks no version that we do, or answers nonsense.
        WireLost: it ended.
    """
    params = {
        "protocolVersion": LATEST_HANDSHAKE_VERSION,
        "capabilities": {},
        "clientInfo": _ourselves(),
    }
    try:
        result = await session.request("initialize", params, seconds=seconds)
    except Refused as refused:
        return await _discover(session, headers, refused, seconds=seconds)
    version = result.get("protocolVersion")
    if version not in HANDSHAKE_PROTOCOL_VERSIONS:
        raise CallFailed(f"it speaks version {_shown(version)} of the protocol, which is not known here")
    session.stamp = _plain_stamp(str(version))
    session.notify("notifications/initialized")
    return _has_tools(result)


async def _discover(session: Session, headers: ParamHeaders, refused: Refused, *, seconds: float) -> bool:
    stamp = _modern_stamp(LATEST_MODERN_VERSION, headers)
    session.stamp = stamp
    try:
        result = await session.request("server/discover", seconds=seconds)
    except Refused as again:
        raise CallFailed(f"it refuses to be talked to: {refused}; {again}") from again
    offered: Any = result.get("supportedVersions")
    versions = cast("list[object]", offered) if isinstance(offered, list) else []
    known = [version for version in MODERN_PROTOCOL_VERSIONS if version in versions]
    if not known:
        raise CallFailed(f"it speaks versions {_shown(versions)} of the protocol, none of them known here")
    session.stamp = _modern_stamp(known[-1], headers)
    return _has_tools(result)


def _has_tools(result: Mapping[str, Any]) -> bool:
    capabilities = result.get("capabilities")
    return isinstance(capabilities, dict) and "tools" in capabilities


def _shown(value: Any) -> str:
    return repr(value)[:_SHOWN]


def _plain_stamp(version: str) -> Stamp:
    def stamp(_method: str, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        return params, {MCP_PROTOCOL_VERSION_HEADER: version}

    return stamp


def _modern_stamp(version: str, param_headers: ParamHeaders) -> Stamp:
    who = {
        PROTOCOL_VERSION_META_KEY: version,
        CLIENT_INFO_META_KEY: _ourselves(),
        CLIENT_CAPABILITIES_META_KEY: {},
    }

    def stamp(method: str, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        headers = {MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: method}
        name = params.get("name")
        if method == "tools/call" and isinstance(name, str):
            headers[MCP_NAME_HEADER] = encode_header_value(name)
            headers |= mcp_param_headers(param_headers.get(name, {}), params.get("arguments") or {})
        if method.startswith("notifications/"):
            return params, headers
        return {**params, "_meta": {**params.get("_meta", {}), **who}}, headers

    return stamp
