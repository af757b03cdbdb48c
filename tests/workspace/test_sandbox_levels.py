"""What confined children can't do: at each level, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from massgen_mcp.workspace.areas import Areas, Context
from massgen_mcp.workspace.confinement import ProcessLimits
from tests.confined import CASES, ENVIRON, LINUX, World, alive, listening, opened, protecting

pytestmark = LINUX

_TRY = """
import json, socket, sys
told = json.loads(sys.argv[1])
def reach(family, kind, address):
    try:
        with socket.socket(family, kind) as one:
            one.settimeout(1)
            one.connect(address)
            one.send(b"x")
    except OSError:
        pass
reach(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", told["tcp"]))
reach(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", told["udp"]))
reach(socket.AF_UNIX, socket.SOCK_STREAM, "\\0" + told["abstract"])
reach(socket.AF_UNIX, socket.SOCK_STREAM, told["path"])
"""
_BOMB = """
import os, time
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
except OSError as error:
    print(error.strerror)
"""
_CALLS = """
import ctypes, errno, fcntl, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
arm = os.uname().machine == "aarch64"
def call(name, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(*arguments)
    print(name, errno.errorcode.get(ctypes.get_errno(), result))
call("ptrace", 117 if arm else 101, 0, 0, 0, 0)
call("keyctl", 219 if arm else 250, 0, -3, 0)
call("bpf", 280 if arm else 321, 0, 0, 0)
call("unshare", 97 if arm else 272, 0x10000000)
call("mount", 40 if arm else 165, b"x", b"/", b"tmpfs", 0, 0)
call("userfaultfd", 282 if arm else 323, 1)
call("perf", 241 if arm else 298, 0, 0, 0, 0, 0)
call("io_uring", 425, 1, 0)
call("clone3", 435, 0, 0)
try:
    socket.socket(40, socket.SOCK_STREAM)
    print("vsock made")
except OSError as error:
    print("vsock", errno.errorcode[error.errno])
try:
    fcntl.ioctl(0, 0x5412, b"x")
except OSError as error:
    print("typing", errno.errorcode[error.errno])
status = open("/proc/self/status").read()
for line in status.splitlines():
    if line.startswith(("CapEff", "CapBnd", "NoNewPrivs", "Seccomp:")):
        print(*line.split())
"""


@pytest.fixture(params=CASES)
def world(request: pytest.FixtureRequest) -> Generator[World]:
    with opened(request.param) as world:
        yield world


def test_it_reads_and_writes_where_it_may(world: World) -> None:
    ended = world.sh(
        f"cat secret {world.shown}/secret && echo more >made && mkdir sub && mv made sub && ln -s x sub/link"
        ' && echo x >"$TMPDIR/x" && echo x >"$HOME/x" && ls -A "$HOME" && pwd'
    )

    assert ended.stdout == f"in workin shownx\n{world.work}\n", ended.stderr
    assert (world.work / "sub" / "made").read_text() == "more\n"


def test_files_outside_can_neither_be_read_nor_listed_nor_written(world: World) -> None:
    outside = world.secret.parent
    ended = world.sh(
        f"cat {world.secret}; ls {outside}; echo x >{outside}/made; echo x >{world.secret};"
        f"rm {world.secret}; ln {world.secret} here; mv {world.secret} .; cat ../outside/secret;"
        f"ln -s {outside} there; cat there/secret; mv there/secret .; echo x >there/made;"
        f"cat /proc/self/root{world.secret} /etc/shadow {Path.home()}/.bashrc; ls /var /run /sys"
    )

    assert ended.stdout == ""
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert world.secret.read_text() == "in outside"


def test_what_is_shown_read_only_can_not_be_changed(world: World) -> None:
    ended = world.sh(
        f"cd {world.shown}; echo x >secret; echo x >made; rm secret; mv secret other; mkdir sub; "
        f"mv {world.work}/secret .; ln -s x link; truncate -s 0 secret; touch /usr/made /etc/made /made"
    )

    assert ended.returncode != 0
    assert [(path.name, path.read_text()) for path in world.shown.iterdir()] == [("secret", "in shown")]


def test_a_protected_path_holds_also_when_folders_around_it_are_moved(world: World) -> None:
    kept = world.work / "a" / "b" / "kept"
    for folder in (kept, kept.parent, kept.parent.parent):
        folder.mkdir(parents=True, exist_ok=True)
    (kept / "file").write_text("kept")
    for folder in (kept, kept.parent, kept.parent.parent):
        folder.chmod(0o777)
    (kept / "file").chmod(0o666)
    within = protecting(world, kept)

    tries = (
        f"echo x >{kept}/file",
        f"rm -r {kept}",
        f"mv {kept} aside",
        "mv a aside",
        "mv a/b aside",
        f"mv {kept}/file .",
    )
    assert world.sh("; ".join(f"({one}) && echo '{one}'" for one in tries), within=within).stdout == ""
    assert (kept / "file").read_text() == "kept"
    assert world.sh(f"cat {kept}/file", within=within).stdout == "kept"


def test_a_protected_path_that_is_not_there_can_not_be_made(world: World) -> None:
    (world.work / "a").mkdir()
    (world.work / "a").chmod(0o777)
    absent = world.work / "a" / "b"
    within = replace(world.confinement, absent=(absent,))

    tries = (
        "mkdir -p a/b/kept",
        "echo x >a/b",
        "ln -s . a/b/link",
        "mkdir other && mv -T other a/b",
        "mv a aside && mkdir -p a/b && touch a/b/made",
        "rmdir a/b && mkdir a/b && touch a/b/made",
    )
    assert world.sh("; ".join(f"({one}) && echo '{one}'" for one in tries), within=within).stdout == ""
    assert not absent.exists() or not [*absent.iterdir()]
    assert (world.work / "a").is_dir()
    assert world.sh("cat secret && echo x >secret && cat secret", within=within).stdout == "in workx\n"


def test_commands_run_where_what_is_protected_but_not_there_could_not_be_made_anyway(world: World) -> None:
    project = world.work / "project"
    for folder in (project, project / ".git", project / ".aws"):
        folder.mkdir()
        folder.chmod(0o777)
    (project / "file").touch()
    (project / "file").chmod(0o666)
    absent = (".git/hooks", ".aws/none", "file/none")
    areas = Areas(world.shown, [Context(path=project, write=True, protected=absent)])
    areas.look_for_keys()
    areas.begin(presents=True)

    tries = "; ".join(f"mkdir {project}/{path} && echo made" for path in absent)
    ended = world.sh(
        f"cd {project} && echo x >file; {tries}; cat file",
        within=areas.confinement(guarded=[project / ".git"]),
    )

    assert ended.stdout == "x\n", ended.stderr
    areas.close()


def test_a_link_that_a_command_left_is_not_followed_for_the_next_one(world: World) -> None:
    world.sh(f"ln -s {world.secret.parent} link")

    with pytest.raises(ValueError, match="is a link below a folder that commands write"):
        world.command(("true",), protecting(world, world.work / "link"))


def test_without_network_nothing_on_this_machine_is_reached(world: World) -> None:
    with listening(world.secret.parent) as (sockets, reached):
        told = json.dumps({**vars(sockets), "path": str(sockets.path)})
        world.py(_TRY, told)

        assert reached() == []


def test_with_network_ports_are_reached_but_not_the_sockets_of_other_programs(world: World) -> None:
    with listening(world.secret.parent) as (sockets, reached):
        told = json.dumps({**vars(sockets), "path": str(sockets.path)})
        world.py(_TRY, told, within=replace(world.confinement, network=True))

        assert reached() == ["tcp", "udp"]


def test_a_fork_bomb_stops_and_is_gone_afterwards(world: World) -> None:
    marker = f"bomb-{secrets.token_hex(4)}"
    limits = replace(world.confinement, limits=ProcessLimits(processes=40))
    ended = world.run(world.python, "-IS", "-c", _BOMB, marker, within=limits)

    if ended.returncode:
        assert "more processes than allowed" in ended.stderr
    else:
        assert ended.stdout == "Resource temporarily unavailable\n"
    assert alive(marker) == []


def test_what_runs_in_the_background_ends_with_the_command(world: World) -> None:
    marker = f"7{secrets.randbelow(10**8):08}"
    ended = world.sh(f"setsid sleep {marker} & sleep {marker} & (setsid sleep {marker} &) ; exit 3")

    assert ended.returncode == 3
    assert alive(marker) == []


@pytest.mark.parametrize("victim", ["launcher", "command"])
def test_nothing_survives_a_kill(world: World, victim: str) -> None:
    marker = f"8{secrets.randbelow(10**8):08}"
    command = world.command(
        ("sh", "-c", f"setsid sleep {marker} & sleep {marker} & echo ready; sleep {marker}")
    )
    launch = "import subprocess, sys; child = subprocess.Popen(sys.argv[1:]); print(child.pid); child.wait()"
    launcher = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-uIS", "-c", launch, *command],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=ENVIRON,
    )
    with launcher:
        assert launcher.stdout is not None
        try:
            pid = int(launcher.stdout.readline())
            assert launcher.stdout.readline() == b"ready\n"
            assert alive(marker, at_least=3)

            os.kill(launcher.pid if victim == "launcher" else pid, signal.SIGKILL)

            assert alive(marker) == []
        finally:
            launcher.kill()


@pytest.mark.parametrize("victim", ["launcher", "command"])
def test_nothing_survives_a_kill_at_any_moment_of_its_start(world: World, victim: str) -> None:
    marker = f"1{secrets.randbelow(10**8):08}"
    command = world.command(("setsid", "sleep", marker))
    own = str(os.getpid())
    launch = (
        "import os, subprocess, sys; own, *command = sys.argv[1:]; pid = str(os.getpid());"
        """command = [pid if part == own else part.replace(f'"server": {own}', f'"server": {pid}')"""
        """ for part in command]; subprocess.Popen(command).wait()"""
    )
    for moment in range(0, 60, 12):
        argv = [sys.executable, "-IS", "-c", launch, own, *command] if victim == "launcher" else command
        with subprocess.Popen(argv, start_new_session=victim == "command", env=ENVIRON) as started:  # noqa: S603 - same
            if victim == "launcher":
                alive(marker, at_least=2)
            time.sleep(moment / 1000)
            if victim == "command":
                os.killpg(started.pid, signal.SIGKILL)
            started.kill()

    assert alive(marker) == []


def test_it_ends_when_it_is_asked_to(world: World) -> None:
    marker = f"9{secrets.randbelow(10**8):08}"
    script = f"trap '' TERM; setsid sleep {marker} & echo ready; sleep {marker}"
    command = world.command(("sh", "-c", script))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRON) as child:  # noqa: S603 - what is tested
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.terminate()

        assert child.wait(5) != 0
    assert alive(marker) == []


def test_the_environment_is_what_was_given_and_the_server_s_can_not_be_read(world: World) -> None:
    script = f"tr '\\0' '\\n' </proc/self/environ; cat /proc/{os.getpid()}/environ /proc/{os.getpid()}/maps"
    ended = world.run("sh", "-c", script, environ={"NAMED": "yes"})
    names = {line.split("=")[0] for line in ended.stdout.splitlines()}

    assert names <= {"PATH", "LANG", "NAMED", "HOME", "TMPDIR", "PWD", "SHLVL", "OLDPWD", "_"}
    assert "NAMED=yes" in ended.stdout


def test_processes_outside_can_not_be_signalled(world: World) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as other:
        ended = world.sh(f"kill -9 {other.pid}; kill -9 {os.getppid()}; kill -9 -1; true")

        assert other.poll() is None
        assert ended.returncode in {0, 137}
        other.kill()


def test_it_has_no_power_and_dangerous_calls_are_refused(world: World) -> None:
    lines = dict(line.split(" ", 1) for line in world.py(_CALLS).splitlines())

    assert {lines[name] for name in ("ptrace", "keyctl", "bpf", "unshare", "mount", "vsock")} == {"EPERM"}
    assert {lines[name] for name in ("userfaultfd", "perf", "typing")} == {"EPERM"}
    assert {lines[name] for name in ("io_uring", "clone3")} == {"ENOSYS"}
    assert lines["NoNewPrivs:"] == "1"
    assert lines["Seccomp:"] == "2"
    assert int(lines["CapEff:"], 16) == 0
    if "root" in world.case or not world.is_landlock:
        assert int(lines["CapBnd:"], 16) == 0


def test_it_can_not_rename_the_machine_and_at_the_stronger_level_does_not_know_its_name(
    world: World,
) -> None:
    ended = world.py(
        "import socket\ntry:\n    socket.sethostname('x')\nexcept OSError:\n    print(socket.gethostname())"
    )

    assert ended == (socket.gethostname() if world.is_landlock else "sandbox")


def test_no_program_is_left_that_lends_out_its_owner_s_rights(world: World) -> None:
    ended = world.sh(
        "cp /bin/true mine && chmod 755 mine; chmod u+s mine; chmod 2755 mine; ./mine && echo runs"
    )

    assert ended.stdout == "runs\n"
    assert (world.work / "mine").stat().st_mode & 0o7777 == 0o755


def test_limits_hold(world: World) -> None:
    limits = ProcessLimits(memory_bytes=300 * 1024**2, file_bytes=4096, open_files=20)
    script = """
import resource
try:
    bytes(400 * 1024**2)
except MemoryError:
    print("memory")
try:
    files = [open("/dev/null") for _ in range(30)]
except OSError:
    print("files")
print(resource.getrlimit(resource.RLIMIT_CORE))
"""
    within = replace(world.confinement, limits=limits)

    assert world.py(script, within=within).split("\n") == ["memory", "files", "(0, 0)"]
    assert world.sh("head -c 9999 /dev/zero >large", within=within).returncode != 0
    assert (world.work / "large").stat().st_size == 4096


def test_processor_time_is_limited() -> None:
    with opened("bwrap-ordinary") as one, opened("landlock-ordinary") as other, ThreadPoolExecutor(2) as both:

        def end(world: World) -> int:
            limits = replace(world.confinement, limits=ProcessLimits(cpu_seconds=1))
            return world.sh("while :; do :; done", within=limits).returncode

        assert all(code >= 128 for code in both.map(end, (one, other)))


def test_a_named_home_is_kept(world: World) -> None:
    home = world.folder / "home"
    home.mkdir()
    home.chmod(0o777)

    ended = world.sh('echo x >"$HOME/kept" && echo "$HOME"', within=replace(world.confinement, home=home))

    assert ended.stdout == f"{home}\n"
    assert (home / "kept").exists()


def test_a_command_that_is_not_there_says_so(world: World) -> None:
    ended = world.run("no-such-program")

    assert ended.returncode != 0
    assert "no-such-program" in ended.stderr


@pytest.mark.parametrize("case", ["bwrap-root", "bwrap-root-counted"])
def test_root_can_not_change_the_devices_of_the_machine(case: str) -> None:
    before = Path("/dev/full").stat().st_mode
    with opened(case) as world:
        ended = world.sh(
            "chmod 600 /dev/full; chown 1 /dev/full; echo x >/dev/null && head -c 1 /dev/urandom >got"
        )

        assert ended.returncode == 0, ended.stderr
        assert Path("/dev/full").stat().st_mode == before


def test_a_program_that_brings_a_sandbox_can_open_it_inside() -> None:
    inner = "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev -- echo inside"
    for case in CASES[:2]:
        if case == "bwrap-root" and os.geteuid():
            continue
        with opened(case) as world:
            nested = replace(world.confinement, nested=True)

            assert world.sh(inner, within=nested).stdout == "inside\n"
            assert world.sh(inner).returncode != 0


@pytest.mark.parametrize("path", ["relative", "/", "/a/../b"])
def test_only_absolute_paths_below_the_root_can_be_shown(path: str) -> None:
    with opened("landlock-ordinary") as world, pytest.raises(ValueError, match="can't be shown"):
        world.command(("true",), replace(world.confinement, read=(Path(path),)))
