"""Where a server's process lives: what it sees of the machine, what it gets to know, what fails and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from massgen_mcp.tools.downstream import DownstreamTools, Entry, Outside, PackageCache
from massgen_mcp.tools.downstream.denied import sandbox_hint
from massgen_mcp.tools.downstream.failures import ServerOff
from massgen_mcp.tools.downstream.launching import plan_launch
from massgen_mcp.tools.filters import NameLists
from massgen_mcp.workspace.confinement import Confinement, Level
from massgen_mcp.workspace.depth import deeper, depth_problem
from massgen_mcp.workspace.sandbox import Sandbox, find_sandbox
from tests.tools.downstream import ask, hostile, opened, surroundings

pytestmark = pytest.mark.anyio

BESIDE_PYTHON = Path(sys.executable).parent


@dataclass
class Noted:
    """A sandbox that notes what it is asked, and holds nothing."""

    level: Level = "bwrap"
    asked: list[Confinement] = field(default_factory=list[Confinement])

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        self.asked.append(confinement)
        return tuple(argv)


@pytest.fixture
async def sandbox() -> Sandbox:
    return await find_sandbox(os.environ)


def outside(folder: Path, *path: Path, **more: object) -> Outside:
    search = os.pathsep.join(map(str, (*path, "/usr/bin", "/bin")))
    environ = {"PATH": search, "HOME": str(folder / "home")}
    return replace(surroundings(folder), sandbox=Noted(), environ=environ, **more)  # pyright: ignore[reportArgumentType] - fields by name


def program(path: Path, first: str = "#!/bin/sh") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{first}\n")
    path.chmod(0o755)
    return path


def test_a_server_sees_its_own_folder_and_its_program(tmp_path: Path) -> None:
    tool = program(tmp_path / "tools" / "bin" / "serve")
    around = outside(tmp_path, tool.parent)
    plan = plan_launch(Entry(name="a", command=("serve",)), around)

    assert plan.confinement is not None
    own = tmp_path / "servers" / "a"
    assert plan.command == (str(tool),)
    assert plan.confinement.cwd == own / "work"
    assert plan.confinement.write == (own,)
    assert plan.confinement.home == own / "home"
    assert plan.confinement.network
    assert tool.parents[1] in plan.confinement.read
    assert (own / "home").stat().st_mode & 0o777 == 0o700


def test_a_program_in_the_home_does_not_show_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".local" / "lib").mkdir(parents=True)
    for place in (home / "bin", home / ".local" / "bin"):
        tool = program(place / "serve")
        plan = plan_launch(Entry(name="a", command=(str(tool),)), outside(tmp_path))

        assert plan.confinement is not None
        assert place in plan.confinement.read
        assert not any(home.is_relative_to(path) or path == home / ".local" for path in plan.confinement.read)


def test_the_environment_behind_a_script_is_seen(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    python = program(tmp_path / "pythons" / "3.11" / "bin" / "python3.11")
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(python)
    tool = program(tmp_path / "links" / "real" / "serve", f"#!{venv}/bin/python")
    link = tmp_path / "venv" / "node_modules" / ".bin" / "serve"
    link.parent.mkdir(parents=True)
    link.symlink_to(tool)
    plan = plan_launch(Entry(name="a", command=(str(link),)), outside(tmp_path))

    assert plan.confinement is not None
    assert {venv, python.parents[1], tool.parent, link.parents[1]} <= set(plan.confinement.read)


def test_what_the_entry_names_is_seen_and_not_writable(tmp_path: Path) -> None:
    for name in ("data", "config", "here", "project/src", "project/node_modules"):
        (tmp_path / name).mkdir(parents=True)
    script = program(tmp_path / "project" / "src" / "main.js")
    entry = Entry(
        name="a",
        command=(
            "sh",
            str(tmp_path / "data"),
            f"--config={tmp_path / 'config'}",
            "/no/such",
            "/",
            str(script),
        ),
        environ=(("KEYS", str(tmp_path / "data")),),
        cwd=tmp_path / "here",
    )
    plan = plan_launch(entry, outside(tmp_path))

    assert plan.confinement is not None
    named = {tmp_path / name for name in ("data", "config", "here", "project", "project/src")}
    assert named <= set(plan.confinement.read)
    assert Path("/") not in plan.confinement.read
    assert plan.confinement.cwd == tmp_path / "here"
    assert plan.confinement.write == (tmp_path / "servers" / "a",)


def test_the_agents_folder_is_writable_for_who_is_given_it(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    around = outside(tmp_path, workspace=workspace)
    given, other = (
        plan_launch(Entry(name=name, command=command), around).confinement
        for name, command in (("a", ("sh", str(workspace))), ("b", ("sh",)))
    )

    assert given is not None
    assert other is not None
    assert workspace in given.write
    assert workspace not in (*other.write, *other.read)


def test_an_installer_has_a_cache_that_lasts_and_nobody_else_has(tmp_path: Path) -> None:
    around = outside(tmp_path, program(tmp_path / "n" / "bin" / "npx").parent)
    plan = plan_launch(Entry(name="a", command=("npx", "-y", "x")), around)
    other = plan_launch(Entry(name="b", command=("sh",)), around)

    assert plan.confinement is not None
    assert other.confinement is not None
    part = around.cache.part(Entry(name="a", command=("npx", "-y", "x", "/some/where", "--to=/x")))
    assert part.parent == tmp_path / "cache"
    assert plan.environ["npm_config_cache"] == str(part / "npm")
    assert plan.environ["UV_CACHE_DIR"] == str(part / "uv")
    assert plan.confinement.write == (tmp_path / "servers" / "a", part)
    assert len(other.confinement.write) == 1
    assert "npm_config_cache" not in other.environ


def test_servers_share_no_packages() -> None:
    cache = PackageCache(Path("/cache"))
    commands = [("a", ("npx", "x")), ("a", ("npx", "y")), ("b", ("npx", "x")), ("a", ("uvx", "x"))]

    assert len({cache.part(Entry(name=name, command=command)) for name, command in commands}) == 4


def test_the_entrys_variables_win_but_for_the_depth(tmp_path: Path) -> None:
    entry = Entry(name="a", command=("sh",), environ=(("PATH", "/x"), ("MASSGEN_MCP_DEPTH", "0")))
    with pytest.raises(ServerOff, match="no program 'sh' on the PATH"):
        plan_launch(entry, outside(tmp_path))
    entry = Entry(name="a", command=("sh",), environ=(("MASSGEN_MCP_DEPTH", "0"),))

    assert plan_launch(entry, outside(tmp_path)).environ["MASSGEN_MCP_DEPTH"] == "1"


def test_without_a_sandbox_only_the_operators_word_starts_a_server(tmp_path: Path) -> None:
    around = replace(outside(tmp_path), sandbox=None, sandbox_problem="bwrap: not installed")
    with pytest.raises(ServerOff, match=r"no sandbox works here \(bwrap: not installed\); set `sandbox"):
        plan_launch(Entry(name="a", command=("sh",)), around)

    plan = plan_launch(Entry(name="a", command=("sh",), sandbox="off"), around)
    assert plan.confinement is None
    assert "bond.py" in plan.command[2]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("EACCES: permission denied, open '{hidden}/a.txt'", "hides {hidden}/a.txt"),
        ("connect ENOENT unix://{hidden}/a.sock", "hides {hidden}/a.sock"),
        ("[Errno 30] Read-only file system: '{shown}/x'", "keeps {shown}/x from being written"),
        ("EROFS: read-only file system", "may have denied that"),
    ],
)
def test_what_looks_like_the_sandbox_is_said_with_the_path(text: str, hint: str, tmp_path: Path) -> None:
    home = Path.home()
    confinement = Confinement(cwd=tmp_path, write=(tmp_path,), read=(Path("/srv/shown"),))
    words = sandbox_hint(text.format(hidden=home, shown="/srv/shown"), confinement)

    assert words.startswith(f"The sandbox {hint.format(hidden=home, shown='/srv/shown')}; set `sandbox: off`")


@pytest.mark.parametrize(
    "text", ["all is well", "EACCES '{own}/x'", "ENOENT: no such file '/no/such/x'", "not found"]
)
def test_what_does_not_is_not(text: str, tmp_path: Path) -> None:
    confinement = Confinement(cwd=tmp_path, write=(tmp_path,))

    assert not sandbox_hint(text.format(own=tmp_path), confinement)
    assert not sandbox_hint("EROFS", None)


async def test_a_confined_server_works_and_is_told_what_it_may_not(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    readable = tmp_path / "readable"
    readable.mkdir()
    entry = hostile("good", tmp_path, sandbox="auto", environ=(("DATA", str(readable)),))
    entry = replace(entry, command=(*entry.command[:4], str(readable)))
    async with opened(entry, tmp_path, sandbox=sandbox) as tools:
        assert json.loads((await ask(tools, "evil__where")).content)["home"].endswith("/servers/evil/home")
        inside = str(tmp_path / "servers" / "evil" / "work" / "x")
        assert (await ask(tools, "evil__denied", path=inside)).content == "written"
        result = await ask(tools, "evil__denied", path=str(readable / "x"))

        assert result.is_error
        assert f"[The sandbox keeps {readable}/x from being written; set `sandbox: off`" in result.content


async def test_a_confined_server_is_gone_with_all_it_started(sandbox: Sandbox, tmp_path: Path) -> None:
    entry = replace(hostile("good", tmp_path, sandbox="auto", timeout=20))
    mark = f"massgen-test-{os.getpid()}"
    entry = replace(entry, command=(*entry.command, mark))
    async with opened(entry, tmp_path, sandbox=sandbox) as tools:
        await ask(tools, "evil__survivors")
        assert running(mark)
    with anyio.fail_after(5):
        while running(mark):  # noqa: ASYNC110 - processes of others set no events
            await anyio.sleep(0.02)


def running(mark: str) -> list[str]:
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


async def test_servers_of_others_work_confined(sandbox: Sandbox, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    subprocess.run(["git", "init", "-q", str(repository)], check=True)  # noqa: ASYNC221, S603, S607 - quick
    (repository / "new.txt").write_text("x")
    entries = [
        Entry(name="time", command=(str(BESIDE_PYTHON / "mcp-server-time"),), stateless=True),
        Entry(
            name="git",
            command=(str(BESIDE_PYTHON / "mcp-server-git"), "--repository", str(repository)),
            lists=NameLists(refused=("git_commit",)),
        ),
    ]
    with anyio.fail_after(40):
        async with DownstreamTools(entries, replace(surroundings(tmp_path), sandbox=sandbox)) as tools:
            await tools.ready()
            tools.choose()
            assert tools.warnings == ()
            converted = await ask(
                tools,
                "time__convert_time",
                source_timezone="UTC",
                time="12:00",
                target_timezone="Asia/Tokyo",
            )
            assert "21:00" in converted.content
            status = await ask(tools, "git__git_status", repo_path=str(repository))
            assert "new.txt" in status.content
            assert "git__git_commit" not in {spec.name for spec in tools.specs}
            added = await ask(tools, "git__git_add", repo_path=str(repository), files=["new.txt"])
            assert added.is_error, "the operator's repository can be read, not written"


def test_a_team_may_be_asked_by_a_team_but_no_deeper() -> None:
    first = deeper({})
    second = deeper(first)

    assert (first, second) == ({"MASSGEN_MCP_DEPTH": "1"}, {"MASSGEN_MCP_DEPTH": "2"})
    assert not depth_problem({})
    assert not depth_problem(first)
    assert depth_problem(second).startswith("This server was started by a team, 2 deep; the limit is 1.")


def test_the_operator_can_set_the_depth_for_all_below() -> None:
    environ = deeper(deeper({"MASSGEN_MCP_MAX_DEPTH": "2"}))

    assert not depth_problem(environ)
    assert depth_problem(deeper(environ))
    assert depth_problem({"MASSGEN_MCP_MAX_DEPTH": "0", "MASSGEN_MCP_DEPTH": "1"})


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "9999", "²"])
def test_who_can_not_tell_its_depth_asks_nobody(text: str) -> None:
    assert "MASSGEN_MCP_DEPTH is no number" in depth_problem({"MASSGEN_MCP_DEPTH": text})
    assert deeper({"MASSGEN_MCP_DEPTH": text}) == {"MASSGEN_MCP_DEPTH": text}
    assert "MASSGEN_MCP_MAX_DEPTH is no number" in depth_problem({"MASSGEN_MCP_MAX_DEPTH": text})


async def test_installations_of_one_package_wait_for_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    npx = program(folder / "npx", f"#!{sys.executable}")
    npx.write_text(
        f"#!{sys.executable}\nimport os, sys, time, pathlib\n"
        f"lock = pathlib.Path({str(tmp_path / 'lock')!r})\n"
        "if lock.exists(): sys.exit('two at once')\n"
        "lock.write_text('')\ntime.sleep(0.2)\nlock.unlink()\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[2:]])\n"
    )
    good = hostile("good", tmp_path)
    entry = replace(good, command=(str(npx), "-y", *good.command[1:]))
    outside = surroundings(tmp_path, cache=PackageCache(tmp_path / "cache"))
    with anyio.fail_after(20):
        async with DownstreamTools([entry], outside) as a, DownstreamTools([entry], outside) as b:
            await a.ready()
            await b.ready()

            assert a.warnings == b.warnings == ()
            assert outside.cache.used(entry)


async def test_a_first_use_is_told(tmp_path: Path) -> None:
    npx = program(tmp_path / "bin" / "npx")
    npx.write_text("#!/bin/sh\necho 'npm error 404 no such package' >&2\nsleep 0.6\nexit 1\n")
    told: list[str] = []
    entry = Entry(name="a", command=(str(npx), "-y", "x"), sandbox="off")
    async with opened(entry, tmp_path, tell=told.append, tell_after=0.1, grace=1.0) as tools:
        assert told == ["MCP server a: installing, first use (0 s)"]
        assert "it ended with exit code 1. Its last words: npm error 404 no such package" in tools.warnings[0]


_KEEPING = """
import anyio, pathlib, sys
from dataclasses import replace
from massgen_mcp.tools.downstream import DownstreamTools
from massgen_mcp.workspace.sandbox import find_sandbox
from tests.tools.downstream import ask, hostile, surroundings
async def main():
    folder = pathlib.Path(sys.argv[1])
    entries = [hostile("good", folder, name=mark, sandbox=mode, timeout=20)
               for mark, mode in zip(sys.argv[2:], ("auto", "off"))]
    entries = [replace(entry, command=(*entry.command, entry.name)) for entry in entries]
    async with DownstreamTools(entries, surroundings(folder, sandbox=await find_sandbox())) as tools:
        for entry in entries:
            await ask(tools, f"{entry.name}__survivors")
        print("ready", flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""


@pytest.mark.no_cover
async def test_what_ignores_every_sign_to_end_is_gone_after_our_own_violent_death_confined_or_not(
    tmp_path: Path,
) -> None:
    marks = [f"massgen-test-{level}-{os.getpid()}" for level in ("confined", "bonded")]
    root = str(Path(__file__).parents[2])
    process = await anyio.open_process(
        [sys.executable, "-c", _KEEPING, str(tmp_path), *marks],
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
    )
    async with process:
        assert process.stdout is not None
        with anyio.fail_after(45):
            assert (await process.stdout.receive()).startswith(b"ready")
        for mark in marks:
            assert len(running(mark)) > 1
        process.kill()
        with anyio.fail_after(5):
            while any(running(mark) for mark in marks):  # noqa: ASYNC110 - processes of others set no events
                await anyio.sleep(0.02)


async def test_a_server_that_starts_beside_the_team_file_sees_neither_it_nor_its_keys(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    team = tmp_path / "team"
    (team / ".massgen").mkdir(parents=True)
    (team / "server.yaml").write_text("port: 1\n")
    (team / "team.yaml").write_text("agents:\n  - id: a\n")
    (team / ".massgen" / "mine.yml").write_text("agent:\n  id: a\n")
    for name in (".env", ".env.local", ".massgen/.env"):
        (team / name).write_text("KEY=in-the-open")
    entry = Entry(name="s", command=("true",), cwd=team)
    plan = plan_launch(entry, surroundings(tmp_path, sandbox=sandbox))

    assert plan.confinement is not None
    assert {path.relative_to(team).as_posix() for path in plan.confinement.hide} == {
        "team.yaml",
        ".env",
        ".env.local",
        ".massgen/.env",
        ".massgen/mine.yml",
    }
    script = "cat .env .env.local team.yaml .massgen/*; cat .massgen/.env; cat server.yaml; ls -A"
    ended = await anyio.run_process(
        sandbox.command(("sh", "-c", script), plan.confinement), env={"PATH": os.defpath}, check=False
    )
    assert b"in-the-open" not in ended.stdout
    assert b"agents:" not in ended.stdout
    assert b"port: 1" in ended.stdout
    assert f"The sandbox hides {team}/.env" in sandbox_hint(f"EACCES {team}/.env", plan.confinement)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "team.yaml").write_text("agents: []\n")
    (workspace / ".env").write_text("the agent's own")
    working = plan_launch(
        replace(entry, command=("true", str(workspace))),
        surroundings(tmp_path, sandbox=sandbox, workspace=workspace),
    )
    assert working.confinement is not None
    assert working.confinement.hide == plan.confinement.hide, "also where it works in the agent's folder"
    named = plan_launch(
        replace(entry, command=("true", f"{team}/.env")), surroundings(tmp_path, sandbox=sandbox)
    )
    assert named.confinement is not None
    assert team / ".env" not in named.confinement.hide, "what the operator names is meant"
