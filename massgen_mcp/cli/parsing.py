"""argparse, made to say what, why and what next in two lines, and an example with each `--help`."""

from __future__ import annotations

import argparse
import difflib
import textwrap
from collections.abc import Iterable, Sequence
from typing import NoReturn, TypeAlias

from massgen_mcp.cli.codes import ExitCode

__all__ = ["Actions", "Parser", "add_command", "examples", "not_understood", "suggested"]

# It has no other name.
Actions: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


class Parser(argparse.ArgumentParser):
    """argparse, with the exit code for a command line that can't be used, and without a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Say why the command line can't be used, and where it is explained.

        Raises:
            SystemExit: always, with the exit code for that.
        """
        why = message.removeprefix("argument ").replace(
            "the following arguments are required:", "this is missing:"
        )
        end = "" if why.endswith((".", "?", "`")) else "."
        self.exit(
            ExitCode.CONFIG,
            f"{self.prog}: {why}{end} Nothing was spent.\n`{self.prog} --help` shows what may be typed.\n",
        )

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        meant = suggested(str(value), names) or f"It is one of: {', '.join(names)}."
        raise argparse.ArgumentError(action, f"{value!r} is not known. {meant}")

    def options(self) -> Iterable[str]:
        """All that begin with `--`."""
        return [option for action in self._actions for option in action.option_strings if option[1] == "-"]


def not_understood(parser: Parser, rest: Sequence[str]) -> str:
    """Why what is left of a command line can't be used."""
    option = next((word.partition("=")[0] for word in rest if word.startswith("-")), None)
    if option is None:
        return f"not understood: {' '.join(rest)}."
    return f"unknown option {option}. {suggested(option, parser.options())}".rstrip()


def suggested(word: str, known: Iterable[str]) -> str:
    """`Did you mean ...?`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean `{close[0]}`?" if close else ""


def add_command(commands: Actions, name: str, what: str, *shown: str) -> Parser:
    """A command with a line about it and the examples that its `--help` shows."""
    made = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=examples(*shown),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.set_defaults(parser=made)
    return made


def examples(*lines: str) -> str:
    """The end of a `--help`."""
    return "examples:\n" + textwrap.indent("\n".join(lines), "  ")
