"""docs/backends.md says what MassGen's two documents say, cell by cell, or there is a reason here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from massgen_mcp.backends.info import Capability
from tests.docs.guides import FLAGS, GUIDE, KEYS, PROVIDERS, QUICK, SELECTION, SETUP_KEYS
from tests.docs.pages import DOCS, tables

PAGE = (DOCS / "backends.md").read_text(encoding="utf-8")

Cells: TypeAlias = dict[tuple[str, str], tuple[str, str]]
"""(backend, column) -> (theirs, ours)."""
Reasons: TypeAlias = Mapping[tuple[str, str], tuple[str, str, str]]
"""The same, with why ours is another."""

_SEES = "its API takes pictures"
_AZURE = "built-in tools on the v1 API, none on chat deployments"
_SHELL = "code runs through the shell, as S has it"
_MORE = "chat completions have it with some providers"
_GROK = "xAI has code execution now"

GUIDE_DIFFERS: Reasons = {
    ("openai", "Video"): ("⭐ generate", "🔧 both", "OpenAI's video API is shut down; Gemini makes videos"),
    ("claude", "Image"): ("🔧", "⭐ understand", _SEES),
    ("claude_code", "Code execution"): ("❌", "⭐", "its Bash, as S has it"),
    ("claude_code", "Image"): ("🔧", "⭐ understand", _SEES),
    ("gemini", "Image"): ("🔧", "⭐ understand", _SEES),
    ("grok", "Code execution"): ("❌", "⭐", _GROK),
    ("grok", "Image"): ("🔧", "⭐ understand", _SEES),
    ("azure_openai", "Web search"): ("⭐", "varies", _AZURE),
    ("azure_openai", "Code execution"): ("⭐", "varies", _AZURE),
    ("azure_openai", "Custom tools"): ("❌", "✅", "they are functions, which every deployment takes"),
    ("chatcompletion", "Web search"): ("❌", "varies", f"{_MORE}, as S has it"),
    ("chatcompletion", "Code execution"): ("❌", "varies", f"{_MORE}, as S has it"),
    ("lmstudio", "Code execution"): ("❌", "✅", _SHELL),
    ("inference", "Code execution"): ("❌", "✅", _SHELL),
}
QUICK_DIFFERS: Reasons = {
    ("grok", "Code execution"): ("✅", "⭐", _GROK),
    ("azure_openai", "Web search"): ("❌", "varies", _AZURE),
    ("azure_openai", "Code execution"): ("❌", "varies", _AZURE),
    ("azure_openai", "Filesystem"): ("❌", "✅", "file tools are functions; B has them too"),
    ("azure_openai", "MCP"): ("❌", "✅", "MCP tools are functions; B has them too"),
    ("lmstudio", "MCP"): ("limited", "✅", "MCP tools are functions; B has them too"),
    ("ag2", "Web search"): ("varies", "❌", "as B has it: not ours to switch on"),
    ("ag2", "Filesystem"): ("varies", "❌", "as B has it: not ours to give"),
}
_BOTH_NAMES = "two names of one switch; B writes this one too"
FLAGS_DIFFER: Reasons = {
    ("claude", "enable_code_interpreter"): ("❌", "✅", _BOTH_NAMES),
    ("claude_code", "enable_web_search"): ("N/A", "✅", "taken: what it has is native"),
    ("claude_code", "enable_code_execution"): ("N/A", "✅", "taken: what it has is native"),
    ("claude_code", "enable_code_interpreter"): ("N/A", "✅", "taken: what it has is native"),
    ("gemini", "enable_code_interpreter"): ("❌", "✅", _BOTH_NAMES),
    ("openai", "enable_code_execution"): ("❌", "✅", _BOTH_NAMES),
    ("grok", "enable_code_execution"): ("❌", "✅", _GROK),
    ("grok", "enable_code_interpreter"): ("❌", "✅", _GROK),
    ("azure_openai", "enable_web_search"): ("❌", "✅", _AZURE),
    ("azure_openai", "enable_code_execution"): ("❌", "✅", _AZURE),
    ("azure_openai", "enable_code_interpreter"): ("❌", "✅", _AZURE),
    ("chatcompletion", "enable_web_search"): ("Varies", "❌", "by the provider's own row: openrouter has it"),
    ("chatcompletion", "enable_code_execution"): ("Varies", "❌", "no provider of chat completions has it"),
    ("chatcompletion", "enable_code_interpreter"): ("Varies", "❌", "no provider of chat completions has it"),
    ("ag2", "enable_web_search"): ("N/A", "❌", "it has none"),
    ("ag2", "enable_code_execution"): ("N/A", "❌", "its code_execution_config does that"),
    ("ag2", "enable_code_interpreter"): ("N/A", "❌", "its code_execution_config does that"),
}
PROVIDERS_DIFFER: Reasons = {
    ("nebius", "Address"): ("Provider-specific", "https://api.studio.nebius.com/v1", "it has one"),
    ("poe", "Address"): ("Platform-specific", "https://api.poe.com/v1", "it has one"),
    ("poe", "Key"): ("Platform credentials", "POE_API_KEY", "it has one"),
}


def _written(column: str) -> dict[str, dict[str, str]]:
    """The table that has this column: backend -> column -> cell, without notes and code marks."""
    head, *rows = next(table for table in tables(PAGE) if column in table[0] and table[0][0] == "Backend")
    return {
        row[0].split("`")[1]: {
            name: re.sub(r" \(\d+\)$", "", cell) for name, cell in zip(head, row, strict=True)
        }
        for row in rows
    }


MATRIX = _written("Web search")
SETUP = _written("Setup")
COLUMNS = list(MATRIX["openai"])[1:]


def _differences(theirs: Mapping[str, Sequence[str]], columns: Sequence[str]) -> Cells:
    found: Cells = {}
    for kind, cells in theirs.items():
        for column, their_cell in zip(columns, cells, strict=True):
            ours = MATRIX[kind][column]
            # Without a direction their cell speaks of the symbol alone.
            if their_cell not in {ours, ours.split(" ")[0]}:
                found[kind, column] = (their_cell, ours)
    return found


def _known(differs: Reasons) -> Cells:
    assert all(why for _, _, why in differs.values())
    return {cell: (theirs, ours) for cell, (theirs, ours, _) in differs.items()}


def test_the_matrix_has_the_guides_columns() -> None:
    assert len(COLUMNS) == len(Capability) == len(GUIDE["openai"])


def test_the_matrix_is_that_of_the_guide_to_backends_but_for_the_cells_listed_here() -> None:
    assert _differences(GUIDE, COLUMNS) == _known(GUIDE_DIFFERS)


def test_the_matrix_is_that_of_the_supported_models_but_for_the_cells_listed_here() -> None:
    columns = ["Web search", "Code execution", "Filesystem", "MCP"]
    assert _differences(QUICK, columns) == _known(QUICK_DIFFERS)


def test_where_both_documents_agree_so_does_the_matrix_unless_the_world_has_changed() -> None:
    columns = {"Web search": 0, "Code execution": 1, "Filesystem": 2, "MCP": 3}
    against_both = {
        (kind, column)
        for kind in GUIDE.keys() & QUICK.keys()
        for column, place in columns.items()
        if GUIDE[kind][COLUMNS.index(column)] == QUICK[kind][place] != MATRIX[kind][column]
    }
    assert against_both == set()


def test_the_switches_are_those_of_the_supported_models_but_for_the_cells_listed_here() -> None:
    names = ["enable_web_search", "enable_code_execution", "enable_code_interpreter"]
    found: Cells = {}
    for kind, cells in FLAGS.items():
        for name, theirs in zip(names, cells, strict=True):
            ours = "✅" if f"`{name}`" in SETUP[kind]["Built-in tools"] else "❌"
            if theirs != ours:
                found[kind, name] = (theirs, ours)
    assert found == _known(FLAGS_DIFFER)


def test_the_providers_have_the_addresses_and_variables_of_the_supported_models() -> None:
    found: Cells = {}
    for kind, (address, variable) in PROVIDERS.items():
        for column, theirs in (("Address", address), ("Key", variable)):
            ours = SETUP[kind][column].split("`")[1]
            if theirs != ours:
                found[kind, column] = (theirs, ours)
    assert found == _known(PROVIDERS_DIFFER)


def test_the_keys_are_those_of_both_documents() -> None:
    ours = {kind: re.findall(r"`(\w+)`", row["Key"]) for kind, row in SETUP.items()}
    assert all(ours[kind][: len(names)] == names for kind, names in KEYS.items())
    assert all(name in ours[kind] for kind, name in SETUP_KEYS.items())


def test_the_selection_guide_begins_as_theirs() -> None:
    rows = {
        row[0]: re.findall(r"\d\. `(\w+)`", row[1])
        for table in tables(PAGE)
        for row in table
        if len(row) == 2
    }
    for task, kinds in SELECTION.items():
        assert rows[task][: len(kinds)] == kinds, task
    assert {task: rows[task][len(kinds) :] for task, kinds in SELECTION.items() if rows[task] != kinds} == {
        "private": ["sglang"],  # as good as vLLM for that
    }
