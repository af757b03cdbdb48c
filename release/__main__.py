"""`python -m release TAG`: build a release into a folder, or say everything that stands in its way.

`scripts/release` calls it with the project's own Python.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from release.changelog import changelog_problems, notes
from release.contents import sdist_problems, wheel_problems
from release.sbom import bill_of_materials
from release.versions import server_problems, source_version, version_problems

__all__ = ["main"]

_ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None, *, root: Path = _ROOT) -> int:
    """Check, build, check what was built. Returns 0, or 1 with the reasons on stderr."""
    args = _parser().parse_args(argv)
    tag: str | None = None if args.draft else args.tag
    if tag is None and not args.draft:
        return _refuse(["Name the tag, or say --draft to build what is here."])
    problems = source_problems(root, tag)
    if problems:
        return _refuse(problems)
    out: Path = args.out.resolve()
    if out.is_dir() and any(out.iterdir()):
        return _refuse([f"{out} is not empty. Take another --out, or clear it away."])
    return _build(root, out)


def source_problems(root: Path, tag: str | None) -> list[str]:
    """Everything in the source tree that a release can't have; without a tag, that a draft can't have."""
    problems = [*version_problems(root, tag=tag), *server_problems(root)]
    if tag is None:
        return problems
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    problems += changelog_problems(changes, source_version(root))
    if _git(root, "status", "--porcelain"):
        problems.append("The work tree differs from its commit: a release is built from what is committed.")
    if _git(root, "rev-parse", "HEAD") != _git(root, "rev-list", "--max-count=1", tag, "--"):
        problems.append(f"What is checked out is not {tag}.")
    return problems


def _build(root: Path, out: Path) -> int:
    version = source_version(root)
    moment = _moment(root)
    out.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(  # noqa: S603 - words of ours
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=root,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(moment)},
        check=False,
        capture_output=True,
        text=True,
    )
    if built.returncode:
        return _refuse([f"It can't be built: {built.stderr.strip()}"])
    wheel, sdist = _one(out, "*.whl"), _one(out, "*.tar.gz")
    problems = [*wheel_problems(wheel, root), *sdist_problems(sdist, root)]
    if problems:
        return _refuse(problems)
    archives = {path.name: path for path in (wheel, sdist)}
    bill = out / f"massgen-mcp-{version}.cdx.json"
    bill.write_text(bill_of_materials(root, at=moment, built=archives), encoding="utf-8")
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    (out / "NOTES.md").write_text(notes(changes, version) + "\n", encoding="utf-8")
    sums = [f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in (wheel, sdist, bill)]
    (out / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    sys.stdout.write("".join(sums))
    return 0


def _moment(root: Path) -> int:
    """When the commit was made, so that the same commit gives the same bytes."""
    given = os.environ.get("SOURCE_DATE_EPOCH") or _git(root, "log", "-1", "--format=%ct")
    return int(given or time.time())


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, check=False, capture_output=True, text=True)  # noqa: S603, S607 - words of ours; git of the PATH that a maintainer has
    return done.stdout.strip()


def _one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _refuse(problems: Sequence[str]) -> int:
    for problem in problems:
        sys.stderr.write(f"release: {problem}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/release",
        description="Build and check a tagged release: wheel, sdist, bill of materials, checksums.",
    )
    parser.add_argument("tag", nargs="?", help="the release's tag, such as v1.2.3")
    parser.add_argument("--draft", action="store_true", help="build what is here, without the gates of a tag")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="an empty folder (default: dist)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
