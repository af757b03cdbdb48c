"""What a team file may say in a `backend` block: the keys all backends share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["Options", "Price"]


class Price(BaseModel):
    """Prices in US dollars per million tokens, for models the price table does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None


class Options(BaseModel):
    """Keys of every backend. Each backend's module has its own `Options` below this one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    model: str | None = None
    api_key: SecretStr | None = None
    base_url: str | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds for one request, first byte to last."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    extra_body: dict[str, Any] = Field(default_factory=dict)
    extra_headers: dict[str, str] = Field(default_factory=dict)
    price: Price | None = None
