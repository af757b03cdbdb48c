"""What may be typed, and what is said when it may not."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import massgen_mcp
from tests.cli.terminal import Terminal
from tests.teams import scripted_team

PROJECT = Path(massgen_mcp.__file__).parents[1]
COMMANDS = ["ask", "serve", "validate", "backends", "runs", "usage", "doctor", "trust"]


def program(*argv: str, folder: Path, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """`massgen-mcp` as a process of its own, with an empty home and no keys."""
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *options, "-m", "massgen_mcp", *argv],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(PROJECT),
            "MASSGEN_MCP_STATE_DIR": str(folder / "state"),
        },
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_help_names_every_command_and_nothing_that_is_not_there(terminal: Terminal):
    ended = terminal.run(scripted_team(), "--help")
    assert ended.code == 0
    assert all(f"    {command} " in ended.out for command in COMMANDS)
    assert "bench" not in ended.out


@pytest.mark.parametrize(
    "argv",
    [
        [],
        *([command] for command in COMMANDS),
        *(["runs", name] for name in ("list", "show", "cancel", "prune")),
    ],
)
def test_the_help_of_each_command_shows_an_example(terminal: Terminal, argv: list[str]):
    ended = terminal.run(scripted_team(), *argv, "--help")
    assert ended.code == 0
    assert "examples:\n  " in ended.out
    assert "massgen-mcp " + " ".join(argv) in ended.out.partition("examples:")[2]


def test_the_version_is_told(terminal: Terminal):
    ended = terminal.run(scripted_team(), "--version")
    assert (ended.code, ended.out) == (0, f"massgen-mcp {massgen_mcp.__version__}\n")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["bakends"], "unknown command 'bakends'. Did you mean `backends`?"),
        (["physics"], 'To ask a team this word: massgen-mcp ask "physics"'),
        (["ask", "two", "words"], "Put the whole question in quotes"),
        (["runs", "list", "extra"], "not understood: extra."),
        (["ask"], "QUESTION"),
        (["runs"], "ACTION"),
        (["ask", "--budget", "0", "q?"], "'0' is not a number above 0"),
        (["ask", "--budget", "much", "q?"], "'much' is not a number above 0"),
        (["ask", "--seconds", "inf", "q?"], "'inf' is not a number above 0"),
        (["ask", "--modle", "x", "q?"], "not understood: --modle"),
        (["runs", "prune", "--days", "-1"], "--days"),
        (["runs", "prune", "--days", "some"], "'some' is not a number of days"),
        (["runs", "list", "--limit", "0"], "'0' is not a whole number from 1 to 10000"),
        (["backends", "--task", "poetry"], "poetry"),
        (["usage", "--by", "colour"], "colour"),
        (["usage", "--days", "0"], "'0' is not a number above 0"),
    ],
)
def test_a_command_line_that_cant_be_used_is_one_and_says_why(
    terminal: Terminal, argv: list[str], words: str
):
    team = scripted_team(a=["answer: 4"])
    ended = terminal.run(team, *argv)
    assert (ended.code, ended.out) == (1, "")
    assert words in ended.err
    assert not team.opened


def test_help_is_instant_and_loads_nothing_heavy(tmp_path: Path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = program("--help", folder=tmp_path, options=["-X", "importtime"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.returncode == 0
    assert ended.stdout.startswith("usage: massgen-mcp")
    loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert not loaded & {"anyio", "pydantic", "rich", "mcp", "httpx2", "massgen_mcp.runs"}
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


def test_the_real_program_starts_with_nothing_configured(tmp_path: Path):
    listed = program("runs", "list", folder=tmp_path)
    assert (listed.returncode, listed.stdout[:22]) == (0, "There are no runs yet.")
    found = json.loads(program("backends", "--json", folder=tmp_path).stdout)
    assert not any(row["ready"] for row in found["backends"] if row.get("key") != "not needed")


def test_serve_serves_until_the_host_closes_the_pipe(tmp_path: Path):
    ended = program("serve", folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_a_reader_that_leaves_early_ends_the_program_quietly(tmp_path: Path):
    reader, writer = os.pipe()
    os.close(reader)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    ended = subprocess.run(
        [sys.executable, "-m", "massgen_mcp", "runs", "list"],
        env=environ | {"MASSGEN_MCP_STATE_DIR": str(tmp_path / "state")},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=50,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_stdin_that_is_not_text_is_told(terminal: Terminal, tmp_path: Path):
    path = tmp_path / "in"
    path.write_bytes(b"caf\xe9")
    with path.open(encoding="utf-8") as stdin:
        team = scripted_team(a=["answer: 4"])
        ended = terminal.run(team, "ask", "-", stdin=stdin)
    assert ended.code == 1
    assert "QUESTION: stdin is not text in utf-8" in ended.err
