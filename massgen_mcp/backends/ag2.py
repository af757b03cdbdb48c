"""AG2: an agent of that framework as a member of a team."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.options import BaseUrl, Options as BaseOptions, as_tuples
from massgen_mcp.backends.sdk import load

__all__ = ["CodeExecution", "Executor", "LlmConfig", "LlmEntry", "Options", "connect"]

_AGENT_TYPES = {
    "conversableagent": "ConversableAgent",
    "conversable": "ConversableAgent",
    "assistantagent": "AssistantAgent",
    "assistant": "AssistantAgent",
}
_EXECUTORS = {
    "local": "local",
    "localcommandlinecodeexecutor": "local",
    "docker": "docker",
    "dockercommandlinecodeexecutor": "docker",
    "cloud": "cloud",
    "daytona": "cloud",
}
_API_TYPES = ("openai", "azure", "anthropic", "google")
_SAMPLING = ("temperature", "top_p", "max_tokens")
_FILLED = (*_SAMPLING, "timeout", "api_key", "base_url", "cache_seed")

Executor = Literal["local", "docker", "cloud"]


def _api_type(value: str) -> str:
    if value not in _API_TYPES:
        raise ValueError(f"unknown api_type; known are {', '.join(_API_TYPES)}")
    return value


class LlmEntry(BaseModel):
    """One entry of `llm_config.config_list`: a model and where it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    api_key: SecretStr | None = None
    api_type: Annotated[str, AfterValidator(_api_type)] = "openai"
    base_url: BaseUrl | None = None
    api_version: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    cache_seed: int | None = None
    """Taken and not used: AG2 1.x has no such cache."""


def _not_empty(entries: tuple[LlmEntry, ...]) -> tuple[LlmEntry, ...]:
    if not entries:
        raise ValueError("must not be empty")
    return entries


class LlmConfig(BaseModel):
    """`llm_config`: the models an AG2 agent may use, best first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config_list: Annotated[tuple[LlmEntry, ...], AfterValidator(_not_empty)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    cache_seed: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_entry(cls, value: object) -> object:
        """An `llm_config` that is itself one entry, or the list of them, becomes `config_list`."""
        if isinstance(value, list | tuple):
            return {"config_list": as_tuples(list(cast("list[object]", value)))}
        if isinstance(value, Mapping) and "model" in value and "config_list" not in value:
            entry = dict(cast("Mapping[str, object]", value))
            seed = {"cache_seed": entry.pop("cache_seed")} if "cache_seed" in entry else {}
            return {"config_list": (as_tuples(entry),), **seed}
        return as_tuples(cast("object", value))


class CodeExecution(BaseModel):
    """`code_execution_config`: where code that the agent writes runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    executor: Executor
    work_dir: str | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    image: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _nested_executor(cls, value: object) -> object:
        """`executor: {type: ..., work_dir: ...}` becomes flat."""
        if not isinstance(value, Mapping):
            return value
        config = dict(cast("Mapping[str, object]", value))
        executor = config.get("executor")
        if isinstance(executor, Mapping):
            nested = dict(cast("Mapping[str, object]", executor))
            config["executor"] = nested.pop("type", None)
            config = nested | config
        return config

    @field_validator("executor", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        word = value.lower()
        if "jupyter" in word:
            raise ValueError("AG2 1.x has no Jupyter executor; use executor: local")
        if word not in _EXECUTORS:
            raise ValueError("unknown executor; known are local, docker, cloud")
        return _EXECUTORS[word]


class Options(BaseOptions):
    """The backend block of `type: ag2`: the flat form, or the same keys below `agent_config`."""

    forms: ClassVar[frozenset[str]] = frozenset({"agent_config"})

    agent_type: Literal["ConversableAgent", "AssistantAgent"] = "ConversableAgent"
    name: str | None = None
    system_message: str | None = None
    llm_config: LlmConfig | None = None
    code_execution_config: CodeExecution | None = None
    human_input_mode: Literal["NEVER"] | None = None
    group_config: None = None
    """AG2's group chats are gone in 1.x: refused, with what to do instead."""

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        block = dict(cast("Mapping[str, object]", value))
        nested = block.pop("agent_config", None)
        if nested is None:
            return as_tuples(block)
        if not isinstance(nested, Mapping):
            raise ValueError("agent_config must be a mapping")  # noqa: TRY004 - pydantic reports ValueErrors
        inner = dict(cast("Mapping[str, object]", nested))
        if "type" in inner:
            inner["agent_type"] = inner.pop("type")
        if both := sorted(set(inner) & set(block)):
            raise ValueError(f"{', '.join(both)} stands both in agent_config and beside it")
        return as_tuples(block | inner)

    @field_validator("code_execution_config", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return None if value is False else value

    @field_validator("group_config", mode="before")
    @classmethod
    def _no_group(cls, value: object) -> object:
        if value is not None:
            raise ValueError("AG2 1.x has no group chat; make each of its agents an agent of the team")
        return value

    @field_validator("agent_type", mode="before")
    @classmethod
    def _agent_type(cls, value: object) -> object:
        return _AGENT_TYPES.get(value.lower(), value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_a_model(self) -> Options:
        if self.llm_config is None and self.model is None:
            raise ValueError("give llm_config with at least one model")
        return self

    @property
    def entries(self) -> tuple[LlmEntry, ...]:
        """The models to use, best first, each with all that holds for it."""
        own = {name: getattr(self, name) for name in _SAMPLING}
        if self.llm_config is None:
            url = {} if self.base_url is None else {"base_url": self.base_url}
            return (LlmEntry(model=self.model or "", api_key=self.api_key, **url, **own),)
        listed = self.llm_config
        first, *others = (_filled(_filled(entry, vars(listed)), own) for entry in listed.config_list)
        return (_filled(first, {"api_key": self.api_key, "base_url": self.base_url}), *others)


async def connect(options: Options, context: BackendContext) -> AgentRuntime:
    """An AG2 agent, ready for its turns.

    Raises:
        BackendError: AG2 or an extension of it is not installed, a key is missing, an address may not be
            used, or there is no sandbox for its code.
    """
    # By name: who only reads options needs no sandbox, which some systems can't even import.
    opening = await load("massgen_mcp.backends.ag2_open")
    return await opening.open_agent(options, context)


def _filled(entry: LlmEntry, values: Mapping[str, Any]) -> LlmEntry:
    """The entry with these values where it has none of its own."""
    missing = {name: values[name] for name in _FILLED if values.get(name) is not None}
    missing = {name: value for name, value in missing.items() if getattr(entry, name) is None}
    return entry.model_copy(update=missing)
