"""From the backend block to what the Agent SDK is told: tools, permissions, thinking, limits, variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from massgen_mcp.backends.claude_code_access import Access
from massgen_mcp.backends.claude_code_place import Place
from massgen_mcp.backends.claude_models import generation, thinks_adaptively

if TYPE_CHECKING:
    from massgen_mcp.backends.claude_code import Options

__all__ = ["SERVER", "allowed", "base_tools", "permission_mode", "refused", "settings", "variables"]

SERVER = "massgen"
"""The name of the in-process server, which the model sees in each tool's name."""
_DEFAULT_TOOLS = (
    "Bash",
    "Edit",
    "Glob",
    "Grep",
    "NotebookEdit",
    "Read",
    "TodoWrite",
    "WebFetch",
    "WebSearch",
    "Write",
)
"""Subagents and skills only where the team file names them: they spend, and could hand in answers."""
_SHELL_TOOLS = frozenset({"Bash", "BashOutput", "KillShell"})
_WEB_TOOLS = frozenset({"WebFetch", "WebSearch"})
_PRIVATE_HOSTS = ("localhost", "127.0.0.1", "169.254.169.254", "metadata.google.internal")
_OTHERS = ("/proc/**/environ", "/proc/**/mem", "/proc/**/fd/**")
"""Where the command line's own key could be read."""
_EFFORTS: Mapping[str, str] = {"minimal": "low", "none": "low"}
_MAX_LINE = 16 * 1024 * 1024
"""Bytes of one line of the command line's output; an image in a tool result is one line."""
_MOST_REQUESTS = 200
"""Model requests of one turn, where the team file does not say: one that never ends is no work."""
_RETRIES = "3"
"""Tries of the command line's own, which count only once a turn has used a tool; see claude_code_reading."""
_HOUR_MS = "3600000"
_ALWAYS: Mapping[str, str] = {
    "CLAUDE_CODE_MAX_RETRIES": _RETRIES,
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "CLAUDE_CODE_ENABLE_TODO_TOOLS": "1",
    "CLAUDE_CODE_STARTUP_FAILURE_RESULTS": "1",
    # What the SDK would set as well: named here, so that the launcher keeps them.
    "CLAUDE_CODE_ENTRYPOINT": "sdk-py",
    "CLAUDE_CODE_SDK_READS_SESSION_STATE": "1",
    # All tools in the first request: few enough, and none has to be searched for.
    "ENABLE_TOOL_SEARCH": "false",
    # A team's tool may take long; it has a limit of its own.
    "MCP_TOOL_TIMEOUT": _HOUR_MS,
    # Below the idle limit of the registry row: a silent command is no dead agent.
    "BASH_MAX_TIMEOUT_MS": "540000",
}


def _native(entry: str) -> str:
    """The native tool that a filter's entry is about; empty for other tools, whose names begin small."""
    name = entry.partition("(")[0].strip()
    return name if name[:1].isupper() else ""


def base_tools(options: Options, place: Place) -> list[str]:
    """The native tools that there are: those allowed by name, without those refused as a whole."""
    listed = options.allowed_tools
    names = _DEFAULT_TOOLS if listed is None else [name for entry in listed if (name := _native(entry))]
    gone = {entry for entry in options.refused_tools if "(" not in entry}
    told = options.model_fields_set
    if "enable_web_search" in told and not options.enable_web_search:
        gone |= _WEB_TOOLS
    if not place.has_shell or ("enable_code_execution" in told and not options.enable_code_execution):
        gone |= _SHELL_TOOLS
    return [name for name in dict.fromkeys(names) if name not in gone]


def permission_mode(options: Options, place: Place) -> str:
    """How the command line decides: as the block says, narrowed where nothing holds it.

    A pattern in the allow list is a promise that only `dontAsk` keeps; without a sandbox its own rule that
    files are changed in the working folder alone is all there is.
    """
    if any("(" in entry for entry in options.allowed_tools or ()):
        return "dontAsk"
    if options.permission_mode == "bypassPermissions" and not place.confined:
        return "acceptEdits"
    return options.permission_mode


def allowed(options: Options, place: Place) -> list[str]:
    """What is allowed without a question: our tools, what it may look at, and what the block lists."""
    listed = [entry for entry in options.allowed_tools or () if _native(entry)]
    return [f"mcp__{SERVER}", *(f"Read(/{path}/**)" for path in place.readable), *listed]


def refused(options: Options, place: Place) -> list[str]:
    """What is refused in every mode: the block's entries, secrets of processes, services of this machine."""
    own = [entry for entry in options.refused_tools if _native(entry)]
    hidden = [pattern for path in place.hidden for pattern in (str(path), f"{path}/**")]
    files = [
        f"{tool}(/{path})" for path in (*_OTHERS, f"{place.config}/**", *hidden) for tool in ("Read", "Edit")
    ]
    hosts = [f"WebFetch(domain:{host})" for host in _PRIVATE_HOSTS]
    return [*own, *files, *hosts]


def variables(options: Options, place: Place, access: Access) -> dict[str, str]:
    """The environment of the command line, whole."""
    found = {**place.variables(), **_ALWAYS, **access.variables}
    if options.max_tokens is not None:
        found["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = str(options.max_tokens)
    if options.timeout is not None:
        found["API_TIMEOUT_MS"] = str(int(options.timeout * 1000))
    if options.extra_body:
        found["CLAUDE_CODE_EXTRA_BODY"] = json.dumps(options.extra_body)
    if options.extra_headers:
        lines = [f"{name}: {value}" for name, value in options.extra_headers.items()]
        found["ANTHROPIC_CUSTOM_HEADERS"] = "\n".join(lines)
    return found


def settings(options: Options, place: Place, access: Access, *, model: str) -> dict[str, Any]:
    """The SDK's options, but for what belongs to one start: session, prompt, tools of ours.

    Nothing of the user's or the workspace's settings is loaded, and what others wrote is never expanded.
    """
    found: dict[str, Any] = {
        "cli_path": place.launcher,
        "cwd": place.workspace,
        "env": variables(options, place, access),
        "model": model or None,
        "setting_sources": [],
        "settings": json.dumps({"attribution": {"commit": "", "pr": ""}, "disableAllHooks": True}),
        "strict_mcp_config": True,
        "verbatim_prompts": True,
        "include_partial_messages": True,
        "max_buffer_size": _MAX_LINE,
        "tools": base_tools(options, place),
        "allowed_tools": allowed(options, place),
        "disallowed_tools": refused(options, place),
        "permission_mode": permission_mode(options, place),
        "thinking": _thinking(options, model),
        "fallback_model": options.fallback_model,
        "max_turns": options.max_turns or _MOST_REQUESTS,
        "max_budget_usd": options.max_budget_usd,
    }
    if options.effort is not None:
        found["effort"] = _EFFORTS.get(options.effort, options.effort)
    return found


def _thinking(options: Options, model: str) -> dict[str, Any]:
    """A budget where the model takes one; names without a number mean the newest, which decide themselves."""
    if options.max_thinking_tokens == 0 or options.effort == "none":
        return {"type": "disabled"}
    if generation(model) == (0, 0) or thinks_adaptively(model):
        return {"type": "adaptive"}
    return {"type": "enabled", "budget_tokens": options.max_thinking_tokens}
