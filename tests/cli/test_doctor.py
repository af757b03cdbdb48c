"""`massgen-mcp doctor`: what it says of a machine, and what goes into a bug report."""

from __future__ import annotations

import json
import os
import sqlite3
import tomllib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import anyio
import pytest

from massgen_mcp.cli import findings, findings_kept
from massgen_mcp.cli.findings import Finding
from massgen_mcp.config.environment import Environment, read_env_file
from massgen_mcp.errors import ConfigError, Problem
from massgen_mcp.journal import Journal, open_journal
from massgen_mcp.runs.roots import find_roots
from massgen_mcp.runs.settings import read_settings
from massgen_mcp.secrets import Secrets
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable
from tests.cli.terminal import Ended, Terminal
from tests.teams import ScriptedTeam

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = "sk-proj-planted0123456789abcdef"


def levels(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.name) for finding in found]


# The machine.


def test_every_extra_of_the_package_is_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert findings.EXTRAS.keys() == project["optional-dependencies"].keys()
    versions, extras = findings.machine()
    assert "Python 3." in versions.text
    assert "installed: " in extras.text


def _program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_programs_say_their_versions_and_are_given_no_key(tmp_path: Path) -> None:
    _program(tmp_path, "claude", 'echo "2.1.0 (Claude Code) $OPENAI_API_KEY."; echo more')
    _program(tmp_path, "codex", "exit 3")
    (tmp_path / "gemini").write_text("#!/not/there\n")
    (tmp_path / "gemini").chmod(0o755)
    found = anyio.run(findings.programs, {"PATH": str(tmp_path), "OPENAI_API_KEY": KEY})
    said = {finding.name: finding.text for finding in found}
    assert said["claude"] == f"{tmp_path}/claude (2.1.0 (Claude Code) .)"
    assert said["codex"] == f"{tmp_path}/codex (it said no version, and ended with 3)"
    assert "it can't be run" in said["gemini"]
    assert "bwrap (the sandbox of agents' commands)" in said["not on PATH"]


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "no proxy, the system's certificates"),
        ({"SSL_CERT_FILE": "/ca.pem"}, "no proxy; set: SSL_CERT_FILE"),
        (
            {"HTTPS_PROXY": "http://me:secret@proxy.example:8080", "NO_PROXY": "localhost"},
            "HTTPS_PROXY=http://...@proxy.example:8080, NO_PROXY. The proxy looks names up",
        ),
        ({"https_proxy": "proxy.example:8080"}, "https_proxy=proxy.example:8080. "),
        ({"ALL_PROXY": "me:secret@proxy.example"}, "ALL_PROXY=...@proxy.example. "),
    ],
)
def test_proxies_are_named_without_what_logs_in_there(environ: Mapping[str, str], words: str) -> None:
    assert findings.network(environ).text.startswith(words)


def test_a_sandbox_that_cant_be_had_has_its_remedy() -> None:
    async def none(_: Mapping[str, str]) -> Sandbox:
        raise SandboxUnavailable("Install bubblewrap.")

    found = anyio.run(partial(findings.sandbox, {}, find=none))
    assert (found.level, found.remedy) == ("note", "Install bubblewrap.")


# What is kept.


def test_settings_that_cant_be_read_are_problems() -> None:
    found = list(findings_kept.settings_found(read_settings({"MASSGEN_MCP_MAX_USD": "much"})))
    assert levels(found) == [("ok", "settings"), ("problem", "settings")]
    assert found[1].text == "MASSGEN_MCP_MAX_USD is not a number above zero; 1 holds."
    (whole,) = findings_kept.settings_found(read_settings({"MASSGEN_MCP_KEEP_DAYS": "forever"}))
    assert whole.text.endswith("runs are kept for ever")


def test_a_configured_folder_that_is_missing_is_noted(tmp_path: Path) -> None:
    (tmp_path / "teams").mkdir()
    environ = {"MASSGEN_MCP_CONFIG_DIRS": f"{tmp_path / 'teams'}{os.pathsep}{tmp_path / 'team'}"}
    _, found = findings_kept.settings_found(read_settings(environ))
    assert found.level == "note"
    assert found.text.startswith(f"{tmp_path / 'team'}, where team files are to lie, is no folder")


def _state(folder: Path, **options: Any) -> Finding:
    (found,) = findings_kept.state_folder(folder, **options)
    return found


