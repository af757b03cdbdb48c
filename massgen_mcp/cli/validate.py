"""`massgen-mcp validate`: everything that is wrong with a team file, a line each."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.streams import say, say_json
from massgen_mcp.cli.world import MakeRuns, named_team, team_typed, within_runs
from massgen_mcp.errors import Problem
from massgen_mcp.runs import Runs
from massgen_mcp.runs.lines import duration, money

__all__ = ["run"]


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Say the problems, and whether the file can be used; `--strict` takes warnings for errors.

    Raises:
        RequestRefused: there is no such team.
    """
    config, config_dirs = named_team(args.config, args.config_dirs)

    async def work(runs: Runs) -> int:
        with team_typed(config):
            found = runs.secrets.redact_value(await runs.teams.validate(config))
        problems = [_problem(problem) for problem in found["problems"]]
        bad = [problem for problem in problems if problem.severity in _refused(strict=args.strict)]
        if args.json:
            say_json(sys.stdout, found)
        else:
            for problem in problems:
                say(sys.stdout, _line(problem))
            say(sys.stdout, _verdict(found, bad))
            if found.get("expected") and not bad:
                say(sys.stdout, _expected(found["expected"]))
        return ExitCode.CONFIG if bad or not found["ok"] else ExitCode.ANSWER

    return within_runs(work, make_runs=make_runs, environ=environ, config_dirs=config_dirs)


def _refused(*, strict: bool) -> tuple[str, ...]:
    return ("error", "warning") if strict else ("error",)


def _problem(found: Mapping[str, Any]) -> Problem:
    keys = ("line", "column", "severity", "hint")
    return Problem(
        path=found.get("path", ""),
        message=found["message"],
        **{key: found[key] for key in keys if key in found},
    )


def _line(problem: Problem) -> str:
    """As `agents[1].backend.type (line 9): unknown backend 'google'. Did you mean 'gemini'?`."""
    return str(problem) if problem.severity == "error" else f"{problem.severity}: {problem}"


def _verdict(found: Mapping[str, Any], bad: Sequence[Problem]) -> str:
    name = found.get("name") or "It"
    if bad or not found["ok"]:
        count = len(bad)
        return f"{name} can't be used: {count} problem{'' if count == 1 else 's'}."
    if not found.get("runs", True):
        return f"{name} is valid, and can't be run by this version: see the warnings."
    limits = found.get("costs_at_most", {})
    at_most = [
        money(limits.get("usd")),
        f"{limits['tokens']:,} tokens" if "tokens" in limits else "",
        f"{limits['requests']:,} requests" if "requests" in limits else "",
        duration(limits["seconds"]) if "seconds" in limits else "",
    ]
    cost = ", ".join(part for part in at_most if part)
    return f"{name} is valid." + (f" A run stops at {cost}." if cost else "")


def _expected(found: Mapping[str, Any]) -> str:
    """As `A typical question needs 3 to 7 requests, $0.01 to $0.05, 20 to 120 s. ...`."""
    parts = [_span([f"{count:,}" for count in found[key]], f" {key}") for key in ("requests", "tokens")]
    if "usd" in found:
        parts.append(_span([money(usd) or "$0.00" for usd in found["usd"]]))
    parts.append(_span([str(seconds) for seconds in found["seconds"]], " s"))
    missing = found.get("no_price", ())
    words = f" No price is known for {', '.join(missing)}." if missing else ""
    return f"A typical question needs {', '.join(parts)}.{words} Assumed: {found['assumes']}."


def _span(ends: Sequence[str], unit: str = "") -> str:
    return " to ".join(dict.fromkeys(ends)) + unit
