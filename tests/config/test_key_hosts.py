"""A vendor's key goes to that vendor's hosts, and to nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from massgen_mcp.backends.options import Options
from massgen_mcp.backends.registry import BACKENDS, options_class
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded
from massgen_mcp.config.readiness import agent_readiness, is_local, key_for, readiness

KEYS = {name: f"key-of-{name}" for row in BACKENDS.values() for name in row.env}


def _options(kind: str, **given: Any) -> Options:
    return options_class(BACKENDS[kind])(type=kind, model="m", **given)


@pytest.mark.parametrize(
    ("kind", "base_url", "source", "variable"),
    [
        ("openai", None, "environment", "OPENAI_API_KEY"),
        ("openai", "https://eu.api.openai.com/v1", "environment", "OPENAI_API_KEY"),
        ("openai", "https://evil.example/v1", "missing", None),
        ("openai", "https://api.openai.com.evil.example/v1", "missing", None),
        ("openai", "http://localhost:4000/v1", "none", None),
        ("groq", "https://api.cerebras.ai/v1", "missing", None),
        ("moonshot", "https://api.moonshot.ai/v1", "environment", "MOONSHOT_API_KEY"),
        ("chatcompletion", "https://api.cerebras.ai/v1", "environment", "CEREBRAS_API_KEY"),
        ("chatcompletion", "https://api.openai.com/v1", "environment", "OPENAI_API_KEY"),
        ("chatcompletion", "https://server.example/v1", "missing", None),
        ("chatcompletion", "http://127.0.0.1:8000/v1", "none", None),
        ("vllm", None, "environment", "VLLM_API_KEY"),
        ("vllm", "http://10.0.0.5:8000/v1", "missing", None),
        ("lmstudio", None, "none", None),
        ("inference", "http://[::1]:8000/v1", "none", None),
        ("azure_openai", "https://mine.openai.azure.com", "environment", "AZURE_OPENAI_API_KEY"),
        ("azure_openai", "https://gateway.example", "missing", None),
    ],
)
def test_the_key_goes_by_the_host(kind: str, base_url: str | None, source: str, variable: str | None) -> None:
    key = key_for(_options(kind, base_url=base_url), Environment.of(KEYS))
    assert (key.source, key.variable) == (source, variable)


def test_the_host_in_the_operators_azure_endpoint_is_azures() -> None:
    environment = Environment.of(KEYS | {"AZURE_OPENAI_ENDPOINT": "https://gateway.example/azure"})
    assert key_for(_options("azure_openai"), environment).source == "environment"


def test_a_key_beside_an_address_goes_where_the_address_points() -> None:
    options = _options("openai", base_url="https://proxy.example/v1", api_key=SecretStr("own"))
    key = key_for(options, Environment.of(KEYS))
    assert (key.source, key.value and key.value.get_secret_value()) == ("file", "own")


def test_an_unknown_type_has_no_key_and_is_not_ready() -> None:
    options = Options(type="fnord")
    assert key_for(options, Environment.of(KEYS)).source == "missing"
    assert readiness(options, Environment.of(KEYS)).why == "there is no backend 'fnord'"
    assert not is_local(options, Environment.of({}))


def test_readiness_says_what_is_missing_and_how_to_mend_it() -> None:
    options = _options("groq")
    assert readiness(options, Environment.of({"GROQ_API_KEY": "k"})).ready
    found = readiness(options, Environment.of({"GROQ_KEY": "k"}))
    assert not found.ready
    assert found.why == "GROQ_API_KEY is not set (looked in the process's environment)"
    assert found.remedy == (
        "Set GROQ_API_KEY, or give api_key in the backend block. GROQ_KEY is set: was that meant?"
    )
    elsewhere = readiness(_options("groq", base_url="https://x.example/v1"), Environment.of(KEYS))
    assert "the host x.example is not the vendor's" in elsewhere.why
    assert readiness(_options("lmstudio"), Environment.of({})).key == "not needed"


def test_azure_is_ready_with_a_key_and_an_endpoint() -> None:
    options = _options("azure_openai")
    keyed = Environment.of({"AZURE_OPENAI_API_KEY": "k"})
    whole = Environment.of(
        {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}
    )
    assert readiness(options, keyed).variables == ("AZURE_OPENAI_ENDPOINT",)
    assert "AZURE_OPENAI_ENDPOINT is not set" in readiness(options, keyed).why
    assert readiness(options, whole).ready


def test_a_backend_that_does_not_run_yet_is_not_ready() -> None:
    waiting = [row.type for row in BACKENDS.values() if not row.executes]
    for kind in waiting:
        given = {"llm_config": {"config_list": [{"model": "m"}]}} if kind == "ag2" else {}
        found = readiness(_options(kind, **given), Environment.of(KEYS))
        assert not found.ready
        assert "not available yet" in found.why


def test_an_agent_whose_own_variable_is_not_set_is_not_ready(load: Callable[..., Loaded]) -> None:
    text = "agent: {id: a, optional: true, backend: {type: groq, api_key: '${MINE}'}}"
    loaded = load(text, GROQ_API_KEY="k")
    assert loaded.team is not None
    found = agent_readiness(loaded.team.agents[0], loaded.environment)
    assert (found.ready, found.variables, found.remedy) == (False, ("MINE",), "Set MINE.")
    ready = load("agent: {id: a, backend: {type: groq}}", GROQ_API_KEY="k")
    assert ready.team is not None
    assert agent_readiness(ready.team.agents[0], ready.environment).ready


@pytest.mark.parametrize(
    ("text", "severity", "said"),
    [
        ("type: groq", "warning", "no key: GROQ_API_KEY is not set (looked in the process's environment)"),
        (
            "type: vllm, model: m, base_url: 'http://10.0.0.5:8000/v1', api_key: EMPTY",
            "warning",
            "plain http",
        ),
        ("type: groq, base_url: 'https://x.example/v1'", "error", "the host x.example is not one that"),
        ("type: azure_openai, model: m, azure_endpoint: 'https://x.example'", "error", "the host x.example"),
        ("type: azure_openai, model: m", "warning", "no endpoint: AZURE_OPENAI_ENDPOINT is not set"),
    ],
)
def test_a_file_is_told_about_its_keys_and_hosts(
    load: Callable[..., Loaded], text: str, severity: str, said: str
) -> None:
    problems = load(f"agent: {{id: a, backend: {{{text}}}}}").problems
    assert any(problem.severity == severity and problem.message.startswith(said) for problem in problems)


def test_an_optional_agent_without_a_key_is_only_noticed(load: Callable[..., Loaded]) -> None:
    loaded = load("agent: {id: a, optional: true, backend: {type: groq}}", GROQ_KEY="x")
    (problem,) = loaded.problems
    assert problem.severity == "notice"
    assert problem.hint == "GROQ_KEY is set: was that meant? It sits out until then."
