# ruff: noqa: INP001 - beside the pages that it serves, not a package
"""The tables of what the backends can do, made from the registry's rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from docs.words import code, table, variables_as_code
from massgen_mcp.backends.info import BackendInfo, Capability, Cell, Support, Task
from massgen_mcp.backends.registry import LEGEND, public_backends

__all__ = ["SYMBOLS", "guide", "legend", "matrix", "models", "names", "retirements", "setup"]

SYMBOLS: Mapping[Support, str] = {
    Support.BUILT_IN: "⭐",
    Support.VIA_MCP: "✅",
    Support.VIA_CUSTOM_TOOL: "🔧",
    Support.NONE: "❌",
    Support.VARIES: "varies",
    Support.LIMITED: "limited",
}
_TASKS: tuple[Task, ...] = ("research", "coding", "analysis", "cheap", "private")


def matrix(_: str, __: str) -> str:
    """What each backend can do, with notes below."""
    notes: dict[str, int] = {}
    head = ["Backend", *(_title(column) for column in Capability)]
    rows = [
        [_named(row), *(_cell(row.support[column], notes) for column in Capability)]
        for row in public_backends()
    ]
    below = "\n".join(f"{number}. {words}" for words, number in notes.items())
    return f"{table(head, rows)}\n{below}\n"


def _title(column: Capability) -> str:
    return "MCP" if column is Capability.MCP else column.value.replace("_", " ").capitalize()


def _named(row: BackendInfo) -> str:
    return f"`{row.type}`" + ("" if row.executes else " (not yet)")


def _cell(cell: Cell, notes: dict[str, int]) -> str:
    words = [f"with `{cell.key}`" if cell.key else "", variables_as_code(cell.note)]
    note = "; ".join(filter(None, words))
    number = f" ({notes.setdefault(note, len(notes) + 1)})" if note else ""
    direction = f" {cell.direction.value}" if cell.direction else ""
    return f"{SYMBOLS[cell.support]}{direction}{number}"


def legend(_: str, __: str) -> str:
    """What the symbols of the matrix mean."""
    lines: list[str] = []
    for support, words in LEGEND.items():
        symbol = SYMBOLS[support]
        lines.append(f"- {words}" if words.lower().startswith(symbol) else f"- {symbol} {words}")
    return "\n".join(lines)


def setup(_: str, __: str) -> str:
    """Keys, flags, default model and address of each backend, and how to make it ready."""
    rows = [
        [
            _named(row),
            row.title,
            " or ".join(f"`{name}`" for name in row.env) or "none",
            _flags(row),
            f"`{row.default_model}`" if row.default_model else "",
            f"`{row.base_url}`" if row.base_url else "",
            variables_as_code(row.setup),
        ]
        for row in public_backends()
    ]
    head = ["Backend", "Name", "Key", "Built-in tools", "Default model", "Address", "Setup"]
    return table(head, rows)


def _flags(row: BackendInfo) -> str:
    also = {native: alias for alias, native in row.flag_aliases.items()}
    return ", ".join(f"`{flag}`" + (f" (or `{also[flag]}`)" if flag in also else "") for flag in row.flags)


def models(_: str, __: str) -> str:
    """The models that are known and not about to go."""
    rows = [
        [f"`{row.type}`", code(model.name for model in row.models if model.retires is None)]
        for row in public_backends()
        if row.models
    ]
    return table(["Backend", "Models"], rows)


def retirements(_: str, __: str) -> str:
    """The models whose provider has said when it stops serving them."""
    found = sorted(
        (model.retires, row.rank, row.type, model.name, model.successor)
        for row in public_backends()
        for model in row.models
        if model.retires is not None
    )
    rows = [
        [f"{day:%Y-%m-%d}", f"`{kind}`", f"`{name}`", f"`{successor}`" if successor else ""]
        for day, _rank, kind, name, successor in found
    ]
    return table(["Until", "Backend", "Model", "Use instead"], rows)


def names(_: str, __: str) -> str:
    """Names people use for models, and what is sent."""
    rows = [
        [f"`{row.type}`", f"`{name}`", f"`{exact}`"]
        for row in public_backends()
        for name, exact in row.aliases.items()
    ]
    return table(["Backend", "Written", "Sent"], rows)


def guide(_: str, __: str) -> str:
    """Which backend and model for which task."""
    return table(["Task", "Best first"], [[task, "; ".join(_ranked(task))] for task in _TASKS])


def _ranked(task: Task) -> Iterator[str]:
    ranks = sorted(
        (model.tasks[task], row.rank, row.type, model.name)
        for row in public_backends()
        for model in row.models
        if task in model.tasks and model.retires is None
    )
    for place, (_, _rank, kind, name) in enumerate(ranks, 1):
        yield f"{place}. `{kind}` with `{name}`"
