"""Which key goes to which host: a vendor's own key never leaves for another's."""

from __future__ import annotations

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.registry import by_host
from massgen_mcp.backends.urls import host_of, is_loopback, owned_by
from massgen_mcp.errors import BackendError

__all__ = ["NO_KEY", "find_key"]

NO_KEY = "EMPTY"
"""Sent where no key is needed: the SDKs and some servers want something."""


def find_key(options: Options, context: BackendContext, base_url: str) -> tuple[str, str]:
    """The key to send to that address, and where it comes from, in words for a person.

    The block's own `api_key` goes wherever the block points. A key from the environment goes to the hosts of
    the vendor it belongs to, and to this machine for servers that run there.

    Raises:
        BackendError: a key is needed and there is none that may be sent.
    """
    if options.api_key is not None and (own := options.api_key.get_secret_value()):
        return _known(context, own, context.key_name or "api_key"), context.key_name or "the backend block"
    info, host = context.info, host_of(base_url)
    ours = owned_by(host, info.hosts) or (info.local and is_loopback(host))
    if ours and context.api_key:
        name = " or ".join(info.env) or "the environment"
        return _known(context, context.api_key, info.env[0] if info.env else "api_key"), name
    owner = by_host(host)
    for name in owner.env if owner is not None else ():
        if value := context.environ.get(name):
            return _known(context, value, name), name
    if is_loopback(host) or (info.key_optional and owner is None):
        return NO_KEY, "the backend block"
    raise _no_key(info.title, owner.env if owner is not None else (), host)


def _known(context: BackendContext, key: str, name: str) -> str:
    context.secrets.add(key, name)
    return key


def _no_key(title: str, names: tuple[str, ...], host: str) -> BackendError:
    if names:
        what, remedy = f"{title} needs a key, and none is set", f"Set {' or '.join(names)}, or give `api_key`"
    else:
        what, remedy = (
            f"{host} is not one of the hosts that the key of {title} may be sent to",
            "Give `api_key`",
        )
    remedy += " in the backend block."
    return BackendError(f"{what}. {remedy}", kind="auth", remedy=remedy, connected=False)
