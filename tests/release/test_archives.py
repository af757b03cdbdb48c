"""What is built holds what it has to and nothing else, and runs where only it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from massgen_mcp import __version__
from release import sdist_problems, wheel_problems
from tests.release.conftest import ROOT, Built


def test_the_archives_are_as_they_should_be(built: Built) -> None:
    assert wheel_problems(built.wheel, ROOT) == []
    assert sdist_problems(built.sdist, ROOT) == []


def test_the_wheel_holds_what_the_program_reads_at_run_time(built: Built) -> None:
    with ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
    assert {
        "massgen_mcp/py.typed",
        "massgen_mcp/server/definitions.json",
        "massgen_mcp/workspace/filters/x86_64-bwrap.bpf",
        "massgen_mcp/_configs/fast.yaml",
        f"massgen_mcp-{__version__}.dist-info/licenses/LICENSE",
        f"massgen_mcp-{__version__}.dist-info/licenses/NOTICE",
    } <= names


def test_a_wheel_made_from_the_sdist_is_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    subprocess.run(  # noqa: S603 - words of ours
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=tmp_path / built.sdist.name.removesuffix(".tar.gz"),
        check=True,
        capture_output=True,
    )
    assert _contents(tmp_path / built.wheel.name) == _contents(built.wheel)


def _contents(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("massgen_mcp/tests/test_x.py", b"", "holds the test massgen_mcp/tests/test_x.py."),
        ("tests/conftest.py", b"", "has tests/conftest.py beside the package."),
        ("massgen_mcp/.env", b"", "massgen_mcp/.env must not be shipped."),
        ("massgen_mcp/../x.py", b"", "massgen_mcp/../x.py leads out of the archive."),
        ("massgen_mcp/x.txt", str(ROOT).encode(), "massgen_mcp/x.txt names the folder it was built in."),
        ("massgen_mcp/x.bin", os.urandom(3 * 1024 * 1024), "2,097,152 are expected at most."),
    ],
    ids=["a test", "tests", "keys", "a way out", "an absolute path", "too large"],
)
def test_what_does_not_belong_into_a_wheel_is_found(
    built: Built, tmp_path: Path, name: str, data: bytes, problem: str
) -> None:
    wheel = tmp_path / built.wheel.name
    wheel.write_bytes(built.wheel.read_bytes())
    with ZipFile(wheel, "a") as archive:
        archive.writestr(name, data)
    assert any(problem in found for found in wheel_problems(wheel, ROOT))


def test_what_a_wheel_lacks_is_named(built: Built, tmp_path: Path) -> None:
    wheel = tmp_path / built.wheel.name
    left_out = ("/NOTICE", "/definitions.json", "_configs/fast.yaml")
    with ZipFile(built.wheel) as whole, ZipFile(wheel, "w") as archive:
        for name in whole.namelist():
            if not name.endswith(left_out):
                archive.writestr(name, whole.read(name))
    assert {
        f"{wheel.name} lacks massgen_mcp/_configs/fast.yaml.",
        f"{wheel.name} lacks massgen_mcp/server/definitions.json.",
        f"{wheel.name} lacks NOTICE.",
    } <= set(wheel_problems(wheel, ROOT))


def test_a_link_and_a_stranger_in_an_sdist_are_found(built: Built, tmp_path: Path) -> None:
    sdist = tmp_path / built.sdist.name
    with tarfile.open(sdist, "w:gz") as archive:
        link = tarfile.TarInfo("massgen_mcp/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("elsewhere"))
    problems = sdist_problems(sdist, ROOT)
    assert f"{sdist.name}: massgen_mcp/link is no ordinary file." in problems
    assert any(problem.startswith(f"{sdist.name}: elsewhere lies outside of") for problem in problems)
    assert f"{sdist.name} lacks pyproject.toml." in problems


# Installed.


@pytest.fixture(scope="module")
def program(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in an environment of its own, which has nothing but it."""
    place = tmp_path_factory.mktemp("fresh")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run(  # noqa: S603 - words of ours
        [*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(built.wheel)], check=True
    )
    return place / "bin" / "massgen-mcp"


def _run(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # What it depends on comes from the environment of the tests; a path file there is not followed, so the
    # source tree is out of reach.
    place = program.parent.parent
    return subprocess.run(  # noqa: S603 - words of ours
        [program, *words],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "PYTHONPATH": sysconfig.get_path("purelib"),
            "MASSGEN_MCP_STATE_DIR": str(place / "state"),
        },
        cwd=place,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_installed_program_says_its_version(program: Path) -> None:
    done = _run(program, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"massgen-mcp {__version__}\n", "")


def test_the_installed_program_has_its_teams_with_it(program: Path) -> None:
    look = "from massgen_mcp.config.search import shipped_configs; print(shipped_configs())"
    done = _run(program.with_name("python"), "-c", look)
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(program.parent.parent), done.stderr
    assert (folder / "fast.yaml").is_file()
