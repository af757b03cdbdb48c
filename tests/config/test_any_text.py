"""Whatever text or structure there is, reading it ends quickly, in words, and never in an exception."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import BaseModel

from massgen_mcp.backends.registry import BACKENDS, options_class
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_text
from massgen_mcp.config.massgen_keys import IGNORED
from massgen_mcp.config.models import AgentKeys, Coordination, Orchestrator, TeamKeys, Timeouts
from massgen_mcp.config.problems import report
from massgen_mcp.config.search import shipped_configs
from massgen_mcp.config.servers import McpServer
from massgen_mcp.config.sift import keys_of
from massgen_mcp.config.tree import parse

SECRET = "hunter2hunter2"
ENVIRONMENT = Environment.of({name: SECRET for row in BACKENDS.values() for name in row.env} | {"A": SECRET})
RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FOLDER = cast("Path", shipped_configs())
SHIPPED = [yaml.safe_load(path.read_text()) for path in sorted(FOLDER.rglob("*.yaml"))]
PARTS: tuple[type[BaseModel], ...] = (
    AgentKeys,
    AgentTools,
    Coordination,
    McpServer,
    Orchestrator,
    TeamKeys,
    Timeouts,
)
KEYS = sorted(
    {key for part in PARTS for key in part.model_fields}
    | {key for row in BACKENDS.values() for key in keys_of(options_class(row))}
    | {key for section in IGNORED.values() for key in section}
)
MISFITS: list[Any] = [
    *(None, True, False, 0, 1, -1, 3.5, 1e300, 10**30, "", "x" * 5_000, "off", "no", "EMPTY", "(", "é\u202e"),
    *("${A}", "${NOT_SET}", "${NOT_SET:-x}", "$${A}", "${cwd}", "${A}${A}"),
    *("http://h", "https://u:p@h/", "https://elsewhere.example/v1", "../x", "/abs", "~/x", "2024-01-01"),
    *([], {}, [[[]]], ["a", "a"], [None], {"a": {"b": [1, "c"]}}, {"type": "x"}, ["${A}"], {"k": "${A}"}),
    *([{"name": "s", "command": "x"}], {"s": {"command": "x"}}, [{"path": "t.py", "function": "f"}]),
]


def _load(text: str, origin: Any = "file") -> Loaded:
    return load_text(text, environment=ENVIRONMENT, origin=origin, name="t", today=date(2026, 11, 22))


@RELAXED
@given(st.text(alphabet="ab:-[]{}&*!#|>'\"%@`,?.<0\n\t ~\x00é", max_size=80))
def test_any_text_is_read_to_its_end_or_to_its_mistake(text: str) -> None:
    tree = parse(text)
    assert tree.value or tree.problems or text.strip()
    _load(text)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every mapping and list with each of its keys."""
    match value:
        case dict():
            items = list(cast("dict[Any, Any]", value).items())
        case list():
            items = list(enumerate(cast("list[Any]", value)))
        case _:
            items = []
    for key, item in items:
        yield cast("Any", value), key
        yield from _places(item)


def _mutant(chance: random.Random, *, changes: int) -> Any:
    """A shipped team with so many of its keys and values dropped, renamed, added, moved or replaced."""
    team = copy.deepcopy(chance.choice(SHIPPED))
    for _ in range(changes):
        places = list(_places(team))
        if not places:
            break
        parent, key = chance.choice(places)
        misfit = copy.deepcopy(chance.choice(MISFITS))
        match chance.randrange(6):
            case 0:
                del parent[key]
            case 1:
                parent[key] = misfit
            case 2 if isinstance(parent, dict):
                name = chance.choice([chance.choice(KEYS), f"{key}x", key[:-1], key.upper(), ""])
                parent[name] = cast("dict[str, Any]", parent).pop(key)
            case 3:
                mappings: list[Any] = [team, *(holder for holder, _ in places if isinstance(holder, dict))]
                chance.choice(mappings)[chance.choice(KEYS)] = misfit
            case 4:
                other, moved = chance.choice(places)
                parent[key] = copy.deepcopy(other[moved])
            case _:
                parent[key] = [parent[key]]
    return team


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(4))
def test_any_structure_comes_to_a_team_or_to_problems_with_their_places(seed: int) -> None:
    chance = random.Random(seed)
    for number in range(150):
        text = json.dumps(_mutant(chance, changes=chance.randint(1, 4)))
        loaded = _load(text, "inline" if number % 3 == 0 else "file")
        assert (loaded.team is None) == bool(loaded.errors), text
        assert SECRET not in repr(loaded), text
        assert SECRET not in json.dumps(loaded.resolved), text
        assert set(loaded.unavailable) <= set(loaded.problems)
        lines = [problem.line or 0 for problem in loaded.problems]
        assert lines == sorted(lines)
        for problem in loaded.problems:
            assert problem.line or not problem.path or problem.path == "agents", str(problem)
            assert len(problem.message) < 600
            assert "is not valid" not in problem.message, text
        assert len(report(loaded.problems).encode()) <= 4_000


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(2))
def test_whatever_loads_fits_the_published_schema(
    seed: int, schema_errors: Callable[[Any], list[str]]
) -> None:
    chance = random.Random(f"schema-{seed}")
    loading = 0
    for _ in range(250):
        team = _mutant(chance, changes=1)
        text = json.dumps(team)
        # A number in JSON's form that YAML 1.1 takes for text is another value to each of them.
        if "e+" not in text and _load(text).team is not None:
            loading += 1
            assert schema_errors(team) == [], text
    assert loading > 20


@pytest.mark.no_cover
def test_a_file_of_nothing_but_mistakes_is_told_in_a_second() -> None:
    text = "".join(f"unknown_key_number_{number}: 1\n" for number in range(4_990))
    begun = time.process_time()
    loaded = _load(text)
    assert time.process_time() - begun < 2
    assert len(loaded.problems) > 4_990
