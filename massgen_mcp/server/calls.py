"""The five tools: arguments in, a run or a look at runs, a reply out."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import mcp_types as types
from mcp.server.context import ServerRequestContext

from massgen_mcp.errors import ConfigError, MassgenError, RequestRefused, RunNotFound
from massgen_mcp.runs import Allowance, Ask, RunHandle, RunResult, Runs
from massgen_mcp.runs.result import Detail
from massgen_mcp.secrets import Secrets
from massgen_mcp.server.afar import wait_afar
from massgen_mcp.server.arguments import (
    Arguments,
    AskTeam,
    CancelRun,
    GetRun,
    ListBackends,
    ValidateConfig,
    read_arguments,
)
from massgen_mcp.server.caller import caller_of, ended_of
from massgen_mcp.server.hosts import default_wait
from massgen_mcp.server.looks import check_look, latest_runs, look, records_of, reply_of_run
from massgen_mcp.server.presence import Presence
from massgen_mcp.server.progress import wait_reporting
from massgen_mcp.server.replies import data_reply, refusal
from massgen_mcp.server.service import Service

__all__ = ["begin_ask", "call_tool", "refused", "reply_of_ask"]

_ENDS = (".", "!", "?")
_ArgumentsT = TypeVar("_ArgumentsT", bound=Arguments)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a tool."""

    ctx: ServerRequestContext[Service, Any]
    given: Mapping[str, Any] | None

    def read(self, model: type[_ArgumentsT]) -> _ArgumentsT:
        """Its arguments. Raises `RequestRefused`."""
        return read_arguments(model, self.given)

    @property
    def service(self) -> Service:
        """What all calls share."""
        return self.ctx.lifespan_context

    async def runs(self) -> Runs:
        """The runs as its caller may see them. Raises as `Service.runs` does."""
        return await self.service.runs_of(self.ctx)

    def shown(self, result: RunResult) -> RunResult:
        """A result without what means nothing to its caller."""
        return result if caller_of(self.ctx).local else result.elsewhere()

    def presence(self) -> AbstractContextManager[Presence]:
        """This call as one that waits: if it is cancelled, the fate of the run named in it is decided."""
        return self.service.presences.of(self.ctx)

    async def wait(self, runs: Runs, handle: RunHandle, seconds: float | None) -> RunResult:
        """Wait for a run, telling the caller how it goes."""
        return await wait_reporting(
            handle,
            seconds,
            self._report,
            clock=self.service.clock,
            past=lambda: records_of(runs, handle.run_id),
            redact=runs.secrets.redact,
        )

    async def wait_afar(self, runs: Runs, run_id: str, seconds: float | None) -> RunResult:
        """The same for a run that another process drives."""
        return await wait_afar(runs, run_id, seconds, self._report, clock=self.service.clock)

    async def deliver(self, runs: Runs, result: RunResult) -> None:
        """The caller has what there will ever be of this run: who asks the same again wants it anew.

        One whose connection is gone does not have it: the same question joins the run, for nothing.
        """
        gone = ended_of(self.ctx)
        if result.status not in {"running", "interrupted"} and (gone is None or not gone.is_set()):
            await runs.deliver(result.run_id)

    async def _report(self, count: float, line: str) -> None:
        await self.ctx.session.report_progress(count, message=line)


async def call_tool(
    ctx: ServerRequestContext[Service, Any], name: str, arguments: Mapping[str, Any] | None
) -> types.CallToolResult:
    """The reply to a call. What the caller or the operator can mend comes back in words, as an error."""
    tool = _TOOLS.get(name)
    if tool is None:
        return refusal(_unknown_tool(name), Secrets())
    try:
        return await tool(_Call(ctx, arguments))
    except MassgenError as error:
        return refused(ctx, error)


def refused(ctx: ServerRequestContext[Service, Any], error: MassgenError) -> types.CallToolResult:
    """A call that can't be served, in words."""
    words = str(error).rstrip()
    if isinstance(error, ConfigError | RequestRefused | RunNotFound) and "spent" not in words:
        words += " Nothing was spent." if words.endswith(_ENDS) else ". Nothing was spent."
    return refusal(words, ctx.lifespan_context.secrets)


