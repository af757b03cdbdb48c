"""The command line: what may be typed, and the examples that `--help` shows.

Only argparse is imported here, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from massgen_mcp import __version__
from massgen_mcp.cli import values
from massgen_mcp.cli.parsing import Actions, Parser, add_command, examples, not_understood, suggested

__all__ = ["COMMANDS", "parse"]

COMMANDS = ("ask", "serve", "validate", "backends", "runs", "usage", "doctor", "token", "trust")

_TASKS = ("research", "coding", "analysis", "cheap", "private")
_GROUPINGS = ("backend", "model", "team", "user", "day")
_DETAILS = ("answer", "summary", "votes")
_COMMAND_LIKE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_RUN_ID = "20261122-0241-k7f3qx"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line as values. Options or a question without a command mean `ask`.

    Raises:
        SystemExit: it asked for help or the version (0), or can't be used (1); what to say has been said.
    """
    parser = _parser()
    words = list(argv)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if words and words[0] not in {*COMMANDS, "-h", "--help", "--version"}:
        if _COMMAND_LIKE.fullmatch(words[0]):
            parser.error(_unknown_command(words))
        words.insert(0, "ask")
    args, rest = parser.parse_known_args(words)
    typed: Parser = vars(args).pop("parser", parser)
    if rest:
        more_words = args.command == "ask" and not any(word.startswith("-") for word in rest)
        typed.error(
            not_understood(typed, rest) + (" Put the whole question in quotes." if more_words else "")
        )
    return args


def _unknown_command(words: Sequence[str]) -> str:
    """A word alone is rather a mistyped command than a question that is worth money."""
    what = f"unknown command {words[0]!r}."
    if meant := suggested(words[0], COMMANDS):
        return f"{what} {meant}"
    this = "this word" if len(words) == 1 else "this"
    asked = f'To ask a team {this}: massgen-mcp ask "{" ".join(words)}".'
    return f"{what} The commands are: {', '.join(COMMANDS)}. {asked}"


