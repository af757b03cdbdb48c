"""What all models of a team file share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from massgen_mcp.backends.options import Names, as_tuples

__all__ = ["Count", "Names", "Part", "Seconds", "SecretText", "Switch", "as_tuples"]


class Part(BaseModel):
    """A part of a team file: frozen, and no key that is not named here."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _text(value: object) -> object:
    # A port or a number in `env` and `args` is text to the program that gets it.
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _on_off(value: object) -> object:
    # YAML 1.1 makes booleans of these words; the keys that document them take both.
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


Count: TypeAlias = Annotated[int, Field(gt=0)]
Seconds: TypeAlias = Annotated[float, Field(gt=0)]
SecretText: TypeAlias = Annotated[SecretStr, BeforeValidator(_text)]
Switch: TypeAlias = Annotated[bool, BeforeValidator(_on_off)]
"""A switch that may be written `on` and `off`."""
