"""Where an agent runtime's program runs: its private folder, its surroundings, its sandbox."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import anyio
import anyio.to_thread

from massgen_mcp.backends.cli_folder import OwnFolder, make_folder
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable

__all__ = ["AgentPlace", "FindSandbox"]

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
_INHERITED = (
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    *_CERTIFICATES,
)
_FREE = ProcessLimits(memory_bytes=None, file_bytes=None, processes=None, open_files=None)
"""A runtime reserves far more address space than it uses."""
_WORKSPACE = "workspace"


class FindSandbox(Protocol):
    """How a sandbox is found."""

    async def __call__(self, environ: Mapping[str, str], *, mode: Literal["auto", "off"]) -> Sandbox:
        """The strongest that works here; raises `SandboxUnavailable`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPlace:
    """One agent's own. Nobody else writes there, and it is gone after `remove`."""

    folder: OwnFolder
    workspace: Path
    """The folder it works in, which it may write to."""
    environ: Mapping[str, str]
    sandbox: Sandbox | None
    why: str
    """Why there is no sandbox; empty where there is one."""
    readable: tuple[Path, ...] = ()
    """What its agent may read besides."""
    hidden: tuple[Path, ...] = ()
    """What it must not see of that."""

    @classmethod
    async def open(
        cls, context: BackendContext, folders: Sequence[str], *, find: FindSandbox, **own: Any
    ) -> Self:
        """A place for one agent, with these folders and the sandbox that works here, as `find` has it.

        One more folder is its workspace where the team gives it none. `own`: the fields of a subclass.
        """
        sandbox: Sandbox | None = None
        why = ""
        try:
            sandbox = await find(context.environ, mode=context.sandbox)
        except SandboxUnavailable as error:
            why = str(error)
        inner = (_WORKSPACE, *folders)
        folder = await anyio.to_thread.run_sync(make_folder, context.info.type, inner)
        return cls(
            folder=folder,
            workspace=(context.workspace or folder.path / _WORKSPACE).resolve(),
            environ=context.environ,
            sandbox=sandbox,
            why=why,
            readable=context.readable,
            hidden=context.hidden,
            **own,
        )

    @property
    def root(self) -> Path:
        """What all of its own lies in."""
        return self.folder.path

    @property
    def home(self) -> Path:
        """Its HOME, which it may write to."""
        return self.root / "home"

    @property
    def fixed(self) -> Path:
        """What it may read, but not change."""
        return self.root / "fixed"

    @property
    def held(self) -> bool:
        """Whether a sandbox holds it, which also ends it with us."""
        return self.sandbox is not None and self.sandbox.level != "off"

    def inherited(self) -> dict[str, str]:
        """The variables of ours that it is told: language, proxies, whom to trust."""
        return {name: self.environ[name] for name in _INHERITED if self.environ.get(name)}

    def confine(
        self,
        argv: Sequence[str],
        sandbox: Sandbox,
        *,
        cwd: Path,
        write: Sequence[Path],
        needs: Sequence[Path],
        network: bool = True,
    ) -> tuple[str, ...]:
        """The command line that runs `argv` in `sandbox`: it sees what it needs and what the agent may."""
        certificates = (Path(path) for name in _CERTIFICATES if (path := self.environ.get(name)))
        seen = (*needs, *certificates, *self.readable)
        confinement = Confinement(
            cwd=cwd,
            write=tuple(write),
            read=(self.fixed, *(path for path in seen if path.is_absolute() and path.exists())),
            hide=self.hidden,
            home=self.home,
            network=network,
            nested=True,
            limits=_FREE,
        )
        return tuple(sandbox.command(argv, confinement))

    @asynccontextmanager
    async def opening(self) -> AsyncGenerator[None]:
        """While something is made ready there: the place goes when that fails."""
        try:
            yield
        except BaseException:
            await self.remove()
            raise

    async def remove(self) -> None:
        """Delete it, also when cancelled."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.folder.remove)
