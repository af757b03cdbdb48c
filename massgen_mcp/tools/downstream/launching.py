"""How a server's process is started: command line, environment, and what it may touch."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from massgen_mcp.tools.downstream.entry import Entry, Outside
from massgen_mcp.tools.downstream.failures import ServerOff
from massgen_mcp.tools.downstream.hiding import team_secrets
from massgen_mcp.workspace.bond import bonded
from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.depth import deeper

__all__ = ["Plan", "plan_launch"]

_PASSED_ON = (
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LC_ALL",
    "NODE_EXTRA_CA_CERTS",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "SYSTEMROOT",
    "TZ",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""What every program with a network needs to know of this machine; none holds a key of a provider."""
_CERTIFICATES = ("NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE")
_PATH = "/usr/local/bin:/usr/bin:/bin"
_INTERPRETERS = ("node", "python3", "deno", "bun")
_SYSTEM = tuple(Path(name) for name in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/dev", "/proc"))
_MANY = tuple(Path("/", name) for name in ("opt", "var", "tmp", "srv", "mnt", "media", "run"))
_FIRST_LINE = 512
_SCRIPTS = frozenset({".cjs", ".js", ".mjs", ".py", ".ts"})
_PACKAGE = ("package.json", "node_modules", "pyproject.toml")
_PARTS = ("bin", "lib", "lib64")
_LIMITS = ProcessLimits(memory_bytes=None, file_bytes=4 * 1024**3, processes=4096, open_files=4096)
"""Node reserves address space by the 100 GiB, so memory is not bounded by it."""
_CACHES = {
    "BUN_INSTALL_CACHE_DIR": "bun",
    "DENO_DIR": "deno",
    "PIPX_HOME": "pipx",
    "PIP_CACHE_DIR": "pip",
    "UV_CACHE_DIR": "uv",
    "UV_PYTHON_INSTALL_DIR": "python",
    "UV_TOOL_DIR": "uv-tools",
    "YARN_CACHE_FOLDER": "yarn",
    "npm_config_cache": "npm",
    "npm_config_store_dir": "pnpm",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start, and what of the machine it will see."""

    command: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: Path
    confinement: Confinement | None
    """None where the operator said `sandbox: off`."""


def plan_launch(entry: Entry, outside: Outside) -> Plan:
    """The plan for an entry with a command. Makes the folders it needs.

    Raises:
        ServerOff: there is no such program, or no sandbox to run it in.
    """
    own = outside.folder / entry.name
    home, scratch, work = own / "home", own / "tmp", own / "work"
    for folder in (own, home, scratch, work):
        folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    environ = _environment(entry, outside, home=home, scratch=scratch)
    program = shutil.which(entry.command[0], path=environ["PATH"])
    if program is None:
        raise ServerOff(
            f"there is no program {entry.command[0]!r} on the PATH; install it, or give its whole path"
        )
    command = (program, *entry.command[1:])
    cwd = entry.cwd or work
    if entry.sandbox == "off":
        return Plan(command=bonded(command), environ=environ, cwd=cwd, confinement=None)
    if outside.sandbox is None:
        raise ServerOff(
            f"no sandbox works here ({outside.sandbox_problem}); set `sandbox: off` for this entry to run it "
            "with all of your rights"
        )
    named = tuple(_named_paths(entry, cwd, outside.environ))
    workspace = outside.workspace
    theirs = [path for path in named if workspace is None or not path.is_relative_to(workspace)]
    write = [own, *([workspace] if workspace is not None and len(theirs) < len(named) else [])]
    if entry.installs:
        write.append(outside.cache.part(entry))
    home_folder = Path(outside.environ.get("HOME") or "/root")
    read = [*_installation(Path(program), environ["PATH"], home_folder), *named]
    confinement = Confinement(
        cwd=cwd,
        write=tuple(write),
        read=tuple(path for path in dict.fromkeys(read) if not _covered(path, (*write, *_SYSTEM))),
        hide=team_secrets(theirs),
        home=home,
        network=True,
        limits=_LIMITS,
    )
    wrapped = outside.sandbox.command(command, confinement)
    return Plan(command=tuple(wrapped), environ=environ, cwd=own, confinement=confinement)


def _environment(entry: Entry, outside: Outside, *, home: Path, scratch: Path) -> dict[str, str]:
    """Made from nothing: what any program needs, and what the entry names."""
    environ = {name: outside.environ[name] for name in _PASSED_ON if name in outside.environ}
    environ.setdefault("LANG", "C.UTF-8")
    environ |= {"PATH": outside.environ.get("PATH") or _PATH, "HOME": str(home), "TMPDIR": str(scratch)}
    if entry.installs:
        folder = outside.cache.part(entry)
        for name in ("", *_CACHES.values()):
            (folder / name).mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        environ |= {name: str(folder / below) for name, below in _CACHES.items()}
        environ |= {"npm_config_yes": "true", "npm_config_update_notifier": "false"}
    return environ | dict(entry.environ) | deeper(outside.environ)


def _named_paths(entry: Entry, cwd: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """What the entry itself points at: the operator's own words make it visible, not writable."""
    if entry.cwd is not None:
        yield entry.cwd
    words = [*entry.command[1:], *(value for _, value in entry.environ)]
    words += [environ[name] for name in _CERTIFICATES if name in environ]
    for word in words:
        text = word.partition("=")[2] if word.startswith("-") and "=" in word else word
        path = Path(text) if text.startswith("/") else cwd / text if text.startswith("./") else None
        if path is not None and path != Path("/") and "\0" not in text and path.exists():
            yield path
            yield path.resolve()
            if path.resolve().suffix in _SCRIPTS and path.is_file():
                yield from _project(path.resolve(), Path(environ.get("HOME") or "/root"))


def _project(script: Path, home: Path) -> Iterator[Path]:
    """What a script is part of: its folder, and the package around it with what that depends on."""
    around = [folder for folder in script.parents if not _precious(folder, home)]
    yield from around[:1]
    if installed := [folder for folder in around if folder.name == "node_modules"]:
        yield installed[-1]
        return
    for folder in around:
        found = {name for name in _PACKAGE if (folder / name).exists()}
        if found:
            yield folder
        if found - {"package.json"}:
            return


def _installation(program: Path, search: str, home: Path) -> Iterator[Path]:
    """The folders a program lives in, and those of interpreters it may be run by."""
    found = [program, *(Path(path) for name in _INTERPRETERS if (path := shutil.which(name, path=search)))]
    found += [runner for one in tuple(found) if (runner := _interpreter(one)) is not None]
    for path in dict.fromkeys(form for one in found for form in (one, one.resolve())):
        folder = path.parent
        root = folder.parent
        if folder.name in {".bin", "shims"} or (folder.name == "bin" and not _precious(root, home)):
            yield root
            continue
        yield path if _precious(folder, home) else folder
        if folder.name == "bin" and not home.is_relative_to(root):
            yield from (root / part for part in _PARTS if (root / part).is_dir())


def _interpreter(program: Path) -> Path | None:
    """What runs a script, by its first line."""
    try:
        with program.open("rb") as file:
            first = file.readline(_FIRST_LINE)
    except OSError:
        return None
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    return Path(words[0]) if words and words[0].startswith("/") else None


def _precious(folder: Path, home: Path) -> bool:
    """Whether a folder holds more than programs: a home or what is above it, or the root of many things."""
    return home.is_relative_to(folder) or folder in {home / ".local", *_MANY}


def _covered(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
