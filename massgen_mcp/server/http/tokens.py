"""The tokens of a shared server: a file of names, hashes and limits, and who a token presented belongs to.

A token has 256 random bits. So its plain SHA-256 gives nothing away, and salt or a slow hash, which protect
words that people choose, would protect nothing here.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from massgen_mcp.errors import ConfigError, Problem, RequestRefused
from massgen_mcp.runs import User
from massgen_mcp.server.caller import Caller

__all__ = [
    "FILE",
    "Known",
    "Token",
    "Tokens",
    "add_token",
    "new_token",
    "read_tokens",
    "revoke_token",
]

_logger = logging.getLogger(__name__)

FILE: Final = "tokens.json"
"""In the state folder, where no other is named."""
_MOST_BYTES = 1024 * 1024
_OTHERS = 0o077
_PREFIX = "mgm_"
"""So that scanners for leaked secrets, and people, know one when they see it."""

_Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Token(BaseModel):
    """What is kept of a token: never the token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name
    """Whose it is; their runs carry it."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: str
    teams: tuple[str, ...] | None = Field(default=None, min_length=1)
    usd_per_day: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    runs: int | None = Field(default=None, ge=1)

    @property
    def user(self) -> User:
        """Who has it, and what they may do."""
        return User(name=self.name, teams=self.teams, usd_per_day=self.usd_per_day, runs=self.runs)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=1, le=1)
    tokens: tuple[Token, ...]


def new_token() -> str:
    """A token that can't be guessed."""
    return _PREFIX + secrets.token_urlsafe(32)


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens of a file.

    Raises:
        ConfigError: it can't be read, is open to others, or holds something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if trouble := _trouble(found):
                raise _unusable(path, *trouble)
            text = file.read(_MOST_BYTES)
    except FileNotFoundError:
        hint = "`massgen-mcp token add NAME` makes it, with a token for NAME."
        raise _unusable(path, "there is no such file.", hint) from None
    except OSError as error:
        raise _unusable(path, f"it can't be read: {error.strerror}.", "") from error
    try:
        tokens = _File.model_validate_json(text).tokens
    except ValidationError as error:
        # Where, and never what: hashes are of no use to others, but need not be in a log.
        where = [".".join(str(part) for part in one["loc"]) or "the whole" for one in error.errors()]
        raise _unusable(path, f"not a file of tokens ({', '.join(where[:5])}).", "") from None
    names = [token.name for token in tokens]
    if twice := {name for name in names if names.count(name) > 1}:
        raise _unusable(path, f"named twice: {', '.join(sorted(twice))}.", "")
    return tokens


def _trouble(found: os.stat_result) -> tuple[str, str] | None:
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file.", ""
    if found.st_size >= _MOST_BYTES:
        return f"it has {found.st_size:,} bytes; {_MOST_BYTES:,} are read.", ""
    if os.name != "nt" and found.st_mode & _OTHERS:
        return "others may read or write it.", "Close it: chmod 600."
    if os.name != "nt" and found.st_uid not in (os.geteuid(), 0):
        return "it belongs to another user.", ""
    return None


def _unusable(path: Path, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(path="tokens", message=message, hint=hint)], name=str(path))


def add_token(
    path: Path,
    name: str,
    *,
    teams: Sequence[str] = (),
    usd_per_day: float | None = None,
    runs: int | None = None,
) -> str:
    """Add a token to a file, which is made if it is not there, and return it. It can't be had again.

    Raises:
        ConfigError: the file can't be used.
        RequestRefused: the name is taken, or no name.
    """
    token = new_token()
    try:
        row = Token(
            name=name,
            sha256=_digest(token),
            created=datetime.now(UTC).strftime("%Y-%m-%d"),
            teams=tuple(teams) or None,
            usd_per_day=usd_per_day,
            runs=runs,
        )
    except ValidationError:
        raise RequestRefused(
            f"{name!r} can't be a token's name. Use a-z, 0-9, `.`, `_` and `-`, first a letter or digit."
        ) from None

    def change(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        if any(known.name == name for known in tokens):
            raise RequestRefused(
                f"There is a token {name!r}. To replace it, `massgen-mcp token revoke {name}` comes first."
            )
        return (*tokens, row)

    _rewrite(path, change)
    return token


def revoke_token(path: Path, name: str) -> None:
    """Take a token out of a file. Servers that use the file refuse it from their next request on.

    Raises:
        ConfigError: the file can't be used.
        RequestRefused: there is no such token.
    """

    def change(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        left = tuple(known for known in tokens if known.name != name)
        if len(left) == len(tokens):
            names = ", ".join(known.name for known in tokens) or "none"
            raise RequestRefused(f"There is no token {name!r}. There are: {names}.")
        return left

    _rewrite(path, change)


def _rewrite(path: Path, change: Callable[[tuple[Token, ...]], tuple[Token, ...]]) -> None:
    """Replace the file as a whole. The new file is the lock, too: of two at once none loses its work."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise _unusable(
            path, "another `massgen-mcp token` is changing it.", f"If none is, remove {new}."
        ) from None
    except OSError as error:
        raise _unusable(path, f"it can't be written: {error.strerror}.", "") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            tokens = change(read_tokens(path) if path.exists() else ())
            rows = [token.model_dump(exclude_none=True) for token in tokens]
            json.dump({"version": 1, "tokens": rows}, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Known:
    """A token that opens the server, by its hash."""

    __slots__ = ("caller", "digest")

    def __init__(self, digest: str, caller: Caller) -> None:
        self.digest = digest
        self.caller = caller


class Tokens:
    """Which tokens are good now: the file is read again when it changes. While it is unusable, none in it."""

    def __init__(self, *, operator: str | None, path: Path | None) -> None:
        self._operator = () if operator is None else (Known(_digest(operator), Caller(local=False)),)
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._named: tuple[Known, ...] = ()

    def find(self, token: str) -> Known | None:
        """Whose token this is. Takes as long for a wrong one as for a right one."""
        digest, found = _digest(token), None
        for known in self._good():
            if compare_digest(known.digest, digest):
                found = known
        return found

    def user(self, name: str) -> User | None:
        """Who has the token of that name, and what they may do now; None once it is no good any more."""
        users = [known.caller.user for known in self._good()]
        return next((user for user in users if user is not None and user.name == name), None)

    def _good(self) -> Iterable[Known]:
        if self._path is not None and (seen := _signature(self._path)) != self._seen:
            self._seen = seen
            try:
                tokens = read_tokens(self._path)
            except ConfigError as error:
                _logger.error("no named token is good until this is mended: %s", error)  # noqa: TRY400 - the words are all there is to say
                tokens = ()
            self._named = tuple(Known(token.sha256, Caller(token.user, local=False)) for token in tokens)
        return (*self._operator, *self._named)


def _signature(path: Path) -> tuple[int, ...]:
    """Differs when the file does."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
