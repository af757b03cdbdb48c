"""Whose host an address names. Pure: nothing is looked up."""

from __future__ import annotations

from functools import lru_cache

import httpx2

from massgen_mcp.address import is_loopback, refuse_url

__all__ = ["host_of", "is_loopback", "owned_by", "url_problem"]


@lru_cache(maxsize=1024)
def host_of(url: str) -> str:
    """The host name of an address, in lower case and without a final dot; empty when it has none.

    Read by the parser that connects to it later.
    """
    try:
        return httpx2.URL(url).host.lower().rstrip(".")
    except (httpx2.InvalidURL, ValueError):
        return ""


def owned_by(host: str, hosts: tuple[str, ...]) -> bool:
    """Whether the host is one of `hosts`, or below one of them."""
    name = host.lower().rstrip(".")
    return any(name == owned or name.endswith(f".{owned}") for owned in hosts)


def url_problem(url: str) -> str | None:
    """Why an address in a team file can't be used, without repeating it; None when it can.

    Plain http is taken for any host: naming it in a team file is how the operator allows it.
    """
    refused = refuse_url(url, http_hosts=(host_of(url),))
    return f"this address can't be used: {refused}" if refused else None
