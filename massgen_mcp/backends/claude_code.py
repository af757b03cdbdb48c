"""Claude Code: the command line as an agent that brings its own tools and loop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.options import Names, Options as BaseOptions
from massgen_mcp.backends.reasoning import Effort
from massgen_mcp.backends.sdk import load

__all__ = ["DANGEROUS_TOOLS", "NATIVE_TOOLS", "Options", "PermissionMode", "connect"]

DANGEROUS_TOOLS = ("Bash(rm*)", "Bash(sudo*)", "Bash(su*)", "Bash(chmod*)", "Bash(chown*)")
"""Patterns that stay disallowed whatever a team file lists, unless `allow_dangerous_tools` lifts them."""

NATIVE_TOOLS = (
    "Bash",
    "BashOutput",
    "Edit",
    "ExitPlanMode",
    "Glob",
    "Grep",
    "KillShell",
    "MultiEdit",
    "NotebookEdit",
    "Read",
    "Skill",
    "Task",
    "TodoWrite",
    "WebFetch",
    "WebSearch",
    "Write",
)

PermissionMode = Literal["acceptEdits", "bypassPermissions", "dontAsk"]

_MODES_THAT_ASK = ("default", "plan")


class Options(BaseOptions):
    """The backend block of `type: claude_code`."""

    permission_mode: PermissionMode = "bypassPermissions"
    """Inside our launcher, where nobody can confirm."""
    system_prompt: str | None = None
    """Appended to the command line's own instructions."""
    append_system_prompt: str | None = None
    """Another name of the same."""
    use_default_prompt: bool = True
    max_thinking_tokens: Annotated[int, Field(ge=0)] = 8000
    """Where the model takes a budget; newer ones think adaptively."""
    effort: Effort | None = None
    use_subscription: bool = False
    """Skip the keys and use the logged-in subscription."""
    allow_dangerous_tools: bool = False
    """Lift the five patterns that are always refused; taken from the operator's own file alone."""
    allowed_tools: Names | None = None
    """Only these; an entry with a pattern, as `Bash(git*)`, allows no more than its pattern says."""
    disallowed_tools: Names = ()
    exclude_tools: Names = ()
    fallback_model: str | None = None
    max_turns: Annotated[int, Field(gt=0)] | None = None
    max_budget_usd: Annotated[float, Field(gt=0)] | None = None
    cli_path: Path | None = None

    @field_validator("permission_mode", mode="before")
    @classmethod
    def _never_asks(cls, value: object) -> object:
        if isinstance(value, str) and value in _MODES_THAT_ASK:
            raise ValueError(
                f"permission_mode: {value} asks a person, and nobody is there to answer; "
                "use bypassPermissions, acceptEdits or dontAsk"
            )
        return value

    @property
    def refused_tools(self) -> tuple[str, ...]:
        """Everything the command line is told not to use: the user's lists and the dangerous patterns."""
        always = () if self.allow_dangerous_tools else DANGEROUS_TOOLS
        return tuple(dict.fromkeys((*always, *self.disallowed_tools, *self.exclude_tools)))


async def connect(options: Options, context: BackendContext) -> AgentRuntime:
    """An agent on Claude Code. Its process is started by its first turn.

    Raises:
        BackendError: a part is missing, or there is nothing to be let in with; the text says what to do.
    """
    # By name: who only reads options needs no sandbox, which some systems can't even import.
    opening = await load("massgen_mcp.backends.claude_code_open")
    return await opening.open_runtime(options, context)
