"""What an agent may use: the keys of a `backend` block that are about tools, files and media.

They stand in the same block as the provider's options because MassGen's files have them there.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import field_validator

from massgen_mcp.config.base import Count, Names, Part, Seconds, Switch, as_tuples
from massgen_mcp.config.servers import McpServers

__all__ = [
    "OWN_FILE_TOOLS",
    "OWN_PREFIXES",
    "SHELL_TOOL",
    "AgentTools",
    "ContextPath",
    "CustomTool",
    "MediaBackend",
]

OWN_FILE_TOOLS = (
    "read_file",
    "write_file",
    "edit_file",
    "create_directory",
    "list_directory",
    "move_file",
    "search_files",
    "get_file_info",
    "copy_file",
    "delete_file",
    "compare_files",
    "grep_files",
)
"""Our own file tools, by the names that people filter by."""
SHELL_TOOL = "execute_command"
OWN_PREFIXES = ("mcp__filesystem__", "mcp__workspace_tools__", "mcp__command_line__")
"""Names under which MassGen's files filter the same tools."""

MediaBackend = Literal["openai", "gemini", "google", "grok", "openrouter", "azure_openai"]


class ContextPath(Part):
    """A file or folder of the project that agents may see, and the presenter perhaps write."""

    path: str
    permission: Literal["read", "write"] = "read"
    protected_paths: Names = ()
    """Below it, never written."""


class CustomTool(Part):
    """Python functions of the operator's, offered as tools. `path` lies beside the team file."""

    path: str | None = None
    function: Names = ()
    name: Names = ()
    description: Names = ()
    category: str | None = None
    preset_args: dict[str, Any] | tuple[dict[str, Any], ...] | None = None
    default_params: dict[str, Any] | None = None


class AgentTools(Part):
    """Tools, workspace and media of one agent."""

    cwd: str | None = None
    """The name of its workspace, a fresh folder of the run."""
    context_paths: tuple[ContextPath, ...] = ()
    mcp_servers: McpServers = ()
    custom_tools: tuple[CustomTool, ...] = ()
    allowed_tools: Names | None = None
    disallowed_tools: Names = ()
    exclude_tools: Names = ()
    optional_filters: bool = False
    """A filter that matches nothing is no error."""
    exclude_custom_tools: Names = ()
    auto_discover_custom_tools: bool = False
    exclude_file_operation_mcps: bool = False
    """No file tools although there is a workspace."""
    concurrent_tool_execution: bool | None = None
    max_concurrent_tools: Count | None = None
    defer_loading: bool = False
    permissions: dict[str, Any] | None = None
    sandbox: Literal["auto", "off"] = "auto"
    enable_mcp_command_line: bool = False
    command_line_execution_mode: Literal["local", "docker", "srt"] = "local"
    command_line_timeout: Seconds | None = None
    command_line_allowed_commands: Names | None = None
    command_line_blocked_commands: Names = ()
    command_line_docker_image: str | None = None
    command_line_docker_memory_limit: str | None = None
    command_line_docker_cpu_limit: float | None = None
    command_line_docker_network_mode: Literal["none", "bridge", "host"] = "none"
    command_line_docker_enable_sudo: bool = False
    command_line_docker_credentials: dict[str, Any] | None = None
    command_line_docker_packages: dict[str, Any] | None = None
    command_line_srt_network_allowed_domains: Names = ()
    command_line_srt_deny_read: Names = ()
    command_line_srt_allow_unix_sockets: Names = ()
    command_line_srt_read_mode: str | None = None
    command_line_srt_allow_read: Names = ()
    enable_multimodal_tools: Switch = False
    multimodal_config: dict[str, Any] | None = None
    image_generation_backend: MediaBackend | None = None
    image_generation_model: str | None = None
    video_generation_backend: MediaBackend | None = None
    video_generation_model: str | None = None
    audio_generation_backend: MediaBackend | None = None
    audio_generation_model: str | None = None
    enable_image_generation: bool = False
    enable_audio_generation: bool = False
    enable_video_generation: bool = False
    enable_file_generation: bool = False
    upload_files: bool | tuple[str | dict[str, Any], ...] = ()

    @field_validator("sandbox", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value

    @field_validator("upload_files", "custom_tools", mode="before")
    @classmethod
    def _tuples(cls, value: object) -> object:
        return as_tuples(value)

    @field_validator("command_line_allowed_commands", "command_line_blocked_commands")
    @classmethod
    def _patterns(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for pattern in value or ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return value

    @property
    def refused(self) -> tuple[str, ...]:
        """The union of the two lists of what is not to be used."""
        return tuple(dict.fromkeys((*self.disallowed_tools, *self.exclude_tools)))
