"""Addresses of services: what a team file may name, and whose host it is. Pure: nothing is looked up."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

__all__ = ["host_of", "is_loopback", "owned_by", "url_problem"]

_METADATA = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "169.254.169.254",
        "fd00:ec2::254",
    }
)
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        return None
    return parts


def host_of(url: str) -> str:
    """The host name of an address, in lower case and without a final dot; empty when it has none."""
    parts = _split(url)
    return (parts.hostname or "").lower().rstrip(".") if parts else ""


def is_loopback(host: str) -> bool:
    """Whether that host is this machine, by its very name: `localhost` or a loopback address."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def owned_by(host: str, hosts: tuple[str, ...]) -> bool:
    """Whether the host is one of `hosts`, or below one of them."""
    name = host.lower().rstrip(".")
    return any(name == owned or name.endswith(f".{owned}") for owned in hosts)


def url_problem(url: str) -> str | None:
    """Why an address can't be used, without repeating it; None when it can."""
    if _UNPRINTABLE.search(url):
        return "the address holds a space or a control character"
    parts = _split(url)
    if parts is None:
        return "the address can't be read"
    if parts.scheme not in ("http", "https"):
        return "the address must begin with https:// (or http:// for a host of your own)"
    if parts.username is not None or parts.password is not None:
        return "the address must not hold a user name or password; use api_key or headers"
    host = (parts.hostname or "").lower().rstrip(".")
    return _host_problem(host)


def _host_problem(host: str) -> str | None:
    if not host:
        return "the address has no host"
    if host in _METADATA:
        return "this is a cloud metadata service, not a model or tool server"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # Other spellings of an address (2130706433, 0x7f.1, 127.1) would pass a check by name.
        return "write the address as four decimal numbers" if _NUMERIC.fullmatch(host) else None
    if address.is_link_local or address.is_unspecified or address.is_multicast:
        return "this address does not belong to one server"
    return None
