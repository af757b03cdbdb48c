"""`massgen-mcp ask`: a question to a team, watched on stderr, answered on stdout."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace

from massgen_mcp.backends.registry import backend_info, suggest
from massgen_mcp.cli.answering import answer_from
from massgen_mcp.cli.resume import earlier_run
from massgen_mcp.cli.roots import with_roots
from massgen_mcp.cli.streams import read_stdin
from massgen_mcp.cli.wording import nothing_spent_unless
from massgen_mcp.cli.world import MakeRuns, named_team, team_typed, within_runs
from massgen_mcp.errors import MassgenError, RequestRefused
from massgen_mcp.runs import Allowance, Ask, RunHandle, Runs

__all__ = ["run"]


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Ask, watch, answer.

    Raises:
        MassgenError: it can't be asked; nothing was spent.
    """
    begun: list[RunHandle] = []
    with nothing_spent_unless(begun):
        ask, config_dirs = _ask(args), args.config_dirs
        environ = with_roots(environ, args.roots)
        if ask.team:
            team, config_dirs = named_team(ask.team, config_dirs)
            ask = replace(ask, team=team)
        elif ask.continue_run and not ask.agents:
            _, config_dirs = earlier_run(
                ask.continue_run, make_runs=make_runs, environ=environ, config_dirs=config_dirs
            )

        async def work(runs: Runs) -> int:
            begun.append(await _start(runs, ask))
            return await answer_from(runs, begun[0], detail=args.detail, as_json=args.json, environ=environ)

        return within_runs(work, make_runs=make_runs, environ=environ, config_dirs=config_dirs)


async def _start(runs: Runs, ask: Ask) -> RunHandle:
    if not ask.agents:
        with team_typed(ask.team or ""):
            return await runs.start(ask)
    try:
        return await runs.start(ask)
    except MassgenError as error:
        # Who names models has no backend block.
        raise RequestRefused(str(error).replace(", or give api_key in the backend block", "")) from error


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
        continue_run=args.continue_run or "",
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
