"""What a team file may say in a `backend` block: the keys all backends share.

Keys about tools and workspaces (`mcp_servers`, `cwd`, `allowed_tools` ...) stand in the same block
of the file but belong to the agent, not to the provider: see `massgen_mcp.config.tools`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, TypeAlias, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from massgen_mcp.backends.urls import url_problem

__all__ = ["BaseUrl", "Names", "Options", "Price", "as_tuples"]

_SET_BY_US = frozenset(
    {
        "model",
        "messages",
        "input",
        "contents",
        "system",
        "instructions",
        "tools",
        "tool_choice",
        "functions",
        "stream",
        "api_key",
        "authorization",
    }
)
_AUTH_HEADERS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "host",
        "content-length",
        "content-type",
    }
)


def as_tuples(value: Any) -> Any:
    """Lists as tuples, all the way down: what a frozen model's fields hold.

    A `mode="before"` validator that returns lists needs it: team files are validated strictly.
    """
    if isinstance(value, list):
        return tuple(as_tuples(item) for item in cast("list[Any]", value))
    if isinstance(value, Mapping):
        return {key: as_tuples(item) for key, item in cast("Mapping[str, Any]", value).items()}
    return value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else as_tuples(value)


Names: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
"""A list of names; one alone may stand without brackets."""


def _checked_url(url: str) -> str:
    if problem := url_problem(url):
        raise ValueError(problem)
    return url


BaseUrl = Annotated[str, AfterValidator(_checked_url)]
"""An http(s) address that names one server and holds no password."""


def _checked_body(body: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(_SET_BY_US.intersection(key.lower() for key in body)):
        raise ValueError(f"extra_body may not set {', '.join(taken)}")
    return body


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    if taken := sorted(_AUTH_HEADERS.intersection(key.lower() for key in headers)):
        raise ValueError(f"extra_headers may not set {', '.join(taken)}; use api_key")
    if any("\n" in text or "\r" in text or "\0" in text for pair in headers.items() for text in pair):
        raise ValueError("a header may not hold a line break")
    return headers


class Price(BaseModel):
    """Prices in US dollars per million tokens, for models the price table does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None


class Options(BaseModel):
    """Keys of every backend. Each backend's module has its own `Options` below this one.

    None means that nothing is sent, so that the provider's own default holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    forms: ClassVar[frozenset[str]] = frozenset()
    """Keys beside the fields that a validator folds into them."""

    type: str
    model: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    api_key: SecretStr | None = None
    base_url: BaseUrl | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds for one request, first byte to last."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    extra_body: Annotated[dict[str, Any], AfterValidator(_checked_body)] = Field(
        default_factory=dict[str, Any]
    )
    extra_headers: Annotated[dict[str, str], AfterValidator(_checked_headers)] = Field(
        default_factory=dict[str, str]
    )
    price: Price | None = None
    max_concurrent: Annotated[int, Field(gt=0, le=256)] | None = None
    """Requests in flight at once to this server; absent: as the backend has it."""
    enable_web_search: bool = False
    enable_code_execution: bool = False
    """Code in the provider's own sandbox, which does not see the agent's workspace."""
    enable_code_interpreter: bool = False
    """Another name of the same."""

    def with_model(self, model: str) -> Self:
        """The same block for another model, whose price the file does not give."""
        return self.model_copy(update={"model": model, "price": None})
