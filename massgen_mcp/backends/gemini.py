"""Google's Gemini by generateContent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, cast

import httpx2
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from massgen_mcp.backends.account import find_account
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.gemini_backend import Backend
from massgen_mcp.backends.gemini_sdk import open_client
from massgen_mcp.backends.gemini_search import built_ins
from massgen_mcp.backends.options import Options as BaseOptions, as_tuples
from massgen_mcp.backends.reasoning import Reasoning
from massgen_mcp.backends.urls import host_of, owned_by

__all__ = ["HARM_CATEGORIES", "HARM_THRESHOLDS", "Options", "SafetySetting", "address_of", "connect"]

HARM_CATEGORIES = (
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_CIVIC_INTEGRITY",
)
HARM_THRESHOLDS = ("BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF")

_VERSION = re.compile(r"/(v1|v1alpha|v1beta)/*\Z")
_ODD = re.compile(r"\.\.|[?&#\s]")
"""What no model's name holds, and what would lead a request elsewhere."""

ThinkingLevel = Literal["minimal", "low", "medium", "high", "xhigh"]


class SafetySetting(BaseModel):
    """One filter: a kind of harm and from what probability on it blocks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: str
    threshold: str

    @field_validator("category", mode="after")
    @classmethod
    def _category(cls, value: str) -> str:
        return _one_of(value, HARM_CATEGORIES, "harm category")

    @field_validator("threshold", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "OFF" if value is False else value  # OFF without quotes is a boolean in YAML 1.1

    @field_validator("threshold", mode="after")
    @classmethod
    def _threshold(cls, value: str) -> str:
        return _one_of(value, HARM_THRESHOLDS, "threshold")


def _one_of(value: str, valid: tuple[str, ...], what: str) -> str:
    if value.upper() not in valid:
        raise ValueError(f"unknown {what}; valid are {', '.join(valid)}")
    return value.upper()


class Options(BaseOptions):
    """The backend block of `type: gemini`."""

    top_k: Annotated[int, Field(ge=0)] | None = None
    seed: int | None = None
    stop_sequences: tuple[str, ...] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    safety_settings: tuple[SafetySetting, ...] = ()
    """A list of `{category, threshold}`, or a mapping of the one to the other."""
    thinking_budget: Annotated[int, Field(ge=-1)] | None = None
    """Tokens; 0 off, -1 as the model likes (2.5 models)."""
    thinking_level: ThinkingLevel | None = None
    """For models from 3 on."""
    include_thoughts: bool | None = None
    reasoning: Reasoning | None = None
    api_version: Literal["v1", "v1beta", "v1alpha"] | None = None

    @field_validator("safety_settings", mode="before")
    @classmethod
    def _as_list(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return as_tuples(value)
        settings = cast("Mapping[str, object]", value)
        return tuple({"category": kind, "threshold": threshold} for kind, threshold in settings.items())

    @model_validator(mode="after")
    def _one_kind_of_thinking(self) -> Options:
        if self.thinking_budget is not None and self.thinking_level is not None:
            raise ValueError("give thinking_budget (2.5 models) or thinking_level (3 and later), not both")
        return self


async def connect(options: Options, context: BackendContext) -> Backend:
    """A backend ready to be asked.

    Raises:
        BackendError: the address may not be used, or a key is missing.
    """
    base_url, api_version = address_of(options, context)
    account = await find_account(options, context, base_url)
    if _ODD.search(account.model):
        what = f"{account.model!r} is no model's name"
        raise account.failures.make("not_found", what, remedy="Correct `model`.", connected=False)
    code = options.enable_code_execution or options.enable_code_interpreter
    return Backend(
        context,
        account,
        options=options,
        tools=built_ins(search=options.enable_web_search, code=code),
        client=await open_client(context.pool, account, options.extra_headers, api_version=api_version),
    )


def address_of(options: Options, context: BackendContext) -> tuple[str, str]:
    """The address that the file gives, else the vendor's, and the version of the interface to speak there.

    A version that the address ends in counts, too. Else it is the package's own, but the one before for names
    that are kept there alone, and for gateways, which know what every earlier package spoke.
    """
    info = context.info
    if options.base_url is not None:
        context.pool.allow_http(host_of(options.base_url))
    url = httpx2.URL(options.base_url or info.base_url or "")
    found = _VERSION.search(url.path)
    ours = owned_by(host_of(str(url)), info.hosts)
    usual = "v1" if ours and not (options.model or "").endswith("-latest") else "v1beta"
    version = options.api_version or (found[1] if found else usual)
    path = url.path[: found.start()] if found else url.path
    return str(url.copy_with(path=path or "/")), version
