"""A team from names alone: over what is set up, with no way to give an address, a key or a path."""

from __future__ import annotations

import pytest

from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.shorthand import resolve_agents
from massgen_mcp.errors import RequestRefused

ALL = Environment.of({name: "k" for row in BACKENDS.values() for name in row.env})


@pytest.mark.parametrize(
    ("name", "kind", "model"),
    [
        ("groq/llama-3.3-70b-versatile", "groq", "llama-3.3-70b-versatile"),
        ("openrouter/anthropic/claude-sonnet-5.5", "openrouter", "anthropic/claude-sonnet-5.5"),
        ("groq/openai/gpt-oss-120b", "groq", "openai/gpt-oss-120b"),
        ("zai", "zai", "glm-5.3"),
        ("glm-4.5", "zai", "glm-4.5"),
        ("kimi-k2.6", "moonshot", "kimi-k2.6"),
        ("lmstudio/some-model", "lmstudio", "some-model"),
        ("local", "local", None),
    ],
)
def test_a_name_finds_its_backend(name: str, kind: str, model: str | None) -> None:
    team = resolve_agents([name], environment=ALL)
    assert (team.agents[0].backend.type, team.agents[0].backend.model) == (kind, model)


def test_several_of_one_backend_have_ids_of_their_own() -> None:
    team = resolve_agents(["zai", "groq", "zai/glm-4.5"], environment=ALL, name="asked")
    assert [agent.id for agent in team.agents] == ["zai", "groq", "zai-2"]
    assert team.name == "asked"


def test_a_model_that_several_have_is_refused_with_the_choices() -> None:
    name = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    assert resolve_agents([name], environment=ALL).agents[0].backend.type == "together"
    with pytest.raises(RequestRefused) as caught:
        resolve_agents(["gpt-oss-120b-turbo:free", "x/gpt-oss:free"], environment=Environment.of({}))
    assert "Nothing was spent." in str(caught.value)


def test_of_several_backends_the_one_that_is_ready_is_meant() -> None:
    # `accounts/fireworks/models/x:free` looks like a model of Fireworks and of OpenRouter.
    name = "accounts/fireworks/models/x"
    assert resolve_agents([name], environment=ALL).agents[0].backend.type == "fireworks"
    both = "zai-org/x:free"
    with pytest.raises(RequestRefused, match=r"may be any of openrouter/zai-org/x:free, together/"):
        resolve_agents([both], environment=ALL)
    one = Environment.of({"TOGETHER_API_KEY": "k"})
    assert resolve_agents([both], environment=one).agents[0].backend.type == "together"
    with pytest.raises(RequestRefused, match="may be any of"):
        resolve_agents([both], environment=Environment.of({}))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("groq", "groq: GROQ_API_KEY is not set (looked in the process's environment). Set GROQ_API_KEY, or"),
        ("google/gemini-x", "No backend is known for 'google/gemini-x'. Did you mean 'gemini'?"),
        ("fnord", "No backend is known for 'fnord'. Write TYPE/MODEL with a type of ag2,"),
        ("poe", "poe has no default model; write poe/MODEL."),
        ("scripted", "No backend is known for 'scripted'."),
        ("http://evil.example/v1", "'http://evil.example/v1' is not the name of a backend or model."),
        ("../../etc/passwd", "'../../etc/passwd' is not the name of"),
        ("groq/../x", "'groq/../x' is not the name of"),
        ("a b", "'a b' is not the name of"),
        ("", "'' is not the name of"),
        ("groq/" + "x" * 400, "groq can't be asked for"),
        ("x\x1b[2J", "'x?[2J' is not the name of"),
    ],
)
def test_all_else_is_refused_with_the_reason(name: str, said: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        resolve_agents([name], environment=Environment.of({}))
    assert str(caught.value).startswith(said)
    assert str(caught.value).endswith("Nothing was spent.")


@pytest.mark.parametrize("names", [[], ["zai"] * 17])
def test_a_team_has_one_to_sixteen_members(names: list[str]) -> None:
    with pytest.raises(RequestRefused, match="Give 1 to 16 agents"):
        resolve_agents(names, environment=ALL)
