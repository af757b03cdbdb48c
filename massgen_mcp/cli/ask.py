"""`massgen-mcp ask`: a question to a team, watched on stderr, answered on stdout."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace

import anyio

from massgen_mcp.backends.registry import backend_info, suggest
from massgen_mcp.cli.closing import exit_code, show_footer, show_markdown
from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.live import watch
from massgen_mcp.cli.roots import with_roots
from massgen_mcp.cli.stopping import Stopping
from massgen_mcp.cli.streams import read_stdin, say, say_json
from massgen_mcp.cli.world import MakeRuns, named_team, within_runs
from massgen_mcp.errors import RequestRefused
from massgen_mcp.runs import Allowance, Ask, RunHandle, RunResult, Runs
from massgen_mcp.secrets import Secrets

__all__ = ["run"]


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Ask, watch, answer.

    Raises:
        MassgenError: it can't be asked; nothing was spent.
    """
    ask, config_dirs = _ask(args), args.config_dirs
    environ = with_roots(environ, args.roots)
    if ask.team:
        team, config_dirs = named_team(ask.team, config_dirs)
        ask = replace(ask, team=team)

    async def work(runs: Runs) -> int:
        handle = await runs.start(ask)
        result = await _watched(handle, runs.secrets, environ)
        if result is None:
            say(sys.stderr, f"Left it. What it has so far: massgen-mcp runs show {handle.run_id} --answers")
            return ExitCode.INTERRUPTED
        if args.json:
            say_json(sys.stdout, runs.secrets.redact_value(result.public(args.detail)))
        else:
            if result.answer:
                show_markdown(runs.secrets.redact(result.answer), environ)
            show_footer(result, args.detail, environ, redact=runs.secrets.redact)
        return exit_code(result)

    return within_runs(work, make_runs=make_runs, environ=environ, config_dirs=config_dirs)


async def _watched(handle: RunHandle, secrets: Secrets, environ: Mapping[str, str]) -> RunResult | None:
    """The result; None when the person at the terminal did not want to wait for it."""
    stopping = Stopping(handle)
    result: RunResult | None = None
    with stopping.taken():
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as waiting:
                tasks.start_soon(stopping.listen, waiting)
                await watch(handle, stopping, environ=environ, redact=secrets.redact)
                result = await handle.wait()
            stopping.close()
    return result


def _ask(args: Namespace) -> Ask:
    if args.question == "-" and args.context == "-":
        raise RequestRefused("Only one of QUESTION and --context can be read from stdin.")
    if args.team and (args.model or args.backend):
        raise RequestRefused("Give --team, or --model and --backend, not both.")
    return Ask(
        question=read_stdin("QUESTION") if args.question == "-" else args.question,
        context=read_stdin("--context") if args.context == "-" else args.context,
        files=tuple(args.file),
        images=tuple(args.image),
        team=args.team,
        agents=_agents(args.model, args.backend),
        strategy=args.strategy,
        budget=Allowance(usd=args.budget, seconds=args.seconds),
    )


def _agents(models: list[str], backend: str | None) -> tuple[str, ...]:
    """`--model` and `--backend` in the shorthand of `ask_team`: `grok/grok-3-mini`."""
    if backend is None:
        return tuple(models)
    if backend_info(backend) is None:
        meant = suggest(backend)
        hint = f" Did you mean '{meant}'?" if meant else " `massgen-mcp backends` lists them."
        raise RequestRefused(f"Unknown backend {backend!r}.{hint}")
    return tuple(f"{backend}/{model}" for model in models) or (backend,)