def test_a_state_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = _state(tmp_path / "deep" / "state")
    assert (found.level, found.text) == ("ok", f"{tmp_path}/deep/state is made with the first run")
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_is_for_its_user_alone_and_on_a_disk_of_this_machine(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    assert _state(folder).level == "ok"
    folder.chmod(0o755)
    assert (_state(folder).level, _state(folder).remedy) == ("problem", f"chmod 700 '{folder}'")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"27 1 0:1 / {tmp_path.resolve()} rw - nfs4 server:/ rw\n")
    assert "network file system (nfs4)" in _state(folder, mounts=mounts).text
    assert list(folder.iterdir()) == []
    full = _state(folder, least=1 << 60)
    assert (full.level, full.remedy) == ("problem", "Make room: a full disk ends runs.")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder where nobody may write")
def test_a_state_folder_where_nobody_may_write_is_a_problem() -> None:
    found = _state(Path("/proc/state"))
    assert found.level == "problem"
    assert "can't be used" in found.text
    assert "MASSGEN_MCP_STATE_DIR" in found.text


def test_a_journal_is_told_whole_damaged_too_new_or_unreadable(tmp_path: Path) -> None:
    assert findings_kept.journal(tmp_path)[0].text == "there is none yet"
    anyio.run(_keep, tmp_path)
    assert findings_kept.journal(tmp_path)[0].text.endswith("; whole (1 runs proved)")
    with closing(sqlite3.connect(tmp_path / "journal.db")) as raw, raw:
        raw.execute("UPDATE records SET body = '{}' WHERE seq = 2")
    found, health = findings_kept.journal(tmp_path)
    assert (found.level, found.text.rpartition("; ")[2]) == ("problem", "damaged runs: r1")
    assert health is not None
    with closing(sqlite3.connect(tmp_path / "journal.db")) as raw, raw:
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("DELETE FROM sqlite_master WHERE name = 'runs_by_start'")
    assert "; damaged: " in findings_kept.journal(tmp_path)[0].text
    with closing(sqlite3.connect(tmp_path / "journal.db")) as raw, raw:
        raw.execute("PRAGMA user_version = 99")
    assert "knows up to version" in findings_kept.journal(tmp_path)[0].text
    (tmp_path / "journal.db").write_bytes(b"rubbish " * 1000)
    for name in ("journal.db-wal", "journal.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    found, health = findings_kept.journal(tmp_path)
    assert (found.level, health) == ("problem", None)


def test_keys_are_named_with_their_place_and_slips_are_seen(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"XAI_API_KEY={KEY}\n")
    environment = Environment.of({"OPENAI_API_KEY": KEY, "GROQ_KEY": KEY}, read_env_file(tmp_path / ".env"))
    found = list(findings_kept.keys(environment))
    assert found[0].text == (
        f"set: OPENAI_API_KEY (the process's environment), XAI_API_KEY ({tmp_path}/.env)"
    )
    assert (found[1].text, found[1].remedy) == (
        "GROQ_KEY is set, which nothing here reads",
        "Was GROQ_API_KEY meant?",
    )
    assert not any(KEY in finding.text for finding in found)


def test_without_a_key_it_says_where_one_belongs(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    none, trouble = findings_kept.keys(Environment.of({}, read_env_file(tmp_path / ".env")))
    assert (none.level, trouble.level) == ("note", "problem")
    assert "don't hand the shell's variables on" in none.remedy


def test_roots_are_told_or_why_there_are_none(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    (good,) = findings_kept.roots(find_roots(environ={}, cwd=project, home=home))
    assert good.text == f"files may be named from {project.resolve()} (the working folder)"
    (none,) = findings_kept.roots(find_roots(environ={}, cwd=tmp_path, home=tmp_path))
    assert none.level == "note"
    found = list(
        findings_kept.roots(
            find_roots(environ={"MASSGEN_MCP_ROOTS": "/not/there"}, cwd=tmp_path, home=tmp_path)
        )
    )
    assert levels(found) == [("note", "roots"), ("problem", "roots")]


@dataclass
class Mixed(ScriptedTeam):
    """A good team, a bad one, and backends of which one is ready."""

    ready: bool = True

    def names(self) -> list[str]:
        return ["good", "bad"]

    async def catalogue(self, backend: str | None = None, task: str | None = None) -> dict[str, Any]:
        del backend, task
        rows = [{"backend": "a", "ready": self.ready}, {"backend": "b", "ready": False}]
        return {"backends": rows}

    async def validate(self, config: str) -> dict[str, Any]:
        problems = [
            {"path": "agents[0].id", "message": "missing.", "line": 3, "severity": "error"},
            {"path": "ui", "message": "not used.", "severity": "notice"},
        ]
        return {"ok": config == "good", "problems": problems}


def test_teams_that_cant_be_used_are_told_with_what_is_wrong() -> None:
    found = list(anyio.run(findings_kept.teams, Mixed({})))
    assert [(finding.level, finding.text) for finding in found] == [
        ("ok", "1 of 2 team files can be used"),
        ("problem", "bad: agents[0].id (line 3): missing."),
    ]
    (ready,) = anyio.run(findings_kept.backends, Mixed({}))
    assert ready.text == "ready: a; 1 are not (`massgen-mcp backends` says why)"
    (none,) = anyio.run(findings_kept.backends, Mixed({}, ready=False))
    assert (none.level, none.text) == ("note", "none is ready")


class _Unlisted(ScriptedTeam):
    async def catalogue(self, backend: str | None = None, task: str | None = None) -> dict[str, Any]:
        raise ConfigError([Problem(path="x", message="broken")])


def test_backends_that_cant_be_listed_are_a_problem() -> None:
    (found,) = anyio.run(findings_kept.backends, _Unlisted({}))
    assert (found.level, "broken" in found.text) == ("problem", True)


# The command.

BODY = {
    "question": "Shall we buy Initech?",
    "agents": [{"id": "a", "backend": "openai", "model": "gpt-5"}],
    "attached": {"secret plan.txt": "0123"},
    "seed": 7,
}


async def _keep(folder: Path) -> None:
    journal = await open_journal(folder)
    log = await journal.begin("r1", question="Shall we buy Initech?", team="fast", body=BODY)
    await log.append("CallReplied", {"agent": "a", "reply": {"text": f"Never. {KEY}", "finish": "stop"}})
    await journal.aclose()


@dataclass
class Kept(ScriptedTeam):
    """A team whose journal is on disk, in an environment with a key."""

    folder: Path = field(default_factory=Path)

    async def _open_journal(self) -> Journal:
        return await open_journal(self.folder)


@pytest.fixture
def machine(tmp_path: Path, terminal: Terminal) -> Terminal:
    terminal.environ = {
        "PATH": str(tmp_path),
        "MASSGEN_MCP_STATE_DIR": str(tmp_path / "state"),
        "MASSGEN_MCP_MAX_USD": "2",
        "OPENAI_API_KEY": KEY,
    }
    return terminal


def _kept(tmp_path: Path) -> Kept:
    secrets = Secrets()
    secrets.add(KEY, "OPENAI_API_KEY")
    return Kept({}, folder=tmp_path / "state", secrets=secrets)


def _bundle(path: Path) -> dict[str, str]:
    with ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def _doctor(machine: Terminal, tmp_path: Path, *argv: str) -> Ended:
    return machine.run(_kept(tmp_path), "doctor", *argv)


def test_the_doctor_tells_everything_and_makes_nothing(machine: Terminal, tmp_path: Path) -> None:
    ended = _doctor(machine, tmp_path)
    lines = ended.out.splitlines()
    assert lines[0].startswith("ok      versions: massgen-mcp ")
    assert f"ok      state folder: {tmp_path}/state is made with the first run" in lines
    assert any("OPENAI_API_KEY (the process's environment)" in line for line in lines)
    assert KEY not in ended.out
    assert (lines[-1] == "No problems.") == (ended.code == 0)
    assert not (tmp_path / "state").exists()


def test_a_problem_is_the_exit_code_and_has_its_remedy(machine: Terminal, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    (tmp_path / "state").chmod(0o755)
    ended = _doctor(machine, tmp_path)
    lines = ended.out.splitlines()
    assert ended.code == 1
    where = next(number for number, line in enumerate(lines) if line.startswith("PROBLEM state folder"))
    assert lines[where + 1] == f"          chmod 700 '{tmp_path}/state'"
    assert lines[-1].endswith(("1 problem.", "problems."))
    found = json.loads(_doctor(machine, tmp_path, "--json").out)
    assert {"problem"} <= {row["level"] for row in found}


def test_a_bundle_has_what_helps_and_nothing_that_is_private(machine: Terminal, tmp_path: Path) -> None:
    anyio.run(_keep, tmp_path / "state")
    log = tmp_path / "server.log"
    log.write_text("".join(f"line {number} {KEY}\n" for number in range(500)))
    path = tmp_path / "report.zip"
    ended = _doctor(machine, tmp_path, "--bundle", str(path), "--log", str(log))
    assert ended.err == f"Written: {path}. Look into it before you send it: README.txt says how.\n"
    files = _bundle(path)
    assert files.keys() == {
        "README.txt",
        "doctor.json",
        "journal.json",
        "log.txt",
        "run.jsonl",
        "settings.json",
        "versions.json",
    }
    assert path.stat().st_mode & 0o777 == 0o600
    for text in files.values():
        for private in (KEY, "Initech", "Never", "secret plan", str(Path.home()) + "/"):
            assert private not in text
    started, replied = (json.loads(line) for line in files["run.jsonl"].splitlines())
    assert started["body"] == {
        "question": "<21 characters>",
        "agents": [{"id": "a", "backend": "openai", "model": "gpt-5"}],
        "attached": {"<0>": "<4 characters>"},
        "seed": 7,
    }
    assert replied["body"]["reply"]["finish"] == "stop"
    assert json.loads(files["settings.json"]) == {
        "MASSGEN_MCP_MAX_USD": "2",
        "MASSGEN_MCP_STATE_DIR": "set",
    }
    assert json.loads(files["journal.json"])["records"] == 2
    assert "mcp" in json.loads(files["versions.json"])
    assert files["log.txt"].splitlines()[-1] == "line 499 [OPENAI_API_KEY]"
    assert len(files["log.txt"].splitlines()) == 200


def test_texts_go_into_a_bundle_only_when_they_are_asked_for(machine: Terminal, tmp_path: Path) -> None:
    anyio.run(_keep, tmp_path / "state")
    path = tmp_path / "report.zip"
    _doctor(machine, tmp_path, "--bundle", str(path), "--with-texts", "--run", "r1")
    text = _bundle(path)["run.jsonl"]
    assert "Shall we buy Initech?" in text
    assert "Never. [OPENAI_API_KEY]" in text
    assert KEY not in text


def test_a_damaged_run_is_there_as_far_as_it_can_be_read(machine: Terminal, tmp_path: Path) -> None:
    anyio.run(_keep, tmp_path / "state")
    with closing(sqlite3.connect(tmp_path / "state" / "journal.db")) as raw, raw:
        raw.execute("UPDATE records SET body = '{}' WHERE seq = 2")
    path = tmp_path / "report.zip"
    assert _doctor(machine, tmp_path, "--bundle", str(path)).code == 1
    lines = _bundle(path)["run.jsonl"].splitlines()
    assert (json.loads(lines[0])["seq"], json.loads(lines[1])) == (1, {"damaged": 2})


def test_a_bundle_without_a_journal_makes_none(machine: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "report.zip"
    _doctor(machine, tmp_path, "--bundle", str(path))
    files = _bundle(path)
    assert (files["run.jsonl"], json.loads(files["journal.json"])) == ("", {"there": False})
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--log", "x"), "--run, --log and --with-texts go with --bundle FILE."),
        (("--bundle", "{tmp}/there.zip"), "{tmp}/there.zip is there already. Give --bundle another name."),
        (("--bundle", "{tmp}/no/x.zip"), "{tmp}/no/x.zip can't be written: No such file or directory."),
        (("--bundle", "{tmp}/x.zip", "--log", "{tmp}/no"), "The log {tmp}/no can't be read: No such file"),
        (("--bundle", "{tmp}/x.zip", "--run", "r9"), "There is no run 'r9'."),
    ],
    ids=["no bundle", "there already", "no folder", "no log", "no run"],
)
def test_what_cant_be_bundled_is_said(
    machine: Terminal, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    anyio.run(_keep, tmp_path / "state")
    (tmp_path / "there.zip").write_bytes(b"mine")
    ended = _doctor(machine, tmp_path, *(word.format(tmp=tmp_path) for word in words))
    assert ended.code == 1
    assert said.format(tmp=tmp_path) in ended.err
    assert (tmp_path / "there.zip").read_bytes() == b"mine"
