"""Ollama: its server on this machine, over the part of its API that speaks chat completions.

That part hears fewer keys than Ollama's own: the others are passed over without a word, so they are refused
here, each with the place where Ollama does take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, cast

from pydantic import Field, model_validator

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.chat import Options as ChatOptions, connect as connect_chat
from massgen_mcp.backends.chat_server import ChatServer
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.reasoning import Effort, Reasoning
from massgen_mcp.backends.registry import runs_elsewhere
from massgen_mcp.errors import BackendError

__all__ = ["Backend", "Options", "connect"]

_MODELFILE = "set PARAMETER {} in a Modelfile and build the model from it with `ollama create`"
_UNHEARD: Mapping[str, str] = MappingProxyType(
    {
        **{
            key: _MODELFILE.format(key)
            for key in ("min_p", "num_ctx", "repeat_last_n", "repeat_penalty", "top_k")
        },
        "keep_alive": "set OLLAMA_KEEP_ALIVE where `ollama serve` is started",
        "num_predict": "write max_tokens",
        "options": "write its keys beside `type`, as far as they are heard",
        "repetition_penalty": _MODELFILE.format("repeat_penalty"),
        "think": "write reasoning_effort; `none` is no thinking",
    }
)
"""Keys people know from Ollama, and what to do instead of setting them here."""

_Penalty = Annotated[float, Field(ge=-2, le=2)]


class Options(BaseOptions):
    """The backend block of `type: ollama`: what its chat completions hear."""

    forms: ClassVar[frozenset[str]] = frozenset(_UNHEARD)

    port: Annotated[int, Field(gt=0, lt=65536)] | None = None
    """Of a server on this machine, instead of `base_url`."""
    frequency_penalty: _Penalty | None = None
    """Against repeating a word the more often it was said."""
    presence_penalty: _Penalty | None = None
    """Against repeating a word at all."""
    seed: int | None = None
    """For the same reply to the same request."""
    stop: str | list[str] | None = None
    """Texts at which the reply ends."""
    reasoning: Reasoning | None = None
    """Only its `effort` is heard."""
    reasoning_effort: Effort | None = None
    """How deeply a thinking model thinks; `none` is not at all. Other models refuse it."""

    @model_validator(mode="before")
    @classmethod
    def _heard(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        block = cast("Mapping[str, object]", value)
        unheard = [f"{key}: {_UNHEARD[key]}" for key in block if key in _UNHEARD]
        if unheard:
            raise ValueError(f"Ollama's chat completions don't hear {'; '.join(unheard)}")
        return block


class Backend(ChatServer):
    """Chat completions whose missing models have Ollama's remedy."""

    def _remedy(self, error: BackendError) -> str:
        if error.kind != "not_found":
            return ""
        return f"Fetch it: `ollama pull {self.model}`; if it is there, check `base_url`."


async def connect(options: Options, context: BackendContext) -> ModelBackend:
    """Open it like any chat-completions server.

    Raises:
        BackendError: as for those, or the model does not run on this machine.
    """
    chat = await connect_chat(ChatOptions.model_validate(options.model_dump(exclude_unset=True)), context)
    if runs_elsewhere(context.info, chat.model):
        remedy = "Name a model that `ollama list` shows with a size."
        raise BackendError(
            f"{chat.model!r} runs on Ollama's own machines; type: ollama is for what stays here. {remedy}",
            kind="bad_request",
            remedy=remedy,
            connected=False,
        )
    return Backend(chat)
