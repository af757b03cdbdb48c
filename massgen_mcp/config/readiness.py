"""Whose key a backend would use, and whether what it needs is set. Pure: nothing is asked."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import SecretStr

from massgen_mcp.backends.ag2 import LlmEntry, Options as Ag2Options
from massgen_mcp.backends.azure_openai import Options as AzureOptions
from massgen_mcp.backends.claude_code import Options as ClaudeCodeOptions
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.registry import backend_info, by_host
from massgen_mcp.backends.urls import host_of, is_loopback, owned_by
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.models import AgentConfig
from massgen_mcp.config.variables import AZURE_ENDPOINT

__all__ = [
    "Key",
    "KeySource",
    "Readiness",
    "address_of",
    "agent_readiness",
    "foreign_host",
    "is_local",
    "key_for",
    "key_variables",
    "missing_program",
    "readiness",
]

KeySource: TypeAlias = Literal["file", "environment", "none", "missing"]

_AG2_VARIABLES = {
    "openai": ("OPENAI_API_KEY",),
    "azure": ("AZURE_OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The key a backend would be opened with."""

    source: KeySource
    """`none`: it works without one; `missing`: it does not."""
    value: SecretStr | None = None
    variable: str | None = None
    """The variable it came from, where it came from one."""
    variables: tuple[str, ...] = ()
    """All variables that were looked for, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether a backend could be asked now, as far as its settings tell."""

    ready: bool
    why: str = ""
    """Why not, or what is not known yet."""
    remedy: str = ""
    variables: tuple[str, ...] = ()
    """The variables that would make it ready, or that do."""
    key: Literal["set", "missing", "not needed"] = "not needed"


def address_of(options: Options, environment: Environment) -> str | None:
    """Where requests go: the file's address, the variable's for Azure, a local port, or the row's own."""
    if isinstance(options, AzureOptions):
        return options.endpoint or environment.get(AZURE_ENDPOINT)
    if options.base_url is not None:
        return options.base_url
    port: object = getattr(options, "port", None)
    if isinstance(port, int):
        return f"http://localhost:{port}/v1"
    info = backend_info(options.type)
    return info.base_url if info else None


def is_local(options: Options, environment: Environment) -> bool:
    """Whether nothing that is asked leaves this machine."""
    info = backend_info(options.type)
    address = address_of(options, environment)
    if address is None:
        return info is not None and info.local
    return is_loopback(host_of(address))


def key_variables(info: BackendInfo, address: str | None) -> tuple[str, ...]:
    """The variables whose key may go to that address: the row's, or those of the vendor whose host it is."""
    if info.env:
        return info.env
    owner = by_host(host_of(address)) if address else None
    return owner.env if owner else ()


def foreign_host(options: Options, environment: Environment) -> str | None:
    """The host that the vendor's own key must not go to; None where it may."""
    info = backend_info(options.type)
    address = address_of(options, environment)
    if info is None or address is None:
        return None
    host = host_of(address)
    ours = (*info.hosts, *((host_of(info.base_url),) if info.base_url else ()))
    if isinstance(options, AzureOptions) and (endpoint := environment.get(AZURE_ENDPOINT)):
        ours = (*ours, host_of(endpoint))
    if is_loopback(host) or owned_by(host, ours):
        return None
    if not info.env and by_host(host) is not None:
        return None
    return host


def key_for(options: Options, environment: Environment) -> Key:
    """The key for these options: the file's, else the first of the vendor's variables that is set.

    A vendor's key is never given for a host that is not the vendor's.
    """
    info = backend_info(options.type)
    if options.api_key is not None:
        return Key(source="file", value=options.api_key)
    if isinstance(options, ClaudeCodeOptions) and options.use_subscription:
        return Key(source="none")
    if isinstance(options, Ag2Options) and options.llm_config is not None:
        return _ag2_key(options.llm_config.config_list[0], environment)
    if info is None or foreign_host(options, environment) is not None:
        return Key(source="missing")
    return _vendor_key(options, info, environment)


