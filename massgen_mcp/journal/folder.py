"""The state folder: made private, checked for what SQLite's log can't live on, and its failures explained."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import sys
from pathlib import Path

from massgen_mcp.errors import JournalError

__all__ = ["FILE", "explain", "is_full", "network_file_system", "outdated", "prepare", "sync"]

FILE = "journal.db"

_COMPANIONS = (FILE, f"{FILE}-wal", f"{FILE}-shm")
_OTHERS = 0o077
_REMEDY = (
    "Set MASSGEN_MCP_STATE_DIR to a folder on a local disk, "
    "or `journal: off` in the team file (such a run can't be resumed)."
)
_FULL_REMEDY = (
    "Make room on that disk, for example with `massgen-mcp runs prune --days 7`, which deletes old runs and "
    "their files; or set MASSGEN_MCP_STATE_DIR to a folder on another local disk."
)

_NETWORK = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.beegfs",
        "fuse.ceph",
        "fuse.davfs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.smbnetfs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
    }
)

_SYSTEM_CAUSES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.ENOTDIR: "a part of that path is a file",
    errno.EEXIST: "a part of that path is a file",
}

_SQLITE_CAUSES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_PERM: "this user may not write there",
    sqlite3.SQLITE_CANTOPEN: "its files can't be opened",
    sqlite3.SQLITE_BUSY: "another process has kept it locked for too long",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_NOTADB: "journal.db is damaged or no journal; move it away to start a new one",
    sqlite3.SQLITE_CORRUPT: "journal.db is damaged; move it away to start a new one",
}

_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
"""The second: no room for the index of the log, which every process that opens the file shares."""


def is_full(error: BaseException | None) -> bool:
    """Whether it is for want of room on the disk."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) in _FULL
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def outdated(folder: Path) -> JournalError:
    """Why a process can't go on in a journal whose tables are no longer those that it knows."""
    return JournalError(
        f"A newer massgen-mcp has upgraded the journal in {folder} while this one was running. Restart this "
        "one with the newer version; `massgen-mcp runs resume` takes interrupted runs up."
    )


def explain(folder: Path, error: sqlite3.Error | OSError) -> JournalError:
    """What went wrong in this folder, for the person who has to mend it."""
    if isinstance(error, OSError):
        cause = _SYSTEM_CAUSES.get(error.errno or 0, error.strerror or str(error))
    elif is_full(error):
        cause = _SQLITE_CAUSES[sqlite3.SQLITE_FULL]
    else:
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
        cause = _SQLITE_CAUSES.get(primary, str(error))
        if primary == sqlite3.SQLITE_CANTOPEN and _is_read_only(folder):
            cause = _SYSTEM_CAUSES[errno.EROFS]  # which SQLite does not tell from a missing file
    remedy = _FULL_REMEDY if is_full(error) else _REMEDY
    return JournalError(f"The journal in {folder} can't be used: {cause} ({error}). {remedy}")


def _is_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except (AttributeError, OSError):  # not on Windows; or it is gone
        return False


def prepare(folder: Path, *, mounts: Path) -> Path:
    """Make the folder (0700) and an empty database file (0600) where they are missing.

    A folder that is already there is closed to others if it is empty or ours. Returns the file's path.

    Raises:
        JournalError: it can't be made, or lies on a network file system.
    """
    folder = Path(os.path.realpath(folder))
    _refuse_network(folder, mounts)
    path = folder / FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(folder)
        _create(path)
    except OSError as error:
        raise explain(folder, error) from error
    return path


def _make_private(folder: Path) -> None:
    if os.name == "nt":  # the user's own folders are private there, and modes mean nothing
        return
    found = folder.stat()
    ours = found.st_uid == os.geteuid() and ((folder / FILE).exists() or not any(folder.iterdir()))
    if found.st_mode & _OTHERS and ours:
        folder.chmod(0o700)
    for name in _COMPANIONS:
        file = folder / name
        if file.exists() and file.stat().st_mode & _OTHERS:
            file.chmod(0o600)


def _create(path: Path) -> None:
    """An empty file with mode 0600 whatever the umask; SQLite gives its companions the same mode."""
    # Only ever opened when it is new: closing a file drops the locks that SQLite holds on it in this process.
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        if not path.is_file():
            raise
        return
    os.close(descriptor)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """The new name itself has to survive power loss."""
    if os.name == "nt":  # folders can't be opened there, and need not be
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Have what was written to an open file survive power loss.

    Raises:
        OSError: the disk fails.
    """
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - there is none on Windows

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # to the disk, not to the disk's cache
        except OSError:  # some file systems can't; whether the disk fails, the other call says
            os.fsync(descriptor)
    elif sys.platform == "linux":
        os.fdatasync(descriptor)  # the log has its size already, and nobody asks when it was written
    else:
        os.fsync(descriptor)


def network_file_system(folder: Path, mounts: Path) -> str:
    """The kind of network file system that a folder lies on; empty if it lies on a disk of this machine."""
    if str(folder).startswith("\\\\"):
        return "a Windows share"
    kind = _file_system(folder, mounts)
    return kind if kind in _NETWORK else ""


def _refuse_network(folder: Path, mounts: Path) -> None:
    if kind := network_file_system(folder, mounts):
        raise JournalError(
            f"The journal can't be kept in {folder}: it is on a network file system ({kind}), "
            f"where SQLite's log may lose data. {_REMEDY}"
        )


def _file_system(folder: Path, mounts: Path) -> str:
    """The type of file system that a folder lies on; empty where the system has no such list."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _unescape(before.split()[4])
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)
