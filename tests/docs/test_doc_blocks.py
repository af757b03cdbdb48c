"""What the documentation shows, runs."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.cli.arguments import COMMANDS as CLI_COMMANDS, parse
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, Origin, load_text
from massgen_mcp.config.variables import KNOWN_VARIABLES
from massgen_mcp.errors import Problem
from massgen_mcp.runs.result import RunResult
from tests.docs.pages import PAGES, README, ROOT, Block, all_blocks

TODAY = date(2026, 11, 22)
EVERY_KEY = {name: "https://mine.example" if "ENDPOINT" in name else "a-key" for name in KNOWN_VARIABLES}
A_SLIP = {"OPENAI_KEY": "a-key"}
"""What the page says is set, beside a wrong file."""

YAML = all_blocks("yaml")
WRONG = all_blocks("yaml wrong")
JSON = all_blocks("json")


def _load(text: str, environ: Mapping[str, str], origin: Origin = "file") -> Loaded:
    return load_text(text, environment=Environment.of(environ), origin=origin, name="shown", today=TODAY)


def _line(problem: Problem) -> str:
    return str(problem) if problem.severity == "error" else f"{problem.severity}: {problem}"


def _after(block: Block, kind: str) -> str:
    """The first block of that kind below another."""
    below = [other for other in all_blocks(kind) if other.page == block.page and other.line > block.line]
    assert below, f"{block}: there is no {kind} block below it"
    return below[0].text


@pytest.mark.parametrize("block", YAML, ids=str)
def test_a_team_file_that_is_shown_can_be_used(block: Block) -> None:
    loaded = _load(block.text, EVERY_KEY)
    assert [str(problem) for problem in loaded.problems if problem.severity != "notice"] == []
    assert loaded.team is not None


@pytest.mark.parametrize("block", WRONG, ids=str)
def test_a_wrong_team_file_has_the_problems_shown_below_it(block: Block) -> None:
    loaded = _load(block.text, A_SLIP)
    assert loaded.team is None
    assert [_line(problem) for problem in loaded.problems] == _after(block, "text").splitlines()


@pytest.mark.parametrize("block", JSON, ids=str)
def test_json_that_is_shown_is_json(block: Block) -> None:
    assert isinstance(json.loads(block.text), dict)


def _with(key: str) -> list[Block]:
    return [block for block in JSON if key in json.loads(block.text)]


@pytest.mark.parametrize("block", _with("run_id"), ids=str)
def test_a_reply_that_is_shown_has_the_form_that_replies_have(block: Block) -> None:
    shown: dict[str, Any] = json.loads(block.text)
    assert RunResult.model_validate(shown).public("votes") == shown


@pytest.mark.parametrize("block", _with("problems"), ids=str)
def test_a_validation_that_is_shown_is_that_of_the_file_below_it(block: Block) -> None:
    loaded = _load(_after(block, "yaml wrong"), {}, "inline")
    problems = [
        {key: value for key, value in asdict(problem).items() if value not in (None, "")}
        for problem in loaded.problems
    ]
    assert json.loads(block.text)["problems"] == problems


@pytest.mark.timeout(60)
@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_python_that_is_shown_runs(
    block: Block, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in set(os.environ) - {"PATH", "LANG", "PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})  # noqa: S102 - our own page
    assert capfd.readouterr().out


def _commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of this program: in blocks, and in the text as code."""
    for block in all_blocks("sh"):
        for number, line in enumerate(block.text.splitlines(), block.line + 1):
            for words in _simple_commands(line):
                if words[0].rpartition("/")[2] == "massgen-mcp":
                    yield f"{block.page.name}:{number}", words[1:]
    for page in PAGES:
        for match in re.finditer(r"`massgen-mcp ([^`\n]+)`", page.read_text(encoding="utf-8")):
            words = shlex.split(match[1])
            if words not in [[command] for command in CLI_COMMANDS]:  # a command's bare name is a mention
                yield f"{page.name}: {match.group()}", words


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;"):
            if words:
                yield words
            words = []
        elif words or "=" not in word.partition("/")[0]:
            words.append(word)


COMMANDS = dict(_commands())


@pytest.mark.parametrize("where", COMMANDS)
def test_a_command_line_that_is_shown_is_understood(where: str) -> None:
    parse(COMMANDS[where])


def test_command_lines_are_found_in_pipes_and_behind_variables() -> None:
    assert list(_simple_commands('git diff | A=1 massgen-mcp ask "a | b" && x # c')) == [
        ["git", "diff"],
        ["massgen-mcp", "ask", "a | b"],
        ["x"],
    ]
    assert len(COMMANDS) > 10


def test_the_readme_shows_the_two_commands_that_need_nothing_before_them() -> None:
    shown = [block.text for block in all_blocks("sh") if block.page == README]
    assert shown[:2] == ["make demo\n", "make test\n"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo: ", makefile, re.MULTILINE)
    assert re.search(r"^test: ", makefile, re.MULTILINE)


def test_every_kind_of_block_is_looked_at() -> None:
    kinds = {"yaml", "yaml wrong", "text", "json", "python", "sh", "toml", ""}
    fences = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    assert {line.removeprefix("```") for line in fences if line.startswith("```")} <= kinds
