"""MassGen's `security` of an MCP entry: it is taken where it tightens, and loosens nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import PurePath

from massgen_mcp.backends.urls import host_of, is_loopback
from massgen_mcp.config.seat import Seat
from massgen_mcp.config.servers import McpSecurity, McpServer
from massgen_mcp.errors import Problem

__all__ = ["check_security"]

_ENDINGS = (".exe", ".cmd", ".bat")


def check_security(seat: Seat, index: int) -> Iterator[Problem]:
    """What an entry's own `security` forbids it, and what of it is not used."""
    server = seat.agent.tools.mcp_servers[index]
    if server.security is None:
        return
    at = (*seat.server_path(index), "security")
    kept = dict(_forbidden(server, server.security))
    for key, why in kept.items():
        if why:
            yield seat.problem(*at, key, message=why, hint="Change the entry, or its security.")
    given = (key for key, value in server.security if value not in (None, (), {}))
    if unused := [key for key in given if key not in kept]:
        yield seat.problem(
            *at,
            message=f"can only tighten: {', '.join(unused)} not used here; the sandbox and the address "
            "checks hold for every server",
            severity="notice",
        )


def _forbidden(server: McpServer, security: McpSecurity) -> Iterator[tuple[str, str]]:
    """Each key that holds, and why the entry breaks it; empty where it does not."""
    host = host_of(server.url.get_secret_value()) if server.url is not None else ""
    program = _bare(PurePath(server.command).name) if server.command is not None else ""
    if security.allowed_executables and program:
        listed = {_bare(name) for name in security.allowed_executables}
        yield "allowed_executables", "the entry's command is not in it." if program not in listed else ""
    if security.allow_localhost is False:
        yield "allow_localhost", "the entry's url is on this machine." if is_loopback(host) else ""
    if security.allow_private_ips is False:
        yield "allow_private_ips", "the entry's url is a private address." if _is_private(host) else ""


def _bare(program: str) -> str:
    """A program's name as MassGen compares it: neither its case nor Windows' ending counts."""
    name = program.casefold()
    return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name)


def _is_private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.is_private and not address.is_loopback
