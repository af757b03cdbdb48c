"""Whatever text or structure there is, reading it ends quickly, in words, and never in an exception."""

from __future__ import annotations

import json
import time
from datetime import date
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

from massgen_mcp.backends.registry import BACKENDS, options_class
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_text
from massgen_mcp.config.models import AgentKeys, Orchestrator, TeamKeys
from massgen_mcp.config.sift import keys_of
from massgen_mcp.config.tree import parse

SECRET = "hunter2hunter2"
ENVIRONMENT = Environment.of({"SECRET": SECRET, "OPENAI_API_KEY": SECRET})
RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["${SECRET}", "$${X}", "${X:-y}", "http://h", "https://u:p@h/", "off", "no", "EMPTY", "x" * 5_000]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def _mappings(keys: frozenset[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.one_of(st.sampled_from(sorted(keys)), st.text(max_size=6)), values, max_size=6)


def _blocks(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = keys_of(options_class(BACKENDS[kind])) | keys_of(AgentTools)
    return _mappings(keys).map(lambda block: block | {"type": kind})


def _agent(keys: dict[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    return keys | {"id": "a", "backend": block}


def _team(top: dict[str, Any], orchestrator: dict[str, Any], agent: dict[str, Any]) -> dict[str, Any]:
    return top | {"orchestrator": orchestrator, "agents": [agent]}


blocks = st.sampled_from(sorted(BACKENDS)).flatmap(_blocks)
agents = st.builds(_agent, _mappings(keys_of(AgentKeys)), blocks)
teams = st.builds(_team, _mappings(keys_of(TeamKeys)), _mappings(keys_of(Orchestrator)), agents)


def _load(text: str, origin: Any = "file") -> Loaded:
    return load_text(text, environment=ENVIRONMENT, origin=origin, name="t", today=date(2026, 11, 22))


@RELAXED
@given(st.text(alphabet="ab:-[]{}&*!#|>'\"%@`,?.<0\n\t ~\x00é", max_size=80))
def test_any_text_is_read_to_its_end_or_to_its_mistake(text: str) -> None:
    tree = parse(text)
    assert tree.value or tree.problems or text.strip()
    _load(text)


@RELAXED
@given(teams)
def test_any_structure_comes_to_a_team_or_to_problems(value: dict[str, Any]) -> None:
    text = json.dumps(value)
    for origin in ("file", "inline"):
        loaded = _load(text, origin)
        assert (loaded.team is None) == bool(loaded.errors)
        assert SECRET not in repr(loaded)
        assert SECRET not in json.dumps(loaded.resolved)
        assert set(loaded.unavailable) <= set(loaded.problems)


def test_a_file_of_nothing_but_mistakes_is_told_in_a_second() -> None:
    text = "".join(f"unknown_key_number_{number}: 1\n" for number in range(4_990))
    begun = time.process_time()
    loaded = _load(text)
    assert time.process_time() - begun < 2
    assert len(loaded.problems) > 4_990
