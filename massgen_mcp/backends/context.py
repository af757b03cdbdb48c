"""What the outside gives a backend when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.clock import Clock

if TYPE_CHECKING:
    from massgen_mcp.backends.pool import Pool
    from massgen_mcp.secrets import Secrets

__all__ = ["BackendContext"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendContext:
    """Everything a backend needs beyond its options.

    Every backend's module has `async def connect(options: Options, context: BackendContext) -> ModelBackend`,
    or `AgentRuntime` where the row says `kind="runtime"`.
    """

    info: BackendInfo
    pool: Pool
    """The one HTTP pool of the process; whoever made it closes it."""
    secrets: Secrets
    clock: Clock
    environ: Mapping[str, str]
    api_key: str | None = None
    """The key to use, from the team file or the row's variables; None where none is set."""
    key_name: str = ""
    """The variable behind the `api_key` of the team file, where it names one."""
    seed: int = 0
    """Differs per agent, for models that sample with a seed."""
    workspace: Path | None = None
    """The agent's own folder, where it has one: runtimes work in it."""
    readable: tuple[Path, ...] = ()
    """Folders that a runtime may read besides: the work behind other answers, the project."""
    hidden: tuple[Path, ...] = ()
    """What its programs must not see of them: what keeps keys."""
    cache_dir: Path | None = None
    """A folder for what may be made again, such as assembled weights."""
    sandbox: Literal["auto", "off"] = "auto"
    """Whether the children of runtimes are confined; `off` by the operator's explicit word alone."""
