"""The command line: what may be typed, and the examples that `--help` shows.

Only argparse is imported here, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import difflib
import math
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from massgen_mcp import __version__
from massgen_mcp.cli.codes import ExitCode

__all__ = ["COMMANDS", "parse"]

COMMANDS = ("ask", "serve", "validate", "backends", "runs", "usage", "doctor", "token", "trust")

_TASKS = ("research", "coding", "analysis", "cheap", "private")
_MOST_RUNS = 10_000
_HIGHEST_PORT = 65_535
_COMMAND_LIKE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class _Parser(argparse.ArgumentParser):
    """argparse, with the exit code for a command line that can't be used."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.CONFIG, f"{self.prog}: {message}\nTry `{self.prog} --help`.\n")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line as values. Options or a question without a command mean `ask`.

    Raises:
        SystemExit: it asked for help or the version (0), or can't be used (1); what to say has been said.
    """
    parser = _parser()
    words = list(argv)
    if words and words[0] not in {*COMMANDS, "-h", "--help", "--version"}:
        if _COMMAND_LIKE.fullmatch(words[0]):
            parser.error(_unknown_command(words[0]))
        words.insert(0, "ask")
    args, rest = parser.parse_known_args(words)
    if rest:
        hint = " Put the whole question in quotes, after the options." if args.command == "ask" else ""
        parser.error(f"not understood: {' '.join(rest)}.{hint}")
    return args


def _unknown_command(word: str) -> str:
    """A lone word is rather a mistyped command than a question that is worth money."""
    close = difflib.get_close_matches(word, COMMANDS, n=1)
    meant = f" Did you mean `{close[0]}`?" if close else f" The commands are: {', '.join(COMMANDS)}."
    return f'unknown command {word!r}.{meant} To ask a team this word: massgen-mcp ask "{word}"'


def _parser() -> _Parser:
    parser = _Parser(
        prog="massgen-mcp",
        description="Put a hard question to a team of AI models and get one coordinated answer.",
        epilog=_examples(
            'massgen-mcp "Is 1000003 a prime number?"           ask the default team',
            'massgen-mcp --model gemini-2.5-flash "Question"    ask one model',
            "massgen-mcp backends                               what is ready on this machine",
            "massgen-mcp                                        serve MCP on stdin and stdout, for a host",
            "",
            "Options or a question without a command mean `ask`. `massgen-mcp COMMAND --help` shows more.",
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"massgen-mcp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _ask(_command(commands, "ask", "put a question to a team; the answer goes to stdout", *_ASK))
    _serve(_command(commands, "serve", "serve MCP; without --http on stdin and stdout", *_SERVE))
    _validate(_command(commands, "validate", "say everything that is wrong with a team file", *_VALIDATE))
    _backends(_command(commands, "backends", "which backends and teams are ready, and why not", *_BACKENDS))
    _runs(_command(commands, "runs", "list, show, resume, cancel and delete runs", *_RUNS))
    _usage(_command(commands, "usage", "what runs have used and cost", *_USAGE))
    _doctor(_command(commands, "doctor", "what is missing or wrong here, and how to mend it", *_DOCTOR))
    _token(_command(commands, "token", "who may use a server over HTTP: add, list, revoke", *_TOKEN))
    _trust(_command(commands, "trust", "let a server use the team files of a folder", *_TRUST))
    return parser


_ASK = (
    'massgen-mcp ask "Which sorting algorithm suits nearly sorted data?"',
    'massgen-mcp ask --team deep --budget 0.50 --seconds 300 "Question"',
    'massgen-mcp ask --model openai/gpt-5 --model claude-sonnet-4-5 "Question"',
    'massgen-mcp ask --backend grok --model grok-3-mini "Question"',
    'massgen-mcp ask --file src --file git:HEAD "Is there a bug in this change?"',
    "",
    "Exit codes: 0 answer; 1 configuration; 2 no answer; 3 a deadline or budget left a partial answer;",
    "4 interrupted. Ctrl-C stops the run and shows the best answer so far; a second one quits.",
)
_SERVE = (
    "massgen-mcp serve                                  for a host on this machine, on stdin and stdout",
    "massgen-mcp serve --http                           for this machine; its token is shown once",
    "massgen-mcp serve --http --tokens --behind-proxy --allowed-host massgen.example.com",
)
_VALIDATE = (
    "massgen-mcp validate team.yaml",
    "massgen-mcp validate --strict --json fast",
)
_BACKENDS = (
    "massgen-mcp backends",
    "massgen-mcp backends gemini",
    "massgen-mcp backends --task coding",
)
_RUNS = (
    "massgen-mcp runs list",
    "massgen-mcp runs show 20261122-0241-k7f3qx --answers",
)
_USAGE = (
    "massgen-mcp usage                                  the last 30 days, by backend",
    "massgen-mcp usage --days 1 --by team",
)
_DOCTOR = (
    "massgen-mcp doctor",
    "massgen-mcp doctor --bundle report.zip             for a bug report, without keys and answers",
)
_TOKEN = (
    "massgen-mcp token add anna --teams fast,code --usd-per-day 5 --runs 2",
    "massgen-mcp token list",
    "massgen-mcp token revoke anna",
)
_TRUST = ("massgen-mcp trust .massgen",)


def _ask(command: argparse.ArgumentParser) -> None:
    command.add_argument("question", metavar="QUESTION", help="the whole question; - reads it from stdin")
    command.add_argument("--team", metavar="T", help="a team's name or file (default: what is ready here)")
    command.add_argument(
        "--model",
        metavar="M",
        action="append",
        default=[],
        help="ask this model instead of a team, as `gpt-5` or `openai/gpt-5`; may be repeated",
    )
    command.add_argument("--backend", metavar="B", help="the backend of every --model")
    command.add_argument("--strategy", metavar="S", help="how the team reaches an answer: auto, vote, ...")
    command.add_argument("--budget", metavar="USD", type=_positive, help="spend at most this many dollars")
    command.add_argument("--seconds", metavar="N", type=_positive, help="take at most this long")
    command.add_argument(
        "--context", metavar="TEXT", default="", help="background for the team; - reads it from stdin"
    )
    command.add_argument(
        "--file",
        metavar="F",
        action="append",
        default=[],
        help="show the team a file, `path:10-80`, a folder, a glob or `git:HEAD`; may be repeated",
    )
    command.add_argument(
        "--image",
        metavar="F",
        action="append",
        default=[],
        help="show the team an image or PDF; may be repeated",
    )
    command.add_argument(
        "--continue",
        metavar="RUN_ID",
        dest="continue_run",
        help="ask a follow-up of that run, of its team or another",
    )
    _result(command)
    _roots(command)
    _config_dirs(command)


def _result(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--detail",
        choices=("answer", "summary", "votes"),
        default="summary",
        help="how much to say beside the answer (default: summary)",
    )
    command.add_argument("--json", action="store_true", help="print the result as the MCP tool returns it")


def _serve(command: argparse.ArgumentParser) -> None:
    command.add_argument("--http", action="store_true", help="serve Streamable HTTP instead of stdio")
    command.add_argument("--host", default="127.0.0.1", help="with --http: the address (default: 127.0.0.1)")
    command.add_argument("--port", type=_port, default=8765, help="with --http: the port (default: 8765)")
    command.add_argument(
        "--tokens",
        metavar="FILE",
        type=Path,
        nargs="?",
        const=Path(),
        help="with --http: named tokens, see `massgen-mcp token` (without FILE: those of the state folder)",
    )
    command.add_argument(
        "--allowed-host",
        metavar="NAME[:PORT]",
        dest="allowed_hosts",
        action="append",
        default=[],
        help="with --http: a name that people call the server by, beside its address; may be repeated",
    )
    command.add_argument(
        "--tls-cert", metavar="FILE", type=Path, help="with --http: speak TLS; PEM, the chain"
    )
    command.add_argument("--tls-key", metavar="FILE", type=Path, help="the key of --tls-cert; PEM")
    command.add_argument(
        "--behind-proxy", action="store_true", help="with --http: a proxy in front speaks TLS with callers"
    )
    _roots(command)
    _config_dirs(command)


def _validate(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", metavar="TEAM_OR_FILE", help="a team's name, or a file")
    command.add_argument("--strict", action="store_true", help="take warnings for errors")
    command.add_argument("--json", action="store_true", help="print the problems as data")
    _config_dirs(command)


def _backends(command: argparse.ArgumentParser) -> None:
    command.add_argument("backend", metavar="BACKEND", nargs="?", help="one backend, with its models")
    command.add_argument("--task", choices=_TASKS, help="order by how well they suit a task")
    command.add_argument("--json", action="store_true", help="print it as the MCP tool returns it")
    _config_dirs(command)


def _runs(command: _Parser) -> None:
    actions = command.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    listing = _command(actions, "list", "the latest runs, newest first", "massgen-mcp runs list --limit 50")
    listing.add_argument("--limit", metavar="N", type=_count, default=20, help="how many (default: 20)")
    listing.add_argument("--json", action="store_true", help="print them as data")
    show = _command(
        actions,
        "show",
        "a run's answer and how it came about",
        "massgen-mcp runs show                                   the latest run",
        "massgen-mcp runs show 20261122-0241-k7f3qx --answers    with every agent's answer",
        "massgen-mcp runs show 20261122-0241-k7f3qx --jsonl      its whole log",
    )
    show.add_argument("run_id", metavar="RUN_ID", nargs="?", help="absent: the latest run")
    how = show.add_mutually_exclusive_group()
    how.add_argument("--answers", action="store_true", help="the whole report: every answer and vote")
    how.add_argument("--jsonl", action="store_true", help="the run's log, a JSON object a line")
    show.add_argument("--follow", action="store_true", help="first tell what happens until it is over")
    resume = _command(
        actions,
        "resume",
        "take up a run whose process is gone; what was paid for is not paid again",
        "massgen-mcp runs resume                                 the latest interrupted run",
        "massgen-mcp runs resume 20261122-0241-k7f3qx",
    )
    resume.add_argument("run_id", metavar="RUN_ID", nargs="?", help="absent: the latest interrupted run")
    _result(resume)
    _roots(resume)
    _config_dirs(resume)
    cancel = _command(
        actions,
        "cancel",
        "stop a run, wherever it is in motion",
        "massgen-mcp runs cancel 20261122-0241-k7f3qx",
    )
    cancel.add_argument("run_id", metavar="RUN_ID")
    prune = _command(actions, "prune", "delete old runs", "massgen-mcp runs prune --days 7")
    prune.add_argument(
        "--days", metavar="N", type=_days, default=30.0, help="those over for so long (default: 30)"
    )


def _token(command: _Parser) -> None:
    actions = command.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    add = _command(actions, "add", "make a token for somebody and print it, once", _TOKEN[0])
    add.add_argument("name", metavar="NAME", help="whose it is: a-z, 0-9, `.`, `_` and `-`")
    add.add_argument(
        "--teams", metavar="A,B", type=_names, default=(), help="only these teams; the first is the default"
    )
    add.add_argument("--usd-per-day", metavar="X", type=_positive, help="spend at most this a day (UTC)")
    add.add_argument("--runs", metavar="N", type=_count, help="at most this many runs at once")
    listing = _command(actions, "list", "every token's name and limits", _TOKEN[1])
    listing.add_argument("--json", action="store_true", help="print them as data")
    revoke = _command(actions, "revoke", "make a token useless, in servers that run, too", _TOKEN[2])
    revoke.add_argument("name", metavar="NAME")
    for action in (add, listing, revoke):
        action.add_argument(
            "--tokens", metavar="FILE", type=Path, help="the file (default: tokens.json in the state folder)"
        )


def _usage(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--days", metavar="N", type=_positive, default=30.0, help="so many, with today (default: 30)"
    )
    command.add_argument(
        "--by",
        choices=("backend", "model", "team", "user", "day"),
        default="backend",
        help="default: backend",
    )
    command.add_argument("--json", action="store_true", help="print it as data")


def _doctor(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print what was found as data")
    command.add_argument(
        "--bundle", metavar="FILE", type=Path, help="write a new zip file with it, for a bug report"
    )
    command.add_argument(
        "--run", metavar="RUN_ID", help="with --bundle: the run to put into it (default: the latest)"
    )
    command.add_argument("--log", metavar="FILE", type=Path, help="with --bundle: add the end of this log")
    command.add_argument(
        "--with-texts",
        action="store_true",
        help="with --bundle: the run's questions, answers and errors, too",
    )
    _roots(command)
    _config_dirs(command)


def _trust(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", metavar="DIR", type=Path, help="the folder, as ./.massgen")


def _roots(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--root",
        metavar="DIR",
        dest="roots",
        type=Path,
        action="append",
        default=[],
        help="a folder that files may be named from, instead of the working folder; may be repeated",
    )


def _config_dirs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config-dir",
        metavar="DIR",
        dest="config_dirs",
        type=Path,
        action="append",
        default=[],
        help="look for teams here first; may be repeated",
    )


def _command(
    commands: argparse._SubParsersAction[_Parser],  # pyright: ignore[reportPrivateUsage] - its only name
    name: str,
    what: str,
    *examples: str,
) -> _Parser:
    return commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=_examples(*examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _examples(*lines: str) -> str:
    return "examples:\n" + textwrap.indent("\n".join(lines), "  ")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of names, as fast,code")
    return names


def _days(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MOST_RUNS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_MOST_RUNS}")
    return int(text)
