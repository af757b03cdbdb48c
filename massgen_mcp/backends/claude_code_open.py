"""From options to an agent on Claude Code: what it needs is looked for, and said where it is missing."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread

from massgen_mcp.backends.agent_place import FindSandbox
from massgen_mcp.backends.claude_code import Options
from massgen_mcp.backends.claude_code_access import Access, find_access
from massgen_mcp.backends.claude_code_failures import TurnFailures
from massgen_mcp.backends.claude_code_place import Place, open_place
from massgen_mcp.backends.claude_code_program import find_program
from massgen_mcp.backends.claude_code_runtime import Runtime
from massgen_mcp.backends.claude_code_session import Session, Vendor
from massgen_mcp.backends.claude_code_settings import SERVER, settings
from massgen_mcp.backends.claude_code_tools import Desk
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.sdk import load
from massgen_mcp.workspace.sandbox import find_sandbox

__all__ = ["open_runtime"]

_NAMES = (
    f"Tools that instructions name without a prefix, such as new_answer, are called mcp__{SERVER}__NAME here."
)


async def open_runtime(
    options: Options,
    context: BackendContext,
    *,
    find: FindSandbox = find_sandbox,
    starts: float | None = None,
) -> Runtime:
    """An agent on Claude Code. Its process is started by its first turn.

    Args:
        options: the backend block.
        context: what the outside gives.
        find: how a sandbox is found.
        starts: seconds that the command line has to greet, instead of the usual.

    Raises:
        BackendError: a part is missing, or there is nothing to be let in with; the text says what to do.
    """
    access = await find_access(options, context)
    vendor = Vendor(
        sdk=await load("claude_agent_sdk", extra="claude-code"),
        server=(await load("mcp.server.lowlevel")).Server,
        protocol=await load("mcp.types"),
    )
    folder = Path(vendor.sdk.__file__ or "").parent
    program = await anyio.to_thread.run_sync(find_program, options.cli_path, context.environ, folder)
    place = await open_place(context, program, find=find)
    return _assemble(options, context, vendor, access, place, starts)


def _assemble(
    options: Options,
    context: BackendContext,
    vendor: Vendor,
    access: Access,
    place: Place,
    starts: float | None,
) -> Runtime:
    asked = options.model or context.info.default_model or ""
    model = context.info.aliases.get(asked, asked)
    desk = Desk(vendor.protocol)
    prompt = options.system_prompt or options.append_system_prompt
    session = Session(
        vendor=vendor,
        place=place,
        settings=settings(options, place, access, model=model),
        prompt="\n\n".join(part for part in (prompt, _NAMES) if part),
        full=options.use_default_prompt,
        desk=desk,
        **({} if starts is None else {"starts": starts}),
    )
    failures = Failures(
        title=context.info.title,
        model=model,
        key=access.name,
        secrets=context.secrets,
        clock=context.clock,
    )
    return Runtime(
        info=context.info,
        model=model,
        vendor=vendor,
        place=place,
        session=session,
        desk=desk,
        access=access,
        failures=TurnFailures(failures, access),
        warnings=_warnings(place),
    )


def _warnings(place: Place) -> tuple[str, ...]:
    """What this machine can't give it."""
    if place.has_shell:
        return ()
    what = "its shell (Bash) is off" if place.sandbox is None else "its own shell (Bash) is off"
    changes = ", and it changes files in its own folder alone" if place.sandbox is None else ""
    return (f"Claude Code: {what}{changes}, since no sandbox works here: {place.why}",)