def _ask_of(given: AskTeam) -> Ask:
    budget = given.budget
    return Ask(
        question=given.question,
        team=given.team,
        agents=tuple(given.agents or ()),
        context=given.context or "",
        files=tuple(given.files or ()),
        images=tuple(given.images or ()),
        strategy=given.strategy,
        budget=Allowance(**budget.model_dump()) if budget else Allowance(),
        continue_run=given.continue_run or "",
    )


async def begin_ask(
    ctx: ServerRequestContext[Service, Any], arguments: Mapping[str, Any] | None
) -> tuple[str, Detail]:
    """Put the question of an `ask_team` call for a caller who comes back for it, however late.

    Returns the run's id and the detail asked for.

    Raises:
        MassgenError: it can't be asked; nothing was spent.
    """
    call = _Call(ctx, arguments)
    given = call.read(AskTeam)
    ask = _ask_of(given)
    runs = await call.runs()
    asked = await runs.ask(ask)
    if asked.handle is not None:
        # Somebody waits for it, if not here: another caller who waits and leaves does not stop it.
        asked.handle.waiting += 1
    return asked.run_id, given.detail or "summary"


async def reply_of_ask(
    ctx: ServerRequestContext[Service, Any], result: RunResult, detail: Detail
) -> types.CallToolResult:
    """What `ask_team` returns about a run."""
    call = _Call(ctx, None)
    runs = await call.runs()
    no_answer = result.status != "running" and not result.answer
    reply = await reply_of_run(runs, call.shown(result), detail=detail, is_error=no_answer)
    await call.deliver(runs, result)
    return reply


async def _ask_team(call: _Call) -> types.CallToolResult:
    given = call.read(AskTeam)
    ask = _ask_of(given)
    seconds = default_wait(call.ctx) if given.wait_seconds is None else given.wait_seconds
    runs = await call.runs()
    with call.presence() as presence:
        asked = await runs.ask(ask)
        presence.run = handle = asked.handle
        if handle is not None:
            result = await call.wait(runs, handle, seconds)
        else:
            result = await call.wait_afar(runs, asked.run_id, seconds)
    if asked.attached:
        result = result.model_copy(update={"attached": True})
    return await reply_of_ask(call.ctx, result, given.detail or "summary")


async def _get_run(call: _Call) -> types.CallToolResult:
    given = check_look(call.read(GetRun))
    runs = await call.runs()
    if given.run_id is None:
        return await latest_runs(runs, given)
    seconds = given.wait_seconds or 0.0
    handle = runs.live(given.run_id)
    if not seconds:
        result = await runs.result(given.run_id)
    elif handle is None:
        result = await call.wait_afar(runs, given.run_id, seconds)
    else:
        with call.presence() as presence:
            presence.run = handle
            result = await call.wait(runs, handle, seconds)
    reply = await look(runs, call.shown(result), given)
    await call.deliver(runs, result)
    return reply


async def _cancel_run(call: _Call) -> types.CallToolResult:
    given = call.read(CancelRun)
    runs = await call.runs()
    result = await runs.cancel(given.run_id, "cancel_run was called")
    reply = await reply_of_run(runs, call.shown(result), detail="summary", is_error=False)
    await call.deliver(runs, result)
    return reply


async def _list_backends(call: _Call) -> types.CallToolResult:
    given = call.read(ListBackends)
    runs = await call.runs()
    return data_reply(await runs.catalogue(given.backend, given.task, limit=4_096), None, runs.secrets)


async def _validate_config(call: _Call) -> types.CallToolResult:
    given = call.read(ValidateConfig)
    runs = await call.runs()
    return data_reply(await runs.teams.validate(given.config), None, runs.secrets)


_Tool: TypeAlias = Callable[[_Call], Awaitable[types.CallToolResult]]
_TOOLS: Mapping[str, _Tool] = {
    "ask_team": _ask_team,
    "get_run": _get_run,
    "cancel_run": _cancel_run,
    "list_backends": _list_backends,
    "validate_config": _validate_config,
}


def _unknown_tool(name: str) -> str:
    close = difflib.get_close_matches(name, _TOOLS, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f'Unknown tool "{name[:100]}".{hint} Tools: {", ".join(_TOOLS)}. Nothing was spent.'
