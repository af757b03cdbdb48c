"""What a caller gives with its question: files and images, read whole before anything is asked.

Everything refused names the file and what to do, and nothing was spent by then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import anyio.to_thread

from massgen_mcp.errors import RequestRefused
from massgen_mcp.messages import Image
from massgen_mcp.runs.ask import Wanted
from massgen_mcp.runs.inline import inline_bytes, sniff
from massgen_mcp.runs.project_files import Found, ProjectFiles
from massgen_mcp.runs.roots import Roots

__all__ = ["MAX_FILES", "MAX_IMAGES", "Given", "Material", "NamedImage", "gather"]

MAX_FILE = 1024 * 1024
MAX_ALL = 4 * 1024 * 1024
MAX_FILES = 200
MAX_IMAGE = 5 * 1024 * 1024
MAX_IMAGES = 10
_GIT = "git:"
_KIB = 1024
_SHOWN = 100
_SEES = "PNG, JPEG, WebP, GIF and PDF"

Git: TypeAlias = Callable[[Path, str], Awaitable[str]]
"""The diff of a folder against a revision. Raises `RequestRefused`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One file, or a part of one."""

    name: str
    """As the agents will call it: its path from the root, with the lines where only some are given."""
    data: bytes
    path: Path | None = None
    """Where it lies; None for what came with the request."""
    first: int = 1
    """The number of its first line."""

    @property
    def text(self) -> str | None:
        """Its text; None where it is none."""
        if b"\0" in self.data:
            return None
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedImage:
    """A picture or PDF to be shown."""

    name: str
    image: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """All that was given. Nothing of it is ever more than data to an agent."""

    files: tuple[Given, ...] = ()
    images: tuple[NamedImage, ...] = ()
    contexts: tuple[Path, ...] = ()
    """Files and folders as they were named, for agents that read by themselves."""
    notes: tuple[str, ...] = ()
    """What was left out, for the result."""

    @property
    def digest(self) -> str:
        """SHA-256 of names and contents; empty for nothing. Equal material has equal digests."""
        if not self.files and not self.images:
            return ""
        whole = hashlib.sha256()
        for name, data in (
            *((file.name, file.data) for file in self.files),
            *((image.name, image.image.data) for image in self.images),
        ):
            whole.update(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest())
            whole.update(hashlib.sha256(data).digest())
        return whole.hexdigest()

    def listing(self) -> str:
        """One line for each file: its name, its size, and what it is where that is no text."""
        return "\n".join(f"- {file.name} ({_size(file)})" for file in self.files)


def _size(file: Given) -> str:
    text = file.text
    kind = "no text" if text is None else f"{len(text.splitlines())} lines"
    return f"{kind}, {_bytes(len(file.data))}"


def _bytes(count: int) -> str:
    return f"{count / _KIB:.1f} KiB" if count < MAX_FILE else f"{count / _KIB / _KIB:.1f} MiB"


async def gather(
    files: Sequence[Wanted] = (),
    images: Sequence[Wanted] = (),
    *,
    roots: Roots,
    git: Git | None = None,
    redact: Callable[[str], str] = lambda text: text,
) -> Material:
    """Read everything named.

    Args:
        files: paths, globs, `path:10-80`, folders, `git:REVISION`, `{name, text}`, `{name, base64, mime}`.
        images: paths, or `{name, base64, mime}`.
        roots: folders that paths lie in.
        git: makes diffs; None where that can't be done here.
        redact: takes the process's own secrets out of texts.

    Raises:
        RequestRefused: something can't be served.
    """
    _count("files", len(files), MAX_FILES)
    _count("images", len(images), MAX_IMAGES)
    project = ProjectFiles(roots, max_file=MAX_FILE, max_files=MAX_FILES)
    found: list[Given] = []
    contexts: list[Path] = []
    for item in files:
        if isinstance(item, str) and item.startswith(_GIT):
            found.append(await _diff(item, roots, git))
        elif isinstance(item, str):
            read = await _aside(project.find, item)
            found += [_given(one) for one in read]
            contexts += [path for one in read for path in [one.named] if path not in contexts]
        else:
            found.append(_inline(item))
        _check_all(found)
    kept = tuple(_redacted(file, redact) for file in _once(found))
    pictures = [await _picture(item, project) for item in images]
    return Material(files=kept, images=tuple(pictures), contexts=tuple(contexts), notes=tuple(project.notes))


def _count(what: str, count: int, most: int) -> None:
    if count > most:
        raise RequestRefused(f"`{what}` has {count} items; {most} fit. Name fewer. Nothing was spent.")


async def _aside(read: Callable[[str], Sequence[Found]], item: str) -> Sequence[Found]:
    return await anyio.to_thread.run_sync(read, item, abandon_on_cancel=True)


def _given(found: Found) -> Given:
    return Given(name=found.name, data=found.data, path=found.path, first=found.first)


async def _diff(item: str, roots: Roots, git: Git | None) -> Given:
    if roots.first is None:
        raise RequestRefused(f"{item}: no folder is open here, since {roots.why}. Nothing was spent.")
    if git is None:
        raise RequestRefused(
            f"{item}: git can't be run here. Give the diff as {{name, text}}. Nothing was spent."
        )
    text = await git(roots.first, item.removeprefix(_GIT) or "HEAD")
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_FILE:
        raise RequestRefused(
            f"{item}: the diff has {_bytes(len(data))}; 1 MiB fits. Name the files that matter. "
            "Nothing was spent."
        )
    return Given(name=item, data=data)


def _inline(item: Mapping[str, Any]) -> Given:
    name, data, _ = inline_bytes(item, "files", limit=MAX_FILE)
    return Given(name=name, data=data)


def _check_all(found: Sequence[Given]) -> None:
    if len(found) > MAX_FILES:
        raise RequestRefused(
            f"`files` names {len(found)} files; {MAX_FILES} fit. Narrow the folders or globs. "
            "Nothing was spent."
        )
    whole = sum(len(file.data) for file in found)
    if whole > MAX_ALL:
        largest = max(found, key=lambda file: len(file.data))
        raise RequestRefused(
            f"`files` has more than {_bytes(MAX_ALL)} in all; the largest is {largest.name[:_SHOWN]} "
            f"({_bytes(len(largest.data))}). Name fewer, or lines as in `path:10-80`. Nothing was spent."
        )


def _once(found: Sequence[Given]) -> list[Given]:
    """Each file once, although a folder and a glob may both name it. Names stay apart."""
    kept: dict[str, Given] = {}
    for file in found:
        name, number = file.name, 2
        while name in kept and kept[name].data != file.data:
            name, number = f"{file.name} ({number})", number + 1
        kept.setdefault(name, replace(file, name=name))
    return list(kept.values())


def _redacted(file: Given, redact: Callable[[str], str]) -> Given:
    text = file.text
    clean = redact(text) if text is not None else text
    return file if clean is None or clean == text else replace(file, data=clean.encode("utf-8", "replace"))


async def _picture(item: Wanted, project: ProjectFiles) -> NamedImage:
    if isinstance(item, str):
        if "://" in item[:20] or item.startswith("data:"):
            raise RequestRefused(
                f"{item[:_SHOWN]}: addresses are not fetched. Give a path, or {{name, base64, mime}}. "
                "Nothing was spent."
            )
        found = await anyio.to_thread.run_sync(project.one, item, MAX_IMAGE, abandon_on_cancel=True)
        name, data = found.name, found.data
    else:
        name, data, _ = inline_bytes(item, "images", limit=MAX_IMAGE)
    mime = sniff(data)
    if mime is None:
        raise RequestRefused(
            f"{name[:_SHOWN]} is no image of a kind that is taken: {_SEES}. Convert it. Nothing was spent."
        )
    return NamedImage(name=name, image=Image(mime=mime, data=data))
