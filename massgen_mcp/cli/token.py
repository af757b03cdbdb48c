"""`massgen-mcp token`: who may use a server over HTTP, and how much."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.text import Text

from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.streams import say, say_json
from massgen_mcp.cli.tables import show_table, table
from massgen_mcp.cli.world import MakeRuns
from massgen_mcp.config.search import default_search, find_team
from massgen_mcp.errors import RequestRefused
from massgen_mcp.runs.settings import read_settings
from massgen_mcp.server.http.tokens import FILE, Token, add_token, read_tokens, revoke_token

__all__ = ["default_file", "run"]

_UNKNOWN = (
    "Warning: from here no team file is found for {teams}. A server that does not find it either refuses "
    "its questions: name the folder in MASSGEN_MCP_CONFIG_DIRS, or with `serve --config-dir`."
)


def default_file(environ: Mapping[str, str]) -> Path:
    """Where tokens are kept, where no other file is named."""
    return read_settings(environ).state_dir / FILE


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Add, list or revoke tokens.

    Raises:
        ConfigError: the file can't be used.
        RequestRefused: the name is taken, or there is none such.
    """
    del make_runs
    path: Path = args.tokens or default_file(environ)
    match args.action:
        case "add":
            token = add_token(path, args.name, teams=args.teams, usd_per_day=args.usd_per_day, runs=args.runs)
            say(sys.stdout, token)
            say(sys.stderr, f"This is shown once; {path} keeps its hash. Give it to {args.name}.")
            if unknown := _unknown(args.teams, environ):
                say(sys.stderr, _UNKNOWN.format(teams=", ".join(unknown)))
        case "list":
            _list(read_tokens(path) if path.exists() else (), args, environ)
        case _:
            revoke_token(path, args.name)
            say(sys.stderr, f"The token of {args.name} opens nothing any more. Runs under way go on.")
    return ExitCode.ANSWER


def _unknown(teams: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Those that a server started with these variables would not find."""
    settings = read_settings(environ)
    search = default_search(
        operator=settings.config_dirs,
        home=Path.home(),
        working_folder=Path.cwd(),
        state=settings.state_dir,
    )
    found: list[str] = []
    for team in teams:
        try:
            find_team(team, search)
        except RequestRefused:
            found.append(team)
    return found


def _list(tokens: tuple[Token, ...], args: Namespace, environ: Mapping[str, str]) -> None:
    if args.json:
        kept = [token.model_dump(exclude={"sha256"}, exclude_none=True) for token in tokens]
        say_json(sys.stdout, kept)
        return
    if not tokens:
        say(sys.stdout, "There are no tokens yet. `massgen-mcp token add NAME` makes one.")
        return
    found = table("Name", "Since", "Teams", "USD a day", "Runs at once")
    for token in tokens:
        teams = ", ".join(token.teams) if token.teams else "all"
        usd = "" if token.usd_per_day is None else f"{token.usd_per_day:.2f}"
        runs = "" if token.runs is None else str(token.runs)
        found.add_row(*(Text(cell) for cell in (token.name, token.created, teams, usd, runs)))
    show_table(found, environ)
