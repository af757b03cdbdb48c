"""Downstream MCP servers as a team file names them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from massgen_mcp.backends.urls import url_problem
from massgen_mcp.config.base import Names, Part, Seconds, SecretText, as_tuples

__all__ = ["McpSecurity", "McpServer", "McpServers"]

Transport = Literal["stdio", "streamable-http"]

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|AUTH|CREDENTIAL|COOKIE|DSN", re.IGNORECASE)
"""In the names of variables that hold one."""
_TRANSPORTS = {
    "stdio": "stdio",
    "http": "streamable-http",
    "streamable-http": "streamable-http",
    "streamable_http": "streamable-http",
}


class McpSecurity(Part):
    """MassGen's `security`: taken where it tightens; the sandbox and the address checks hold for all."""

    level: Literal["strict", "high", "moderate", "permissive"] | None = None
    allow_localhost: bool | None = None
    allow_private_ips: bool | None = None
    allowed_hostnames: Names | None = None
    """Not used: in MassGen these are spared the check of their addresses, and others may be asked as well."""
    resolve_dns: bool | None = None
    allowed_executables: Names | None = None
    env: dict[str, Any] | None = None


class McpServer(Part):
    """One downstream server: a program to start, or an address."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    type: Transport = "stdio"
    command: str | None = None
    args: tuple[SecretText, ...] = ()
    env: dict[str, SecretText] = Field(default_factory=dict[str, SecretStr])
    cwd: str | None = None
    """Beside the team file; `${cwd}` is the agent's workspace."""
    url: SecretStr | None = None
    headers: dict[str, SecretText] = Field(default_factory=dict[str, SecretStr])
    timeout: Seconds | None = None
    allowed_tools: Names | None = None
    disallowed_tools: Names = ()
    exclude_tools: Names = ()
    defer_loading: bool = False
    optional: bool = False
    """Taken; a server that does not start is always off for the run, and named in the result."""
    sandbox: Literal["auto", "off"] = "auto"
    stateless: bool = False
    """It remembers nothing between calls: one connection serves all agents of a run."""
    side_effects: dict[str, bool] = Field(default_factory=dict[str, bool])
    """Tool -> whether it changes something, where the server does not say so rightly."""
    security: McpSecurity | None = None
    description: str | None = None

    @field_validator("sandbox", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value

    @model_validator(mode="before")
    @classmethod
    def _normal(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        entry = dict(cast("Mapping[str, object]", value))
        given = entry.get("type")
        if given == "sse":
            raise ValueError("the sse transport is no longer served; use type: streamable-http")
        if isinstance(given, str):
            entry["type"] = _TRANSPORTS.get(given, given)
        elif "type" not in entry and "url" in entry and "command" not in entry:
            entry["type"] = "streamable-http"
        _split_command(entry)
        return as_tuples(entry)

    @field_validator("url", mode="after")
    @classmethod
    def _address(cls, value: SecretStr | None) -> SecretStr | None:
        # An address that is only known in the run (`${VAR}` in inline YAML) is checked there.
        if value is not None and "${" not in value.get_secret_value():
            problem = url_problem(value.get_secret_value())
            if problem:
                raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _one_way_in(self) -> McpServer:
        if self.type == "stdio" and (self.command is None or self.url is not None):
            raise ValueError("a stdio server has a command and no url")
        if self.type == "streamable-http" and (self.url is None or self.command is not None):
            raise ValueError("a streamable-http server has a url and no command")
        return self

    @property
    def secrets(self) -> Iterator[tuple[str, str]]:
        """Name and value of what must not be shown: headers, and variables by what they are called."""
        for name, value in self.headers.items():
            text = value.get_secret_value()
            yield name, text
            _, blank, key = text.partition(" ")
            if blank:
                yield name, key
        for name, value in self.env.items():
            if _SECRET.search(name):
                yield name, value.get_secret_value()


def _split_command(entry: dict[str, object]) -> None:
    """`command: npx -y server` and `command: [npx, -y, server]` become a command and its arguments."""
    command = entry.get("command")
    words: list[object] = []
    if isinstance(command, str) and " " in command.strip():
        try:
            words = [*shlex.split(command)]
        except ValueError as error:
            raise ValueError("the command's quotes are not closed") from error
    elif isinstance(command, list | tuple):
        words = [*cast("list[object]", command)]
    if words:
        given: object = entry.get("args")
        rest = [*cast("list[object]", given)] if isinstance(given, list | tuple) else []
        entry["command"] = words[0]
        entry["args"] = [*words[1:], *rest]


def _listed(value: object) -> object:
    """The mapping form, `name: {...}`, as the list form."""
    if not isinstance(value, Mapping):
        return as_tuples(value)
    servers: list[object] = []
    for name, entry in cast("Mapping[str, object]", value).items():
        if isinstance(entry, Mapping):
            servers.append({"name": name, **cast("Mapping[str, object]", entry)})
        else:
            servers.append(entry)
    return as_tuples(servers)


McpServers = Annotated[tuple[McpServer, ...], BeforeValidator(_listed)]
"""A list of entries with a `name` each, or a mapping of names to entries."""
