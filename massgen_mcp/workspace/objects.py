"""The contents of snapshots, each stored once under its SHA-256, never changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from massgen_mcp.secrets import Secrets
from massgen_mcp.workspace.beneath import PART, PathRefused, put
from massgen_mcp.workspace.trees import names_in

__all__ = ["Objects", "Stored"]

_CHUNK = 4 * 1024 * 1024
_OVERLAP = 4096
"""Of one piece that is looked at again with the next, so that no secret hides between them."""
_LOGIN = re.compile(rb"://[^/\s:@]+:[^/\s@]+@|extraheader\s*=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stored:
    """A content: its name in the store, and its bytes."""

    name: str
    size: int


class Objects:
    """A folder of contents. A name is the hash; with `x` behind it where the file may be run.

    Args:
        folder: an open folder; it stays the caller's.
        secrets: values that are never stored.
    """

    def __init__(self, folder: int, secrets: Secrets | None = None) -> None:
        self._folder = folder
        self._secrets = secrets

    def add(self, descriptor: int, *, executable: bool = False, login: bool = False, limit: int) -> Stored:
        """Store an open file, as far as it is not there.

        Args:
            descriptor: of the file, at its beginning.
            executable: whether it may be run.
            login: refuse it if addresses with a password stand in it, as in Git's settings.
            limit: bytes it may have.

        Raises:
            PathRefused: it is too large, or holds a secret; nothing is stored.
            OSError: it can't be read, or not be written.
        """
        first = os.read(descriptor, _CHUNK)
        small = len(first) < _CHUNK
        if small:
            self._check(first, login=login, limit=limit)
            return self._keep(first, executable=executable)
        return self._stream(first, descriptor, executable=executable, limit=limit)

    def add_bytes(self, data: bytes) -> Stored:
        """Store a content of our own."""
        return self._keep(data, executable=False)

    def _keep(self, data: bytes, *, executable: bool) -> Stored:
        name = hashlib.sha256(data).hexdigest() + "x" * executable
        if not self.has(name, len(data)):
            put(self._folder, name, data, mode=0o555 if executable else 0o444, durable=False)
        return Stored(name, len(data))

    def has(self, name: str, size: int | None = None) -> bool:
        """Whether a content is there, and whole: a power cut can leave less."""
        try:
            found = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return size is None or found.st_size == size

    def _stream(self, first: bytes, descriptor: int, *, executable: bool, limit: int) -> Stored:
        digest = hashlib.sha256()
        size = 0

        def pieces() -> Generator[bytes]:
            nonlocal size
            before, piece = b"", first
            while piece:
                size += len(piece)
                self._check(before + piece, login=False, limit=limit - size + len(before) + len(piece))
                digest.update(piece)
                yield piece
                before, piece = piece[-_OVERLAP:], os.read(descriptor, _CHUNK)

        part = f"{PART}large-{os.getpid():x}-{os.urandom(6).hex()}"
        try:
            put(self._folder, part, pieces(), mode=0o555 if executable else 0o444, durable=False)
            name = digest.hexdigest() + "x" * executable
            if not self.has(name, size):
                os.rename(part, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=self._folder)
        return Stored(name, size)

    def _check(self, data: bytes, *, login: bool, limit: int) -> None:
        if len(data) > limit:
            raise PathRefused("larger than what is left of the limit", "size")
        if login and _LOGIN.search(data):
            raise PathRefused("holds a login", "read_only")
        if self._secrets is not None and (name := self._secrets.named_in(_text(data))):
            raise PathRefused(f"holds the value of {name}", "read_only")

    def read(self, name: str) -> bytes:
        """A content, checked against its name.

        Raises:
            PathRefused: it is gone or damaged.
        """
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError as error:
            raise PathRefused(
                f"The snapshot is damaged: content {name[:12]} is missing.", "missing"
            ) from error
        with os.fdopen(descriptor, "rb") as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != name.removesuffix("x"):
            raise PathRefused(
                f"The snapshot is damaged: content {name[:12]} is not what was stored.", "system"
            )
        return data

    def link(self, stored: Stored, folder: int, target: str) -> None:
        """Give a content a name in an open folder, without copying where the disk can.

        Raises:
            PathRefused: it is gone or damaged.
        """
        name = stored.name
        if not self.has(name, stored.size):
            raise PathRefused(f"The snapshot is damaged: content {name[:12]} is missing or cut.", "system")
        try:
            os.link(name, target, src_dir_fd=self._folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError:  # too many names already, or a disk without hard links
            put(folder, target, self.read(name), mode=0o555 if name.endswith("x") else 0o444, durable=False)

    def names(self) -> Iterable[str]:
        """All contents, and what a process that died has left."""
        return names_in(self._folder)

    def drop(self, name: str) -> int:
        """Remove one. Returns the bytes that were its own."""
        size = os.stat(name, dir_fd=self._folder, follow_symlinks=False).st_size
        os.unlink(name, dir_fd=self._folder)
        return size


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        # It keeps every byte, and values looked for are ASCII in all but odd cases.
        return data.decode("latin-1")
