"""The entry of the terminal: the command line in, an exit code out."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from massgen_mcp.cli.arguments import parse
from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.streams import say
from massgen_mcp.cli.wording import for_a_person
from massgen_mcp.errors import MassgenError

if TYPE_CHECKING:
    from argparse import Namespace

    from massgen_mcp.cli.world import MakeRuns

__all__ = ["main"]


class _Command(Protocol):
    def __call__(self, args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int: ...


def main(
    argv: Sequence[str] | None = None,
    *,
    make_runs: MakeRuns | None = None,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Do what the command line says (the process's own when `argv` is None), and return the exit code.

    `make_runs` replaces the real world: teams, models and journal.
    """
    try:
        code = _do(sys.argv[1:] if argv is None else argv, make_runs=make_runs, environ=environ)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _interrupted()
    except BaseExceptionGroup as group:
        # A second Ctrl-C can strike while tasks are being cancelled for the first.
        if not _is_interrupt(group):
            raise
        return _interrupted()
    except BrokenPipeError:
        _forget_stdout()
        return ExitCode.CLOSED_PIPE
    except MassgenError as error:
        say(sys.stderr, f"massgen-mcp: {for_a_person(str(error))}")
        return ExitCode.CONFIG
    return code


def _do(argv: Sequence[str], *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    try:
        args = parse(argv)
        # By name, so that a command loads what it needs and `--help` nothing.
        command: _Command = importlib.import_module(f"massgen_mcp.cli.{args.command}").run
        return command(args, make_runs=make_runs, environ=environ)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else ExitCode.ANSWER


def _interrupted() -> ExitCode:
    say(sys.stderr, "massgen-mcp: interrupted.")
    return ExitCode.INTERRUPTED


def _is_interrupt(group: BaseExceptionGroup[BaseException]) -> bool:
    # By name, since asyncio is heavy; when a group comes it is loaded.
    cancelled: type[BaseException] = importlib.import_module("asyncio.exceptions").CancelledError
    interrupts, others = group.split((KeyboardInterrupt, cancelled))
    return others is None and interrupts is not None and interrupts.subgroup(KeyboardInterrupt) is not None


def _forget_stdout() -> None:
    """The reader has left: what is still buffered must not fail again when the interpreter exits."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)
