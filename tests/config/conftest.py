"""Reading YAML as an operator's file, on a fixed day and with variables that are given; its schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, Origin, load_text
from massgen_mcp.config.schema import json_schema

SchemaErrors = Callable[[Any], list[str]]

TODAY = date(2026, 11, 22)


@pytest.fixture
def load() -> Callable[..., Loaded]:
    def read(
        text: str,
        *,
        origin: Origin = "file",
        source: Path | None = None,
        roots: Sequence[Path] = (),
        **variables: str,
    ) -> Loaded:
        return load_text(
            text,
            environment=Environment.of(variables),
            origin=origin,
            name="team",
            source=source,
            roots=roots,
            today=TODAY,
        )

    return read


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    return json_schema()


@pytest.fixture(scope="session")
def schema_errors(schema: dict[str, Any]) -> SchemaErrors:
    validator: Any = Draft202012Validator(schema)
    return lambda value: [error.message for error in validator.iter_errors(value)]