def _parser() -> Parser:
    parser = Parser(
        prog="massgen-mcp",
        description="Put a hard question to a team of AI models and get one coordinated answer.",
        epilog=examples(
            'massgen-mcp "Is 1000003 a prime number?"         ask the default team',
            'massgen-mcp --model gemini-2.5-flash "Question"  ask one model',
            "massgen-mcp backends                             what is ready here",
            "massgen-mcp                                      serve MCP for a host",
            "",
            "Options or a question without a command mean `ask`.",
            "`massgen-mcp COMMAND --help` shows more.",
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"massgen-mcp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for add in (_ask, _serve, _validate, _backends, _runs, _usage, _doctor, _token, _trust):
        add(commands)
    return parser


def _ask(commands: Actions) -> None:
    command = add_command(
        commands,
        "ask",
        "put a question to a team; the answer goes to stdout",
        'massgen-mcp ask "Which sorting algorithm suits nearly sorted data?"',
        'massgen-mcp ask --team deep --budget 0.50 --seconds 300 "Question"',
        'massgen-mcp ask --model openai/gpt-5 --model claude-sonnet-4-5 "Question"',
        'massgen-mcp ask --backend grok --model grok-3-mini "Question"',
        'massgen-mcp ask --file src --file git:HEAD "Is there a bug in this change?"',
        "",
        "Exit codes: 0 answer; 1 configuration, nothing was spent; 2 no answer;",
        "3 a deadline or budget left a partial answer; 4 interrupted.",
        "Ctrl-C stops the run and shows the best answer so far; a second one quits.",
    )
    command.add_argument("question", metavar="QUESTION", help="the whole question; - reads it from stdin")
    _who(command)
    command.add_argument(
        "--budget", metavar="USD", type=values.positive, help="spend at most this many dollars"
    )
    command.add_argument("--seconds", metavar="N", type=values.positive, help="take at most this long")
    _material(command)
    command.add_argument(
        "--continue",
        metavar="RUN_ID",
        dest="continue_run",
        help="ask a follow-up of that run, of its team or another",
    )
    _result(command)
    _roots(command)
    _config_dirs(command)


def _who(command: Parser) -> None:
    command.add_argument("--team", metavar="T", help="a team's name or file (default: what is ready here)")
    _repeated(command, "--model", "M", "ask this model instead of a team, as `gpt-5` or `openai/gpt-5`")
    command.add_argument("--backend", metavar="B", help="the backend of every --model")
    command.add_argument("--strategy", metavar="S", help="how the team reaches an answer: auto or vote")


def _material(command: Parser) -> None:
    command.add_argument(
        "--context", metavar="TEXT", default="", help="background for the team; - reads it from stdin"
    )
    _repeated(command, "--file", "F", "show the team a file, `path:10-80`, a folder, a glob or `git:HEAD`")
    _repeated(command, "--image", "F", "show the team an image or PDF")


def _result(command: Parser) -> None:
    command.add_argument(
        "--detail",
        choices=_DETAILS,
        default="summary",
        help="how much to say beside the answer (default: summary)",
    )
    command.add_argument("--json", action="store_true", help="print the result as the MCP tool returns it")


def _serve(commands: Actions) -> None:
    command = add_command(
        commands,
        "serve",
        "serve MCP; without --http on stdin and stdout",
        "massgen-mcp serve         for a host on this machine, on stdin and stdout",
        "massgen-mcp serve --http  for this machine; its token is shown once",
        "massgen-mcp serve --http --tokens --behind-proxy \\",
        "                  --allowed-host massgen.example.com",
    )
    command.add_argument("--http", action="store_true", help="serve Streamable HTTP instead of stdio")
    command.add_argument("--host", help="with --http: the address (default: 127.0.0.1)")
    command.add_argument(
        "--port", metavar="N", type=values.port, help="with --http: the port (default: 8765)"
    )
    command.add_argument(
        "--tokens",
        metavar="FILE",
        type=Path,
        nargs="?",
        const=Path(),
        help="with --http: named tokens, see `massgen-mcp token` (without FILE: those of the state folder)",
    )
    _repeated(
        command,
        "--allowed-host",
        "NAME[:PORT]",
        "with --http: a name that people call the server by, beside its address",
        dest="allowed_hosts",
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


def _validate(commands: Actions) -> None:
    command = add_command(
        commands,
        "validate",
        "say everything that is wrong with a team file",
        "massgen-mcp validate team.yaml",
        "massgen-mcp validate --strict --json fast",
    )
    command.add_argument("config", metavar="TEAM_OR_FILE", help="a team's name, or a file")
    command.add_argument("--strict", action="store_true", help="take warnings for errors")
    command.add_argument("--json", action="store_true", help="print the problems as data")
    _config_dirs(command)


def _backends(commands: Actions) -> None:
    command = add_command(
        commands,
        "backends",
        "which backends and teams are ready, and why not",
        "massgen-mcp backends",
        "massgen-mcp backends gemini         one backend, with its models",
        "massgen-mcp backends --task coding  the best for it first",
    )
    command.add_argument("backend", metavar="BACKEND", nargs="?", help="one backend, with its models")
    command.add_argument("--task", choices=_TASKS, help="order by how well they suit a task")
    command.add_argument("--json", action="store_true", help="print it as the MCP tool returns it")
    _config_dirs(command)


def _runs(commands: Actions) -> None:
    command = add_command(
        commands,
        "runs",
        "list, show, resume, cancel and delete runs",
        "massgen-mcp runs list",
        f"massgen-mcp runs show {_RUN_ID} --answers",
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    listing = add_command(
        actions, "list", "the latest runs, newest first", "massgen-mcp runs list --limit 50"
    )
    listing.add_argument("--limit", metavar="N", type=values.count, default=20, help="how many (default: 20)")
    listing.add_argument("--json", action="store_true", help="print them as data")
    _runs_show(actions)
    _runs_resume(actions)
    cancel = add_command(
        actions, "cancel", "stop a run, wherever it is in motion", f"massgen-mcp runs cancel {_RUN_ID}"
    )
    cancel.add_argument("run_id", metavar="RUN_ID")
    prune = add_command(actions, "prune", "delete old runs", "massgen-mcp runs prune --days 7")
    prune.add_argument(
        "--days", metavar="N", type=values.days, default=30.0, help="those over for so long (default: 30)"
    )


def _runs_show(actions: Actions) -> None:
    show = add_command(
        actions,
        "show",
        "a run's answer and how it came about",
        "massgen-mcp runs show                                 the latest run",
        f"massgen-mcp runs show {_RUN_ID} --answers  every agent's answer",
        f"massgen-mcp runs show {_RUN_ID} --jsonl    its whole log",
    )
    show.add_argument("run_id", metavar="RUN_ID", nargs="?", help="absent: the latest run")
    how = show.add_mutually_exclusive_group()
    how.add_argument("--answers", action="store_true", help="the whole report: every answer and vote")
    how.add_argument("--jsonl", action="store_true", help="the run's log, a JSON object a line")
    show.add_argument("--follow", action="store_true", help="first tell what happens until it is over")


def _runs_resume(actions: Actions) -> None:
    resume = add_command(
        actions,
        "resume",
        "take up a run whose process is gone; what was paid for is not paid again",
        "massgen-mcp runs resume                       the latest interrupted run",
        f"massgen-mcp runs resume {_RUN_ID}",
    )
    resume.add_argument("run_id", metavar="RUN_ID", nargs="?", help="absent: the latest interrupted run")
    _result(resume)
    _roots(resume)
    _config_dirs(resume)


def _token(commands: Actions) -> None:
    one_more = "massgen-mcp token add anna --teams fast,code --usd-per-day 5 --runs 2"
    command = add_command(
        commands,
        "token",
        "who may use a server over HTTP: add, list, revoke",
        one_more,
        "massgen-mcp token list",
        "massgen-mcp token revoke anna",
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    add = add_command(actions, "add", "make a token for somebody and print it, once", one_more)
    add.add_argument("name", metavar="NAME", help="whose it is: a-z, 0-9, `.`, `_` and `-`")
    add.add_argument(
        "--teams",
        metavar="A,B",
        type=values.names,
        default=(),
        help="only these teams; the first is the default",
    )
    add.add_argument(
        "--usd-per-day", metavar="X", type=values.positive, help="spend at most this a day (UTC)"
    )
    add.add_argument("--runs", metavar="N", type=values.count, help="at most this many runs at once")
    listing = add_command(actions, "list", "every token's name and limits", "massgen-mcp token list")
    listing.add_argument("--json", action="store_true", help="print them as data")
    revoke = add_command(
        actions, "revoke", "make a token useless, in servers that run, too", "massgen-mcp token revoke anna"
    )
    revoke.add_argument("name", metavar="NAME")
    for action in (add, listing, revoke):
        action.add_argument(
            "--tokens", metavar="FILE", type=Path, help="the file (default: tokens.json in the state folder)"
        )


def _usage(commands: Actions) -> None:
    command = add_command(
        commands,
        "usage",
        "what runs have used and cost",
        "massgen-mcp usage                     the last 30 days, by backend",
        "massgen-mcp usage --days 1 --by team",
    )
    command.add_argument(
        "--days", metavar="N", type=values.positive, default=30.0, help="so many, with today (default: 30)"
    )
    command.add_argument("--by", choices=_GROUPINGS, default="backend", help="default: backend")
    command.add_argument("--json", action="store_true", help="print it as data")


def _doctor(commands: Actions) -> None:
    command = add_command(
        commands,
        "doctor",
        "what is missing or wrong here, and how to mend it",
        "massgen-mcp doctor",
        "massgen-mcp doctor --bundle report.zip  for a bug report; no keys, no answers",
    )
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


def _trust(commands: Actions) -> None:
    command = add_command(
        commands, "trust", "let a server use the team files of a folder", "massgen-mcp trust .massgen"
    )
    command.add_argument("folder", metavar="DIR", type=Path, help="the folder, as ./.massgen")


def _roots(command: Parser) -> None:
    what = "a folder that files may be named from, instead of the working folder"
    _repeated(command, "--root", "DIR", what, dest="roots", kind=Path)


def _config_dirs(command: Parser) -> None:
    what = "look for teams here first"
    _repeated(command, "--config-dir", "DIR", what, dest="config_dirs", kind=Path)


def _repeated(
    command: Parser, flag: str, metavar: str, what: str, *, dest: str | None = None, kind: type = str
) -> None:
    """An option that may be given several times: a list."""
    command.add_argument(
        flag,
        metavar=metavar,
        dest=dest or flag.removeprefix("--"),
        type=kind,
        action="append",
        default=[],
        help=f"{what}; may be repeated",
    )
