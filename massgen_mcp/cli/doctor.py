"""`massgen-mcp doctor`: everything that a run stands on, looked at once, with what to do about it.

It asks no provider, changes nothing, and makes no folder. Local servers and programs are asked who they are.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread

from massgen_mcp.cli import findings, findings_kept
from massgen_mcp.cli.bundle import Bundle, write_bundle
from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.consoles import tell
from massgen_mcp.cli.findings import Finding
from massgen_mcp.cli.roots import with_roots
from massgen_mcp.cli.streams import say, say_json
from massgen_mcp.cli.world import MakeRuns, within_runs
from massgen_mcp.config.environment import default_environment
from massgen_mcp.errors import RequestRefused
from massgen_mcp.journal.check import Health
from massgen_mcp.runs import Runs
from massgen_mcp.runs.roots import find_roots
from massgen_mcp.runs.settings import read_settings

__all__ = ["examine", "run"]

_MARKS = {"ok": "ok      ", "note": "note    ", "problem": "PROBLEM "}
_INDENT = " " * 10


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Say what was found. The exit code is 1 where something is a problem.

    Raises:
        RequestRefused: the bundle can't be written as it was asked for.
    """
    if args.bundle is None and (args.run or args.log or args.with_texts):
        raise RequestRefused("--run, --log and --with-texts go with --bundle FILE.")
    environ = with_roots(environ, args.roots)

    async def work(runs: Runs) -> int:
        found, health = await examine(runs, environ, config_dirs=args.config_dirs)
        found = [_redacted(finding, runs) for finding in found]
        if args.json:
            say_json(sys.stdout, [finding.data() for finding in found])
        else:
            _show(found, environ)
        if args.bundle is not None:
            bundle = Bundle(
                path=args.bundle,
                found=found,
                health=health,
                run_id=args.run,
                log=args.log,
                with_texts=args.with_texts,
            )
            await write_bundle(bundle, runs, environ)
            say(sys.stderr, f"Written: {args.bundle}. Look into it before you send it: README.txt says how.")
        return ExitCode.CONFIG if any(finding.level == "problem" for finding in found) else ExitCode.ANSWER

    return within_runs(work, make_runs=make_runs, environ=environ, config_dirs=args.config_dirs)


async def examine(
    runs: Runs,
    environ: Mapping[str, str],
    *,
    config_dirs: Sequence[Path] = (),
    home: Path | None = None,
    here: Path | None = None,
) -> tuple[list[Finding], Health | None]:
    """Look at everything, in the order in which it is told."""
    home, here = home or Path.home(), here or Path.cwd()
    settings = read_settings(environ, config_dirs=tuple(config_dirs))
    environment = default_environment(environ, home=home, working_folder=here)
    kept, health = await anyio.to_thread.run_sync(findings_kept.journal, settings.state_dir)
    folder = await anyio.to_thread.run_sync(lambda: list(findings_kept.state_folder(settings.state_dir)))
    found = [
        *findings.machine(),
        await findings.sandbox(environ),
        *await findings.programs(environ),
        findings.network(environ),
        *findings_kept.settings_found(settings),
        *folder,
        kept,
        *findings_kept.keys(environment),
        *findings_kept.roots(find_roots(environ=environ, cwd=here, home=home)),
        *await findings_kept.backends(runs.teams),
        *await findings_kept.teams(runs.teams),
    ]
    return found, health


def _redacted(finding: Finding, runs: Runs) -> Finding:
    redact = runs.secrets.redact
    return replace(finding, text=redact(finding.text), remedy=redact(finding.remedy))


def _show(found: Sequence[Finding], environ: Mapping[str, str]) -> None:
    styles = {"ok": "", "note": "yellow", "problem": "red"}
    for finding in found:
        line = f"{_MARKS[finding.level]}{finding.name}: {finding.text}"
        tell(sys.stdout, line, environ, style=styles[finding.level])
        if finding.remedy:
            tell(sys.stdout, f"{_INDENT}{finding.remedy}", environ)
    count = sum(finding.level == "problem" for finding in found)
    verdict = f"{count} problem{'' if count == 1 else 's'}." if count else "No problems."
    say(sys.stdout, verdict)
