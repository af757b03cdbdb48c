"""Serving over HTTP from the first socket to the last run."""

from __future__ import annotations

import logging
import signal
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from mcp.server.lowlevel import Server

from massgen_mcp.errors import ConfigError, MassgenError, Problem
from massgen_mcp.server.app import build_server
from massgen_mcp.server.guard import close_memory, end_quietly
from massgen_mcp.server.http.body import BODY_LIMIT
from massgen_mcp.server.http.connection import listening
from massgen_mcp.server.http.gate import Gate
from massgen_mcp.server.http.place import Place
from massgen_mcp.server.http.resuming import RETRY_SECONDS, ResumingSessions
from massgen_mcp.server.http.tokens import Tokens, new_token, read_tokens
from massgen_mcp.server.opening import make_server_runs
from massgen_mcp.server.service import MakeRuns, Service
from massgen_mcp.server.stdio import BY_SIGNAL, end_if_stuck, first_signal, limit_the_end, log_to_stderr

if TYPE_CHECKING:
    from massgen_mcp.runs import Runs

__all__ = ["SESSIONS", "Build", "Doors", "serve", "serve_http", "serving"]

_logger = logging.getLogger(__name__)

_HANDLERS = (
    "massgen_mcp.server.calls",
    "massgen_mcp.server.run_tasks",
    "massgen_mcp.server.resources",
    "massgen_mcp.server.completion",
)
_IDLE_SECONDS = 3600.0
SESSIONS = 1000
"""Of all tokens; one has at most `SESSIONS_OF_ONE` of them."""
_DRAIN_SECONDS = 1.0
"""For requests under way when the end begins; those that wait for a run would take minutes."""
_TRY_AGAIN_SECONDS = 5.0
_SHORTEST = 16
_TOKEN = "MASSGEN_MCP_TOKEN"  # noqa: S105 - its name


class Build(Protocol):
    """What makes a server."""

    def __call__(self, make_runs: MakeRuns, /, *, opened: Callable[[Service], None]) -> Server[Service]: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """An open socket and who may come in by it."""

    place: socket.socket
    tokens: Tokens
    hosts: frozenset[str]
    origins: frozenset[str]
    tls: ssl.SSLContext | None = None


def serve_http(
    place: Place,
    *,
    tokens: Path | None,
    environ: Mapping[str, str],
    config_dirs: Sequence[Path] = (),
    make_runs: MakeRuns | None = None,
) -> int:
    """Serve people over HTTP until a signal comes. Returns the exit code: 128 and the signal's number.

    `tokens` is the file of named tokens. Without one there is a single token, the operator's: the variable
    `MASSGEN_MCP_TOKEN`, or one that is made up and shown once. `make_runs` replaces the real world.

    Raises:
        ConfigError: it can't be served so; the text says why and what to do.
    """
    place.check()
    if tokens is not None:
        read_tokens(tokens)
    given = _given_token(environ)
    tls = place.tls()
    opened = place.open()
    end_quietly()
    close_memory()
    log = log_to_stderr(environ)
    operator = given if given is not None or tokens is not None else new_token()
    if operator is not None:
        log.secrets.add(operator, _TOKEN)
    known = Tokens(operator=operator, path=tokens)
    make = make_runs or make_server_runs(
        log,
        config_dirs=config_dirs,
        environ=environ,
        http=True,
        users=None if tokens is None else known.user,
    )
    port: int = opened.getsockname()[1]
    doors = Doors(
        place=opened,
        tokens=known,
        hosts=place.hosts(port),
        origins=place.origins(port),
        tls=tls,
    )

    def announce() -> None:
        _announce(place.url(port), made_up=operator if given is None else None)

    try:
        code = anyio.run(serve, _keeping(make, operator), doors, announce)
    except KeyboardInterrupt:  # where signals can't be awaited
        code = BY_SIGNAL + signal.SIGINT
    end_quietly()
    end_if_stuck(code)
    return code


