"""The media tools of one agent: its files, the providers with a key here, and what they cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio.to_thread

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.media_open import MediaWishes, OpenedMedia, open_media
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.clock import Clock
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.config.check_custom import media_functions
from massgen_mcp.secrets import Secrets
from massgen_mcp.team.spec import AgentSpec
from massgen_mcp.tools.media.child import Launcher
from massgen_mcp.tools.media.ports import MediaPorts
from massgen_mcp.tools.media.tools import MediaTools
from massgen_mcp.usage import Usage
from massgen_mcp.workspace.areas import Areas
from massgen_mcp.workspace.reading import read_bytes
from massgen_mcp.workspace.writing import write_bytes

__all__ = ["Studio", "wants_media"]

_PROVIDERS = ("openai", "gemini")
_MADE = {
    "enable_image_generation": "generate_image",
    "enable_audio_generation": "generate_audio",
    "enable_video_generation": "generate_video",
}


def wants_media(tools: AgentTools) -> bool:
    """Whether the team file asks for any of the media tools."""
    return bool(tools.enable_multimodal_tools or _asked(tools))


def _asked(tools: AgentTools) -> tuple[str, ...]:
    made = (name for key, name in _MADE.items() if getattr(tools, key))
    return tuple(dict.fromkeys((*media_functions(tools), *made)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """What media tools need of this machine."""

    pool: Pool
    prices: Prices
    secrets: Secrets
    clock: Clock

    def fit(
        self,
        agent: AgentSpec,
        tools: AgentTools,
        areas: Areas,
        *,
        sandbox: Launcher | None,
        paid: Callable[[str, Usage], Awaitable[None]],
        private: bool = False,
    ) -> tuple[MediaTools, OpenedMedia]:
        """The tools of an agent, and what to close after the run. Nothing is opened before its first use.

        Args:
            agent: whose; its own provider is asked first.
            tools: what the team file says.
            areas: the files it sees and writes.
            sandbox: for readers of files; None where none works.
            paid: told what each use costs.
            private: nothing may leave this machine.
        """
        opened = open_media(
            MediaWishes(
                image_backend=tools.image_generation_backend or "",
                image_model=tools.image_generation_model or "",
                audio_backend=tools.audio_generation_backend or "",
                audio_model=tools.audio_generation_model or "",
                video_backend=tools.video_generation_backend or "",
                video_model=tools.video_generation_model or "",
            ),
            contexts={} if private else self._contexts(agent),
            own=agent.options if agent.info.type in _PROVIDERS else None,
            prices=self.prices,
        )

        async def read(path: str, limit: int) -> bytes:
            return await anyio.to_thread.run_sync(read_bytes, areas, path, limit)

        async def write(path: str, data: bytes) -> None:
            await anyio.to_thread.run_sync(write_bytes, areas, path, data)

        ports = MediaPorts(
            see=opened.see,
            hear=opened.hear,
            watch=opened.watch,
            paint=opened.paint,
            speak=opened.speak,
            film=opened.film,
            why=opened.why,
        )
        found = MediaTools(
            ports,
            names=None if tools.enable_multimodal_tools else _asked(tools),
            sees=agent.info.image_input,
            read=read,
            write=write,
            sandbox=sandbox,
            environ=agent.environ,
            paid=paid,
        )
        return found, opened

    def _contexts(self, agent: AgentSpec) -> Mapping[str, BackendContext]:
        return {name: context for name in _PROVIDERS if (context := self._context(name, agent)) is not None}

    def _context(self, name: str, agent: AgentSpec) -> BackendContext | None:
        info = BACKENDS[name]
        own = agent.info.type == name
        key = agent.api_key.get_secret_value() if own and agent.api_key else None
        key = key or next((agent.environ[env] for env in info.env if agent.environ.get(env)), None)
        if key is None and not (own and agent.options.api_key is not None):
            return None
        return BackendContext(
            info=info,
            pool=self.pool,
            secrets=self.secrets,
            clock=self.clock,
            environ=agent.environ,
            api_key=key,
            key_name=agent.key_name if own else "",
        )
