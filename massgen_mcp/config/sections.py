"""Reading the sections of a team file one by one, so that a mistake in one place hides none in another."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from massgen_mcp.config.paths import KeyPath, Places
from massgen_mcp.config.problems import of_validation
from massgen_mcp.config.sift import sift
from massgen_mcp.config.tree import Value
from massgen_mcp.errors import Problem

__all__ = ["Sections"]

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(slots=True)
class Sections:
    """Where a file's values stand, and what is wrong with those that were read so far."""

    places: Places
    problems: list[Problem] = field(default_factory=list[Problem])

    def error(self, path: KeyPath, message: str, hint: str = "") -> None:
        """Note a problem."""
        self.problems.append(self.places.problem(path, message, hint=hint))

    def sift(
        self, mapping: dict[str, Value], path: KeyPath, section: str, known: Collection[str]
    ) -> dict[str, Value]:
        """The keys that mean something in this section; the others are noted."""
        return sift(mapping, path, section, known, self.places, self.problems)

    def sift_below(
        self, mapping: dict[str, Value], key: str, path: KeyPath, section: str, known: Collection[str]
    ) -> None:
        """The same for the mapping at a key, in its place."""
        below = mapping.get(key)
        if isinstance(below, dict):
            mapping[key] = self.sift(below, (*path, key), section, known)

    def validate(
        self, model: type[_Model], value: dict[str, Value], path: KeyPath, *, shown: Value = None
    ) -> tuple[_Model | None, frozenset[str]]:
        """The model and the keys with something wrong in them, which is noted; what is right is in the model.

        None when nothing can be made of the rest. Strict: a switch is not a number, nor text one.
        """
        try:
            return _read(model, value), frozenset()
        except ValidationError as error:
            self.problems.extend(
                of_validation(error, model, value if shown is None else shown, path, self.places)
            )
            wrong = [detail["loc"] for detail in error.errors(include_url=False, include_input=False)]
        broken = frozenset(str(where[0]) for where in wrong if where)
        for rest in (_without(value, wrong), {key: item for key, item in value.items() if key not in broken}):
            try:
                return _read(model, rest), broken
            except ValidationError:
                continue
        return None, broken


def _read(model: type[_Model], value: Value) -> _Model:
    return model.model_validate_json(json.dumps(value), strict=True)


def _without(value: dict[str, Value], wrong: Collection[tuple[str | int, ...]]) -> dict[str, Value]:
    """The mapping without the key that is nearest to each mistake."""
    kept = copy.deepcopy(value)
    found = [pair for where in wrong if (pair := _nearest(kept, where)) is not None]
    for mapping, key in found:
        mapping.pop(key, None)
    return kept


def _nearest(value: Value, where: tuple[str | int, ...]) -> tuple[dict[str, Value], str] | None:
    """The deepest mapping on the way to a mistake, and its key there."""
    nearest: tuple[dict[str, Value], str] | None = None
    here = value
    for part in where:
        if isinstance(here, dict) and isinstance(part, str) and part in here:
            nearest = here, part
            here = here[part]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            break
    return nearest
