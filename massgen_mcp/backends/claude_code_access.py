"""How Claude Code proves who pays: a key, or the user's subscription."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.keys import find_key
from massgen_mcp.backends.urls import host_of, owned_by
from massgen_mcp.errors import BackendError

if TYPE_CHECKING:
    from massgen_mcp.backends.claude_code import Options

__all__ = ["TOKEN", "Access", "find_access", "is_logged_in"]

TOKEN = "CLAUDE_CODE_OAUTH_TOKEN"  # noqa: S105 - the name of a variable
_ADDRESS = "https://api.anthropic.com"
_KEYCHAIN_ENTRY = "Claude Code-credentials"
_KEYCHAIN_SECONDS = 5.0
_MARGIN = 120.0
"""Seconds that a login must still be good for."""
_LOG_IN = "Log in with `claude`, or set CLAUDE_CODE_API_KEY or ANTHROPIC_API_KEY."


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the command line is given to be let in."""

    name: str
    """Where it comes from, in words for a person."""
    subscription: bool = False
    """Whether the user's plan pays, so that no request has a price."""
    priced: bool = True
    """Whether the command line's own price list holds where requests go."""
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


async def find_access(options: Options, context: BackendContext) -> Access:
    """The key of the backend block, else the environment's, else the subscription.

    A login goes to Anthropic alone, a key where `keys.find_key` lets it go.

    Raises:
        BackendError: there is nothing that may be sent.
    """
    keyed = options.api_key is not None or bool(context.api_key) or options.base_url is not None
    if options.use_subscription or not keyed:
        return await _subscription(options, context)
    address = options.base_url or _ADDRESS
    key, name = find_key(options, context, address)
    variables = {"ANTHROPIC_API_KEY": key}
    if options.base_url is not None:
        variables["ANTHROPIC_BASE_URL"] = options.base_url
    return Access(name=name, priced=owned_by(host_of(address), context.info.hosts), variables=variables)


async def _subscription(options: Options, context: BackendContext) -> Access:
    if options.base_url is not None:
        what = "The subscription's login is for Anthropic's own address alone"
        raise _refused(what, "Remove `base_url`, or `use_subscription` and give `api_key`.")
    token = context.environ.get(TOKEN) or await _stored_token(context)
    context.secrets.add(token, TOKEN)
    return Access(name="the subscription's login", subscription=True, variables={TOKEN: token})


async def is_logged_in(environ: Mapping[str, str], *, now: float) -> bool:
    """Whether a subscription could pay for Claude Code here, as far as can be seen without asking anybody."""
    if environ.get(TOKEN):
        return True
    token, until = _read_login(await _stored_login(environ) or "{}")
    return bool(token) and until - _MARGIN > now


async def _stored_token(context: BackendContext) -> str:
    """The token of the login that `claude` keeps. Only `claude` itself renews it."""
    text = await _stored_login(context.environ)
    if text is None:
        raise _refused("Claude Code has neither a key nor a login", _LOG_IN)
    token, until = _read_login(text)
    if not token:
        raise _refused("The login that `claude` keeps can't be read", _LOG_IN)
    context.secrets.add(token, TOKEN)
    if until - _MARGIN < context.clock.now():
        remedy = f"Run `claude` once, which renews it, or set {TOKEN} (`claude setup-token` prints one)."
        raise _refused("The login that `claude` keeps has run out", remedy)
    return token


async def _stored_login(environ: Mapping[str, str]) -> str | None:
    own = environ.get("CLAUDE_CONFIG_DIR")
    home = environ.get("HOME")
    if own or home:
        folder = Path(own) if own else Path(home or "") / ".claude"
        try:
            return await (anyio.Path(folder) / ".credentials.json").read_text()
        except (OSError, UnicodeDecodeError):
            pass
    return await _keychain() if sys.platform == "darwin" and not own else None


async def _keychain() -> str | None:
    """The login as macOS keeps it."""
    command = ["/usr/bin/security", "find-generic-password", "-s", _KEYCHAIN_ENTRY, "-w"]
    with anyio.move_on_after(_KEYCHAIN_SECONDS):
        try:
            said = await anyio.run_process(command, check=False)
        except OSError:
            return None
        return said.stdout.decode(errors="replace") if said.returncode == 0 else None
    return None


def _read_login(text: str) -> tuple[str, float]:
    """The token and the second since the epoch until which it is good."""
    try:
        login: Any = cast("dict[str, Any]", json.loads(text))["claudeAiOauth"]
        return str(login["accessToken"]), float(login["expiresAt"]) / 1000
    except (ValueError, LookupError, TypeError):
        return "", 0.0


def _refused(what: str, remedy: str) -> BackendError:
    return BackendError(f"{what}. {remedy}", kind="auth", remedy=remedy, connected=False)