async def serve(
    make_runs: MakeRuns,
    doors: Doors,
    announce: Callable[[], None],
    *,
    limit: Callable[[int], None] = limit_the_end,
) -> int:
    """Serve until a signal comes; then let requests end, stop runs where they are, and close the journal.

    `limit` is called with the exit code when the end begins, to see to it that it comes.
    """
    async with serving(make_runs, doors) as gate:
        announce()
        code = BY_SIGNAL + await first_signal()
        limit(code)
        await gate.drain(_DRAIN_SECONDS)
    return code


@asynccontextmanager
async def serving(
    make_runs: MakeRuns,
    doors: Doors,
    *,
    build: Build = build_server,
    retry_seconds: float = RETRY_SECONDS,
    sessions: int = SESSIONS,
) -> AsyncGenerator[Gate]:
    """Serve for the time of the block. On leaving, runs stop where they are, then the journal closes.

    Args:
        make_runs: makes the runs.
        doors: where, and for whom.
        build: makes the server, from the runs and who is to be told of its service.
        retry_seconds: after which clients that lose their connection are told to come back.
        sessions: of the older era that may be open at once, of all tokens.
    """
    # One by one, before anybody can call: modules that import each other must not meet in two threads.
    for name in _HANDLERS:
        await anyio.to_thread.run_sync(import_module, name)
    services: list[Service] = []
    manager = ResumingSessions(
        build(make_runs, opened=services.append),
        retry_seconds=retry_seconds,
        session_idle_timeout=_IDLE_SECONDS,
        max_sessions=sessions,
        max_request_body_size=BODY_LIMIT,
    )
    ready = anyio.Event()
    gate = Gate(
        app=manager.handle_request,
        tokens=doors.tokens,
        hosts=doors.hosts,
        origins=doors.origins,
        ready=ready.is_set,
        stopping=lambda: services[0].presences.stop(),  # noqa: PLW0108 - there is none before it serves
    )
    async with (
        manager.run(),
        listening(gate, doors.place, tls=doors.tls),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_get_ready, services[0], ready)
        yield gate
        tasks.cancel_scope.cancel()


async def _get_ready(service: Service, ready: anyio.Event) -> None:
    """Open what the first question would open, so that `/readyz` is true."""
    while True:
        try:
            await (await service.runs()).journal()
        except MassgenError as error:
            _logger.warning("not ready: %s", error)
        except Exception:
            # Whatever it is, calls that need the runs say so; it must not end the server.
            _logger.exception("not ready")
        else:
            ready.set()
            return
        await anyio.sleep(_TRY_AGAIN_SECONDS)


def _keeping(make_runs: MakeRuns, operator: str | None) -> MakeRuns:
    """The same runs, which never show the operator's token."""

    @asynccontextmanager
    async def make(tasks: TaskGroup) -> AsyncGenerator[Runs]:
        async with make_runs(tasks) as runs:
            if operator is not None:
                runs.secrets.add(operator, _TOKEN)
            yield runs

    return make


def _given_token(environ: Mapping[str, str]) -> str | None:
    """The token that the operator has set.

    Raises:
        ConfigError: it is too easy to guess, or can't be sent in a header.
    """
    token = environ.get(_TOKEN, "").strip()
    if not token:
        return None
    if len(token) < _SHORTEST or not all("!" <= letter <= "~" for letter in token):
        problem = Problem(
            path=_TOKEN,
            message=f"it must have at least {_SHORTEST} characters, all of them visible ASCII.",
            hint="A good one: openssl rand -hex 32. Without it one is made up and shown at start.",
        )
        raise ConfigError([problem], name="serve --http")
    return token


def _announce(url: str, *, made_up: str | None) -> None:
    """Say where the server is. A token that was made up is shown here and nowhere else."""
    lines = [f"massgen-mcp serves MCP at {url}"]
    if made_up is not None:
        header = f"Authorization: Bearer {made_up}"
        lines += [
            f"Its token, shown this once: {made_up}",
            f'For Claude Code: claude mcp add --transport http massgen {url} -H "{header}"',
        ]
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()
