"""The registry says what the two guides say, where the decisions on their disagreements don't."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

import massgen_mcp
from massgen_mcp.backends.info import Capability, Direction, Support
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
    "cerebras": "-MMTTTMMM",
    "together": "-MMTTTMMM",
    "fireworks": "-MMTTTMMM",
    "groq": "-MMTTTMMM",
    "moonshot": "-MMTTTMMM",
    "nebius": "-MMTTTMMM",
    "poe": "-MMTTTMMM",
    "local": "---------",
}

# image, audio, video: understood, made, or both
DIRECTIONS = {
    "openai": "***",
    "claude": "u**",
    "claude_code": "u**",
    "gemini": "u**",
    "grok": "u**",
    "azure_openai": "*  ",
    "zai": "***",
    "chatcompletion": "***",
    "lmstudio": "***",
    "inference": "***",
    "ag2": "   ",
    "codex": "u  ",
    "gemini_cli": "   ",
}

# The flag that a backend has natively, the ones taken for another, and the ones refused: `+`, `=`, `-`.
# web search, code execution, code interpreter
FLAGS = {
    "claude": "++=",
    "claude_code": "++=",
    "gemini": "++=",
    "openai": "+=+",
    "grok": "++=",
    "azure_openai": "+=+",
    "zai": "---",
    "chatcompletion": "---",
    "openrouter": "+--",
    "cerebras": "---",
    "lmstudio": "---",
    "ollama": "---",
    "inference": "---",
    "vllm": "---",
    "sglang": "---",
    "ag2": "---",
    "local": "---",
}

PLACES = {
    "openai": ("OPENAI_API_KEY", "https://api.openai.com/v1"),
    "claude": ("ANTHROPIC_API_KEY", "https://api.anthropic.com"),
    "claude_code": ("CLAUDE_CODE_API_KEY ANTHROPIC_API_KEY", None),
    "gemini": ("GOOGLE_API_KEY GEMINI_API_KEY", "https://generativelanguage.googleapis.com"),
    "grok": ("XAI_API_KEY", "https://api.x.ai/v1"),
    "azure_openai": ("AZURE_OPENAI_API_KEY", None),
    "zai": ("ZAI_API_KEY", "https://api.z.ai/api/paas/v4/"),
    "cerebras": ("CEREBRAS_API_KEY", "https://api.cerebras.ai/v1"),
    "together": ("TOGETHER_API_KEY", "https://api.together.xyz/v1"),
    "fireworks": ("FIREWORKS_API_KEY", "https://api.fireworks.ai/inference/v1"),
    "groq": ("GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    "openrouter": ("OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
    "moonshot": ("MOONSHOT_API_KEY KIMI_API_KEY", "https://api.moonshot.cn/v1"),
    "nebius": ("NEBIUS_API_KEY", "https://api.studio.nebius.com/v1"),
    "poe": ("POE_API_KEY", "https://api.poe.com/v1"),
    "lmstudio": ("", "http://localhost:1234/v1"),
    "ollama": ("", "http://localhost:11434/v1"),
    "vllm": ("VLLM_API_KEY", "http://localhost:8000/v1"),
    "sglang": ("SGLANG_API_KEY", "http://localhost:30000/v1"),
    "chatcompletion": ("", None),
    "inference": ("", None),
}

# Of the vendors' tables: the guides' own models, and the day they are gone.
GONE = {
    "openai": {
        "gpt-5": "2026-12-11",
        "gpt-5-mini": "2026-12-11",
        "gpt-5-nano": "2026-12-11",
        "gpt-4": "2026-10-23",
        "gpt-4-turbo": "2026-10-23",
        "gpt-3.5-turbo": "2026-10-23",
        "gpt-4o": "2027-01-14",
        "gpt-4.1": "2027-01-14",
        "o1": "2026-10-23",
        "o4-mini": "2026-10-23",
    },
    "claude": {
        "claude-sonnet-4-20250514": "2026-06-15",
        "claude-opus-4-20250514": "2026-06-15",
        "claude-sonnet-4-5-20250929": "2026-11-30",
    },
    "gemini": {"gemini-2.5-flash": "2026-12-01", "gemini-2.5-pro": "2026-12-01"},
    "grok": {
        "grok-3": "2026-05-15",
        "grok-3-mini": "2026-05-15",
        "grok-4": "2026-05-15",
        "grok-4-fast": "2026-05-15",
    },
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
    assert sorted(MATRIX) == sorted(TYPES)


@pytest.mark.parametrize("kind", MATRIX)
def test_the_matrix_is_that_of_the_guides(kind: str) -> None:
    row = BACKENDS[kind]
    assert [row.support[column].support for column in COLUMNS] == [LETTERS[letter] for letter in MATRIX[kind]]


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_a_cell_of_pictures_sound_and_video_says_which_way(kind: str) -> None:
    letters = {Direction.BOTH: "*", Direction.UNDERSTAND: "u", Direction.GENERATE: "g", None: " "}
    row = BACKENDS[kind]
    found = [letters[row.support[column].direction] for column in COLUMNS[3:6]]
    assert "".join(found) == DIRECTIONS[kind]


@pytest.mark.parametrize("kind", FLAGS)
def test_the_flags_are_those_of_the_guides(kind: str) -> None:
    row = BACKENDS[kind]
    flags = ("enable_web_search", "enable_code_execution", "enable_code_interpreter")
    found = ["+" if flag in row.flags else "=" if flag in row.flag_aliases else "-" for flag in flags]
    assert "".join(found) == FLAGS[kind]


@pytest.mark.parametrize("kind", PLACES)
def test_variables_addresses_and_ports_are_those_of_the_guides(kind: str) -> None:
    row = BACKENDS[kind]
    assert (" ".join(row.env), row.base_url) == PLACES[kind]


def test_the_guides_models_retire_on_the_vendors_days() -> None:
    for kind, days in GONE.items():
        known = {model.name: model.retires for model in BACKENDS[kind].models}
        assert {name: str(known[name]) for name in days} == days


def test_one_model_has_one_end_in_all_rows_of_its_vendor() -> None:
    ends: dict[tuple[str, str], set[tuple[date | None, str]]] = {}
    for row in BACKENDS.values():
        for model in row.models:
            ends.setdefault((row.vendor, model.name), set()).add((model.retires, model.successor))
    assert [name for name, found in ends.items() if len(found) > 1] == []


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
        ("x.ai", "grok"),
        ("azure", "azure_openai"),
        ("Azure-OpenAI", "azure_openai"),
        ("glm", "zai"),
        ("z.ai", "zai"),
        ("claude-code", "claude_code"),
        ("lm-studio", "lmstudio"),
        ("kimi", "moonshot"),
        ("gemni", "gemini"),
        ("opnai", "openai"),
        ("gooogle", "gemini"),
        ("chatgtp", "openai"),
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


LOOK = """
import sys
import massgen_mcp.backends.registry, massgen_mcp.config
heavy = {"pydantic", "yaml", "httpx2"}
vendors = {"openai", "anthropic", "google.genai", "claude_agent_sdk", "ag2", "xllamacpp"}
print(sorted((heavy | vendors) & set(sys.modules)))
from massgen_mcp.backends.registry import BACKENDS, options_class
for row in BACKENDS.values():
    options_class(row)
print(sorted(vendors & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def loaded_modules() -> tuple[str, str]:
    """What a fresh interpreter has loaded: once it knows the rows, and once it knows all their options."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)  # noqa: S603 - this very interpreter, with the words above
    rows, options = done.stdout.splitlines()
    return rows, options


@pytest.mark.no_cover
def test_reading_the_rows_loads_neither_pydantic_nor_a_vendors_package(
    loaded_modules: tuple[str, str],
) -> None:
    assert loaded_modules[0] == "[]"


@pytest.mark.no_cover
def test_options_load_no_vendors_package(loaded_modules: tuple[str, str]) -> None:
    assert loaded_modules[1] == "[]"


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
