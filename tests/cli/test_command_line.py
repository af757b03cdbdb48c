"""What may be typed, and what is said when it may not."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import massgen_mcp
from massgen_mcp.cli import main
from massgen_mcp.cli.tables import show_table, table
from tests.cli.terminal import Terminal
from tests.teams import scripted_team

PROJECT = Path(massgen_mcp.__file__).parents[1]
COMMANDS = ["ask", "serve", "validate", "backends", "runs", "usage", "doctor", "token", "trust"]
ACTIONS = [
    *(["runs", name] for name in ("list", "show", "resume", "cancel", "prune")),
    *(["token", name] for name in ("add", "list", "revoke")),
]


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


@pytest.mark.parametrize("argv", [[], *([command] for command in COMMANDS), *ACTIONS])
def test_the_help_of_each_command_shows_an_example_and_fits_a_screen(terminal: Terminal, argv: list[str]):
    ended = terminal.run(scripted_team(), *argv, "--help")
    assert ended.code == 0
    assert "examples:\n  " in ended.out
    assert "massgen-mcp " + " ".join(argv) in ended.out.partition("examples:")[2]
    assert max(map(len, ended.out.splitlines())) <= 80


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
        (["ask", "--modle", "x", "q?"], "unknown option --modle. Did you mean `--model`?"),
        (["--tema=fast", "q?"], "massgen-mcp ask: unknown option --tema. Did you mean `--team`?"),
        (["what", "is", "this?"], 'To ask a team this: massgen-mcp ask "what is this?".'),
        (["runs", "shw"], "ACTION: 'shw' is not known. Did you mean `show`?"),
        (["serve", "--http", "--port", "99999"], "'99999' is not a port"),
        (["token", "add", "anna", "--teams", "a,,b"], "'a,,b' is not a list of names"),
        (["runs", "prune", "--days", "-1"], "--days"),
        (["runs", "prune", "--days", "some"], "'some' is not a number of days"),
        (["runs", "list", "--limit", "0"], "'0' is not a whole number from 1 to 10000"),
        (["backends", "--task", "poetry"], "--task: 'poetry' is not known. It is one of: research, coding, "),
        (["usage", "--by", "colour"], "--by: 'colour' is not known. It is one of: backend, "),
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
    assert "Nothing was spent." in ended.err
    assert re.search(r"`massgen-mcp[a-z ]* --help` shows what may be typed\.\n\Z", ended.err)
    assert not team.opened


@pytest.mark.parametrize("words", [["help"], ["help", "runs", "show"]])
def test_help_is_also_a_word(terminal: Terminal, words: list[str]):
    ended = terminal.run(scripted_team(), *words)
    assert ended.code == 0
    assert ended.out.startswith(" ".join(["usage: massgen-mcp", *words[1:], "[-h]"]))


@pytest.mark.parametrize(
    "argv", [["serve", "--port", "80"], ["serve", "--tokens"], ["serve", "--allowed-host", "a.example"]]
)
def test_what_only_http_has_is_refused_without_it(terminal: Terminal, argv: list[str]):
    ended = terminal.run(scripted_team(), *argv)
    assert (ended.code, ended.err) == (
        1,
        f"massgen-mcp: {argv[1]}: only with --http; without it there is nobody but the host.\n",
    )


def test_help_is_instant_and_loads_nothing_heavy(tmp_path: Path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = program("--help", folder=tmp_path, options=["-X", "importtime"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.returncode == 0
    assert ended.stdout.startswith("usage: massgen-mcp")
    loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert not loaded & {"anyio", "pydantic", "rich", "mcp", "httpx2", "massgen_mcp.runs"}
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


def test_the_real_program_starts_with_nothing_configured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    found = json.loads(program("backends", "--json", folder=tmp_path).stdout)
    assert not any(row["ready"] for row in found["backends"] if row.get("key") != "not needed")
    monkeypatch.chdir(tmp_path)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MASSGEN_MCP_STATE_DIR": str(tmp_path)}
    assert main(["runs", "list"], environ=environ) == 0
    assert capsys.readouterr().out.startswith("There are no runs yet.")


def test_serve_serves_until_the_host_closes_the_pipe(tmp_path: Path):
    ended = program("serve", folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_a_reader_that_leaves_early_ends_the_program_quietly(tmp_path: Path):
    reader, writer = os.pipe()
    os.close(reader)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    ended = subprocess.run(
        [sys.executable, "-m", "massgen_mcp", "--help"],
        env=environ,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=50,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("argv", [["runs", "list"], ["usage"]], ids=" ".join)
def test_a_command_whose_reader_leaves_early_ends_quietly_too(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str]
):
    team = scripted_team(a=["answer: 4"])
    made = terminal.maker(team)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as out:
        monkeypatch.setattr("sys.stdout", out)
        out.write("what was said before\n")
        assert main(argv, make_runs=made, environ={"MASSGEN_MCP_STATE_DIR": str(tmp_path)}) == 141


def test_a_table_whose_reader_leaves_early_is_a_broken_pipe_like_any_other(monkeypatch: pytest.MonkeyPatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as out:
        monkeypatch.setattr("sys.stdout", out)
        out.write("what was said before\n")
        with pytest.raises(BrokenPipeError):
            show_table(table("Name", "Value"), {})
        with Path(os.devnull).open("w", encoding="utf-8") as sink:
            os.dup2(sink.fileno(), writer)  # what is left goes there


def test_stdin_that_is_not_text_is_told(terminal: Terminal, tmp_path: Path):
    path = tmp_path / "in"
    path.write_bytes(b"caf\xe9")
    with path.open(encoding="utf-8") as stdin:
        team = scripted_team(a=["answer: 4"])
        ended = terminal.run(team, "ask", "-", stdin=stdin)
    assert ended.code == 1
    assert "QUESTION: stdin is not text in utf-8" in ended.err