def _vendor_key(options: Options, info: BackendInfo, environment: Environment) -> Key:
    names = key_variables(info, address_of(options, environment))
    on_loopback = is_local(options, environment)
    if info.local or not on_loopback:  # a proxy on this machine gets no vendor's key
        found = _from_environment(names, environment)
        if found is not None:
            return found
    named_vendor = info.type == "chatcompletion" and names
    works_without = on_loopback or (info.key_optional and not named_vendor)
    return Key(source="none" if works_without else "missing", variables=names)


def _from_environment(names: tuple[str, ...], environment: Environment) -> Key | None:
    name = environment.first(names)
    if name is None:
        return None
    value = SecretStr(environment.get(name) or "")
    return Key(source="environment", value=value, variable=name, variables=names)


def _ag2_key(entry: LlmEntry, environment: Environment) -> Key:
    if entry.api_key is not None:
        return Key(source="file", value=entry.api_key)
    names = _AG2_VARIABLES[entry.api_type]
    if entry.base_url is not None and not is_loopback(host_of(entry.base_url)):
        owner = by_host(host_of(entry.base_url))
        if owner is None or owner.env != names:
            return Key(source="missing")
    return _from_environment(names, environment) or Key(source="missing", variables=names)


def readiness(options: Options, environment: Environment) -> Readiness:
    """Whether these options have the key they need. Servers are not asked whether they run."""
    info = backend_info(options.type)
    if info is None:
        return Readiness(ready=False, why=f"there is no backend {options.type!r}")
    key = key_for(options, environment)
    state: Literal["set", "missing", "not needed"] = "set"
    if key.source in ("none", "missing"):
        state = "not needed" if key.source == "none" else "missing"
    if not info.executes:
        why = f"backend {info.type!r} is not available yet"
        return Readiness(ready=False, why=why, variables=key.variables, key=state)
    if key.source == "missing":
        return _without_key(options, key, environment)
    if absent := missing_program(options, environment):
        why = f"the program `{absent}` is not installed"
        return Readiness(ready=False, why=why, remedy=info.setup, variables=key.variables, key=state)
    if isinstance(options, AzureOptions) and address_of(options, environment) is None:
        return Readiness(
            ready=False,
            why=f"{AZURE_ENDPOINT} is not set ({environment.where()})",
            remedy=f"Set {AZURE_ENDPOINT}, or give base_url in the backend block.",
            variables=(AZURE_ENDPOINT,),
            key=state,
        )
    return Readiness(ready=True, variables=key.variables, key=state)


def missing_program(options: Options, environment: Environment) -> str:
    """The program of others that this backend would start and that is not there; empty where all are."""
    info = backend_info(options.type)
    names = list(info.programs) if info else []
    named: object = getattr(options, "cli_path", None)
    if names and isinstance(named, Path):
        if not named.expanduser().is_file():
            return str(named)
        del names[0]
    path = environment.get("PATH") or os.defpath
    return next((name for name in names if shutil.which(name, path=path) is None), "")


def _without_key(options: Options, key: Key, environment: Environment) -> Readiness:
    if host := foreign_host(options, environment):
        return Readiness(
            ready=False,
            why=f"the host {host} is not the vendor's, so the vendor's key is not sent there",
            remedy="Give api_key beside base_url (api_key: EMPTY where the server wants none).",
            key="missing",
        )
    names = " or ".join(key.variables) or "api_key"
    near = [name for wanted in key.variables for name in environment.near(wanted)]
    meant = f" {', '.join(dict.fromkeys(near))} is set: was that meant?" if near else ""
    return Readiness(
        ready=False,
        why=f"{names} is not set ({environment.where()})",
        remedy=f"Set {names}, or give api_key in the backend block.{meant}",
        variables=key.variables,
        key="missing",
    )


def agent_readiness(agent: AgentConfig, environment: Environment) -> Readiness:
    """The same for a team's agent, which a variable named in its file and not set keeps from working."""
    if agent.unset:
        names = ", ".join(agent.unset)
        return Readiness(
            ready=False,
            why=f"{names} is not set ({environment.where()})",
            remedy=f"Set {names}.",
            variables=agent.unset,
            key="missing",
        )
    return readiness(agent.backend, environment)
