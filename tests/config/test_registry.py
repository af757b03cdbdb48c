"""The registry says what the two guides say, where the decisions on their disagreements don't."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

import massgen_mcp
from massgen_mcp.backends.info import Capability, Support
from massgen_mcp.backends.registry import (
    BACKENDS,
    LEGEND,
    backend_info,
    by_host,
    by_model_name,
    options_class,
    public_backends,
    suggest,
)

COLUMNS = tuple(Capability)
LETTERS = {
    "B": Support.BUILT_IN,
    "M": Support.VIA_MCP,
    "T": Support.VIA_CUSTOM_TOOL,
    "-": Support.NONE,
    "V": Support.VARIES,
}

# web, code, shell, image, audio, video, mcp, files, custom tools
MATRIX = {
    "openai": "BBMBBTMMM",
    "claude": "BBMBTTMMM",
    "claude_code": "BBBBTTMBM",
    "gemini": "BBMBTTMMM",
    "grok": "BBMBTTMMM",
    "azure_openai": "VVMB--MMM",
    "zai": "-MMTTTMMM",
    "chatcompletion": "VVMTTTMMM",
    "openrouter": "BMMVTTMMM",
    "lmstudio": "-MMTTTMMM",
    "ollama": "-MMTTTMMM",
    "inference": "-MMTTTMMM",
    "vllm": "-MMTTTMMM",
    "sglang": "-MMTTTMMM",
    "ag2": "-B-------",
    "codex": "BBBB--MBM",
    "gemini_cli": "BMM---MBM",
}

TYPES = [
    "openai",
    "claude",
    "claude_code",
    "gemini",
    "grok",
    "azure_openai",
    "zai",
    "ag2",
    "codex",
    "gemini_cli",
    "lmstudio",
    "ollama",
    "chatcompletion",
    "cerebras",
    "together",
    "fireworks",
    "groq",
    "openrouter",
    "moonshot",
    "nebius",
    "poe",
    "inference",
    "vllm",
    "sglang",
    "local",
]


def test_every_backend_of_the_guides_has_a_row_and_only_tests_have_a_hidden_one() -> None:
    assert sorted(row.type for row in public_backends()) == sorted(TYPES)
    assert [row.type for row in BACKENDS.values() if row.hidden] == ["scripted"]


@pytest.mark.parametrize("kind", MATRIX)
def test_the_matrix_is_that_of_the_guides(kind: str) -> None:
    row = BACKENDS[kind]
    assert [row.support[column].support for column in COLUMNS] == [LETTERS[letter] for letter in MATRIX[kind]]


def test_every_row_fills_every_column_and_every_symbol_is_in_the_legend() -> None:
    for row in BACKENDS.values():
        assert set(row.support) == set(Capability), row.type
        assert all(cell.support in LEGEND for cell in row.support.values())


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("gpt", "openai"),
        ("chatgpt", "openai"),
        ("google", "gemini"),
        ("vertex", "gemini"),
        ("anthropic", "claude"),
        ("xai", "grok"),
        ("x.ai", None),
        ("azure", "azure_openai"),
        ("Azure-OpenAI", "azure_openai"),
        ("glm", "zai"),
        ("z.ai", "zai"),
        ("claude-code", "claude_code"),
        ("lm-studio", "lmstudio"),
        ("kimi", "moonshot"),
        ("gemni", "gemini"),
        ("opnai", "openai"),
        ("fnord", None),
        ("scripted", None),
        ("Scriptd", None),
    ],
)
def test_a_wrong_type_is_understood(word: str, meant: str | None) -> None:
    assert suggest(word) == meant


@pytest.mark.parametrize(
    ("model", "types"),
    [
        ("gpt-5", ["openai"]),
        ("o3", ["openai"]),
        ("gemini-2.5-pro", ["gemini"]),
        ("claude-sonnet-4-5", ["claude"]),
        ("grok-4", ["grok"]),
        ("glm-4.5", ["zai"]),
        ("kimi-k2.6", ["moonshot"]),
        ("openai/gpt-oss-120b", ["groq", "together"]),
        ("no-such-model", []),
    ],
)
def test_a_bare_model_name_finds_its_backend(model: str, types: list[str]) -> None:
    assert [row.type for row in by_model_name(model)] == types


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("api.cerebras.ai", "cerebras"),
        ("API.OpenAI.com.", "openai"),
        ("eu.api.openai.com", "openai"),
        ("api.openai.com.evil.example", None),
        ("evilapi.openai.com", None),
        ("my.openai.azure.com", "azure_openai"),
        ("localhost", None),
        ("", None),
    ],
)
def test_a_host_belongs_to_its_vendor_alone(host: str, kind: str | None) -> None:
    row = by_host(host)
    assert (row.type if row else None) == kind


@pytest.mark.parametrize("kind", BACKENDS)
def test_every_backend_has_options_that_take_the_common_keys(kind: str) -> None:
    fields = options_class(BACKENDS[kind]).model_fields
    assert {"type", "model", "api_key", "base_url", "temperature", "timeout", "extra_body"} <= set(fields)


def test_a_row_is_found_by_its_type_alone() -> None:
    assert backend_info("gpt") is None
    row = backend_info("gemini")
    assert row is not None
    assert row.env == ("GOOGLE_API_KEY", "GEMINI_API_KEY")


def test_defaults_and_successors_are_models_that_live() -> None:
    today = date(2026, 11, 22)
    for row in BACKENDS.values():
        known = {model.name: model for model in row.models}
        if row.default_model is not None:
            assert known[row.default_model].retires is None, row.type
        for model in row.models:
            if model.retires is None:
                assert not model.successor, model
            else:
                assert known[model.successor].retires is None, model
                assert (model.retires - today).days < 365
        assert set(row.aliases.values()) <= set(known), row.type


def test_the_selection_guide_orders_each_task() -> None:
    guide: dict[str, dict[int, set[str]]] = {}
    for row in public_backends():
        for model in row.models:
            for task, rank in model.tasks.items():
                guide.setdefault(task, {}).setdefault(rank, set()).add(row.type)
    assert guide == {
        "research": {1: {"gemini"}, 2: {"openai"}, 3: {"grok"}},
        "coding": {1: {"claude_code"}, 2: {"openai"}, 3: {"gemini"}},
        "analysis": {1: {"openai"}, 2: {"claude"}, 3: {"gemini"}},
        "cheap": {1: {"openai"}, 2: {"grok"}, 3: {"gemini"}, 4: {"lmstudio"}},
        "private": {1: {"lmstudio"}, 2: {"azure_openai"}, 3: {"vllm"}, 4: {"sglang"}},
    }


def test_only_rows_of_this_machine_are_local_and_none_of_them_costs() -> None:
    local = {row.type for row in BACKENDS.values() if row.local}
    assert local == {"lmstudio", "ollama", "vllm", "sglang", "inference", "local", "scripted"}
    assert all(BACKENDS[kind].free for kind in local)


def _loaded_by(code: str, packages: set[str]) -> str:
    program = f"import sys; {code}; print(sorted({packages} & set(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - this very interpreter, with the words above
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_reading_the_rows_loads_neither_pydantic_nor_a_vendors_package() -> None:
    code = "import massgen_mcp.backends.registry, massgen_mcp.config"
    assert _loaded_by(code, {"pydantic", "openai", "anthropic", "google.genai", "httpx2", "yaml"}) == "[]"


def test_options_load_no_vendors_package() -> None:
    code = (
        "from massgen_mcp.backends.registry import BACKENDS, options_class;"
        "[options_class(row) for row in BACKENDS.values()]"
    )
    vendors = {"openai", "anthropic", "google.genai", "claude_agent_sdk", "ag2", "xllamacpp"}
    assert _loaded_by(code, vendors) == "[]"


@pytest.mark.parametrize("name", ["ollama", "codex", "gemini_cli"])
def test_a_backend_stands_in_its_files_and_its_row_alone(name: str):
    package = Path(massgen_mcp.__file__).parent
    own = {package / "backends" / "rows", *package.glob(f"backends/{name}*.py")}
    others = [
        path
        for path in package.rglob("*.py")
        if not any(path == part or path.is_relative_to(part) for part in own)
        and f'"{name}"' in path.read_text()
    ]
    assert others == []
