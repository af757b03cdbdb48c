"""The file of tokens, and the command that keeps it."""

from __future__ import annotations

import json
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.cli import main
from massgen_mcp.errors import ConfigError, MassgenError, RequestRefused
from massgen_mcp.server.http.tokens import Tokens, add_token, read_tokens, revoke_token


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens.json"


def test_the_file_holds_hashes_and_is_closed_to_others(file: Path):
    token = add_token(file, "anna", teams=["fast", "code"], usd_per_day=5, runs=2)
    add_token(file, "ben")
    text = file.read_text("utf-8")
    assert token.startswith("mgm_")
    assert len(token) >= 43  # 256 bits in base64
    assert token[4:] not in text
    assert sha256(token.encode()).hexdigest() in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in file.parent.iterdir()] == ["tokens.json"]
    anna, ben = read_tokens(file)
    assert (anna.teams, anna.usd_per_day, anna.runs) == (("fast", "code"), 5.0, 2)
    assert (ben.name, ben.teams, ben.usd_per_day, ben.runs) == ("ben", None, None, None)


@pytest.mark.parametrize("name", ["", "Anna", "an na", "../anna", "anna\n", "-x", "a" * 65, "ä"])
def test_a_name_is_plain(name: str, file: Path):
    with pytest.raises(RequestRefused, match="can't be a token's name"):
        add_token(file, name)


def test_a_name_is_one_persons(file: Path):
    add_token(file, "anna")
    with pytest.raises(RequestRefused, match="There is a token 'anna'"):
        add_token(file, "anna")
    revoke_token(file, "anna")
    with pytest.raises(RequestRefused, match=r"There is no token 'anna'. There are: none."):
        revoke_token(file, "anna")
    assert read_tokens(file) == ()


def test_two_who_change_it_at_once_do_not_lose_each_others_work(file: Path):
    add_token(file, "anna")
    before = file.read_bytes()
    lock = file.with_name(".tokens.json.new")
    lock.touch()
    with pytest.raises(ConfigError, match=r"another `massgen-mcp token`.*\.tokens\.json\.new"):
        add_token(file, "ben")
    assert file.read_bytes() == before
    assert lock.exists()


def test_a_file_that_cant_be_used_is_left_as_it_is(file: Path):
    add_token(file, "anna")
    file.write_text('{"version": 2}', "utf-8")
    with pytest.raises(ConfigError, match="not a file of tokens"):
        add_token(file, "ben")
    assert file.read_text("utf-8") == '{"version": 2}'
    assert len(list(file.parent.iterdir())) == 1


ROW: dict[str, Any] = {"name": "anna", "sha256": "0" * 64, "created": "2026-01-01"}
NO_TEAMS: list[str] = []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not a file of tokens"),
        ("[]", "not a file of tokens"),
        ({"version": 1, "tokens": [ROW, ROW]}, "named twice: anna"),
        ({"version": 1, "tokens": [ROW | {"sha256": "secret"}]}, "tokens.0.sha256"),
        ({"version": 1, "tokens": [ROW | {"team": ["fast"]}]}, "tokens.0.team"),
        ({"version": 1, "tokens": [ROW | {"usd_per_day": -1}]}, "tokens.0.usd_per_day"),
        ({"version": 1, "tokens": [ROW | {"teams": NO_TEAMS}]}, "tokens.0.teams"),
        (" " * 1_048_576, "1,048,576 bytes"),
    ],
    ids=["empty", "list", "twice", "hash", "unknown", "negative", "no teams", "large"],
)
def test_a_damaged_file_is_refused_without_its_content(content: Any, words: str, file: Path):
    file.parent.mkdir()
    file.touch(mode=0o600)
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    with pytest.raises(ConfigError, match=words) as error:
        read_tokens(file)
    assert "secret" not in str(error.value)


def test_a_file_that_others_may_read_is_refused(file: Path):
    add_token(file, "anna")
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_tokens(file)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        read_tokens(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="can't be read"):
        read_tokens(tmp_path / "pipe" / "x")
    with pytest.raises(ConfigError, match="token add NAME"):
        read_tokens(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="can't be written"):
        add_token(tmp_path / "pipe" / "x" / "y", "anna")


def test_a_token_is_found_by_its_hash_alone(file: Path):
    token = add_token(file, "anna")
    tokens = Tokens(operator="the-token-of-the-operator", path=file)
    found, operator = tokens.find(token), tokens.find("the-token-of-the-operator")
    assert found is not None
    assert found.caller.user is not None
    assert (found.caller.user.name, found.caller.local) == ("anna", False)
    assert operator is not None
    assert operator.caller.user is None
    assert tokens.find(sha256(token.encode()).hexdigest()) is None
    assert tokens.find("") is None
    assert Tokens(operator=None, path=None).find("") is None


def test_the_command_adds_lists_and_revokes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    teams = tmp_path / "teams"
    teams.mkdir()
    (teams / "fast.yaml").write_text("agents: []", "utf-8")
    environ = {
        "MASSGEN_MCP_STATE_DIR": str(tmp_path / "state"),
        "MASSGEN_MCP_CONFIG_DIRS": f"{teams}{os.pathsep}{tmp_path / 'gone'}",
    }

    def command(*words: str) -> tuple[int, str, str]:
        code = main(["token", *words], environ=environ)
        said = capsys.readouterr()
        return code, said.out, said.err

    assert "no tokens yet" in command("list")[1]
    code, token, words = command("add", "anna", "--teams", "fast, sales", "--usd-per-day", "5", "--runs", "2")
    assert code == 0
    assert token.startswith("mgm_")
    assert "shown once" in words
    assert "Warning: from here no team file is found for sales." in words
    assert "Warning" not in command("add", "ben")[2]
    assert "Warning" not in command("add", "dora", "--teams", "fast")[2]
    assert command("revoke", "dora")[0] == 0
    listed = command("list")[1]
    assert [part for part in ("anna", "fast, sales", "5.00", "2", "ben", "all") if part not in listed] == []
    assert json.loads(command("list", "--json")[1])[0]["teams"] == ["fast", "sales"]
    assert token.strip() not in listed
    assert command("add", "ben")[0] == 1
    assert "opens nothing any more" in command("revoke", "ben")[2]
    assert [row["name"] for row in json.loads(command("list", "--json")[1])] == ["anna"]
    assert command("add", "carl", "--teams", "fast,,code")[0] == 1
    other = tmp_path / "other.json"
    assert command("add", "anna", "--tokens", str(other))[0] == 0
    assert [found.name for found in read_tokens(other)] == ["anna"]


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "--tokens"],
        ["serve", "--behind-proxy", "--allowed-host", "x"],
        ["serve", "--tls-cert", "c.pem"],
    ],
)
def test_options_of_http_need_http(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(words, environ={}) == 1
    assert "only with --http" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "token", "words"),
    [
        ([], "short", "at least 16 characters"),
        ([], "with spaces in the middle", "visible ASCII"),
        (["--host", "0.0.0.0"], "", "in the open"),  # noqa: S104 - what is refused
        (["--tokens"], "", "token add NAME"),
        (["--tls-cert", "nothing.pem", "--tls-key", "nothing.pem"], "", "No such file"),
    ],
)
def test_what_would_not_be_safe_does_not_start(
    options: list[str], token: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    environ = {"MASSGEN_MCP_STATE_DIR": str(tmp_path), "MASSGEN_MCP_TOKEN": token}
    assert main(["serve", "--http", "--port", "0", *options], environ=environ) == 1
    assert words in capsys.readouterr().err


def test_an_error_is_one_of_ours(file: Path):
    with pytest.raises(MassgenError):
        read_tokens(file)
