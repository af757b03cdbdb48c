"""Which addresses this process may talk to: one policy for providers, downstream servers and everything else.

Pure: nothing is resolved here. A URL is read by the parser that connects to it later, so that the host that
was checked is the host that is reached.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from functools import lru_cache
from typing import TypeAlias

import httpx2

__all__ = ["is_loopback", "refuse_address", "refuse_url"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_FORBIDDEN = re.compile(r"[\0-\x20\x7f\\]")
_NUMERIC_LABEL = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z", re.IGNORECASE)
_METADATA_NAMES = frozenset(
    {"instance-data", "instance-data.ec2.internal", "metadata", "metadata.goog", "metadata.google.internal"}
)
_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_LOCALHOST = "localhost"
_LAST_PORT = 65535


def refuse_url(url: str, *, http_hosts: Collection[str] = ()) -> str | None:
    """Why this URL may not be talked to; None when it may.

    https to any host, http to this machine and to `http_hosts`; never with a user name, to link-local or
    metadata addresses, or to a host written in a way that parsers disagree about.
    """
    if _FORBIDDEN.search(url):
        return "it holds a space, a backslash or a control character"
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        return "it is not a URL"
    host = parsed.host.lower()
    refused = _refuse_form(parsed) or _refuse_host(host)
    if refused is None and parsed.scheme == "http" and not is_loopback(host) and host not in http_hosts:
        return f"plain http is only for this machine; use https, or let the operator allow http for {host!r}"
    return refused


def _refuse_form(url: httpx2.URL) -> str | None:
    if url.scheme not in {"http", "https"}:
        return "it must begin with https:// (or http:// for this machine)"
    if url.userinfo:
        return "it holds a user name or password; give `api_key` instead"
    if not url.host or (url.port or 0) > _LAST_PORT:
        return "it names no host and port that could be reached"
    return None


def _refuse_host(host: str) -> str | None:
    if host.endswith("."):
        return "its host ends in a dot"
    if "%" in host:
        return "its host holds a percent sign"
    if host in _METADATA_NAMES:
        return "it is a cloud's metadata service"
    address = _parse(host)
    if address is not None:
        return refuse_address(address)
    if ":" in host or _NUMERIC_LABEL.match(host.rpartition(".")[2]):
        return "its host is a number in an unusual form; write the address as four decimal numbers"
    return None


def refuse_address(address: str | _Address, *, host: str = "") -> str | None:
    """Why this address, which `host` resolved to, may not be connected to; None when it may."""
    found = _parse(address) if isinstance(address, str) else address
    if found is None:
        return "it is not an IP address"
    found = _embedded(found)
    if found in _METADATA_ADDRESSES or found.is_link_local:
        return f"{found} is a link-local or metadata address"
    if found.is_unspecified or found.is_multicast or (found.is_reserved and not found.is_loopback):
        return f"{found} is not the address of one machine"
    if host.lower() == _LOCALHOST and not found.is_loopback:
        return f"{host} resolves to {found}, which is not this machine"
    return None


def is_loopback(host: str) -> bool:
    """Whether a host, as written, is this machine."""
    address = _parse(host)
    return host.lower() == _LOCALHOST or (address is not None and _embedded(address).is_loopback)


@lru_cache(maxsize=256)
def _parse(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def _embedded(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 address carries, where it carries one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address.teredo is not None:
        inner = address.teredo[1]
    wrapped = address in _NAT64 or (address in _COMPATIBLE and int(address) > 1)
    if inner is None and wrapped:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address
