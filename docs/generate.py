# ruff: noqa: INP001 - a script beside the pages that it writes, not a package
"""Write what the documentation takes from the code: tables between markers, and the variables in server.json.

`python docs/generate.py` renews them, `python docs/generate.py --check` only says whether they are current.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script, maybe in a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from docs import backend_tables, key_tables  # noqa: E402 - after the path is set, as all below
from docs.words import table  # noqa: E402
from massgen_mcp import __version__  # noqa: E402
from massgen_mcp.backends.registry import public_backends  # noqa: E402
from massgen_mcp.config.variables import AZURE_ENDPOINT, AZURE_VERSION  # noqa: E402
from massgen_mcp.server.snapshot import SNAPSHOT  # noqa: E402

__all__ = ["main", "renewed", "server_json"]

PAGES = tuple(ROOT / "docs" / name for name in ("backends.md", "configuration.md", "tools.md"))
SERVER = ROOT / "server.json"

_PART = re.compile(
    r"(?P<head><!-- generated: (?P<name>\w+) ?(?P<argument>\w*) -->\n)(?P<body>.*?)(?P<tail><!-- end -->)",
    re.DOTALL,
)
_WORDLESS = re.compile(r"^\| (`\w+`) \|.*\|  \|$", re.MULTILINE)


def renewed(text: str) -> str:
    """A page with every part between markers as the code has it now."""

    def part(match: re.Match[str]) -> str:
        body = _PARTS[match["name"]](match["argument"], match["body"])
        return f"{match['head']}\n{body.strip()}\n\n{match['tail']}"

    return _PART.sub(part, text)


def _tool(name: str, _: str) -> str:
    """A tool as its caller is shown it."""
    tool = next(tool for tool in json.loads(SNAPSHOT.read_text(encoding="utf-8")) if tool["name"] == name)
    schema = tool["inputSchema"]
    rows = [
        [
            f"`{key}`" + (" (required)" if key in schema.get("required", ()) else ""),
            _argument(value),
            value.get("description", ""),
        ]
        for key, value in schema["properties"].items()
    ]
    quoted = "\n".join(f"> {line}".rstrip() for line in tool["description"].splitlines())
    hints = ", ".join(f"`{hint}: {json.dumps(value)}`" for hint, value in tool["annotations"].items())
    return f"{quoted}\n\n{table(['argument', 'value', 'meaning'], rows)}\nAnnotations: {hints}.\n"


def _argument(schema: Mapping[str, Any]) -> str:
    match schema:
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"type": "object", "properties": properties}:
            return "object of " + ", ".join(f"`{key}`" for key in properties)
        case {"type": "array", "items": {"anyOf": [*_]}}:
            return "list of strings or objects"
        case {"type": "array"}:
            return "list of strings"
        case _:
            return str(schema["type"])


_PARTS: Mapping[str, Callable[[str, str], str]] = {
    "keys": key_tables.keys,
    "backend_keys": key_tables.backend_keys,
    "ignored": key_tables.ignored,
    "matrix": backend_tables.matrix,
    "legend": backend_tables.legend,
    "setup": backend_tables.setup,
    "models": backend_tables.models,
    "retirements": backend_tables.retirements,
    "names": backend_tables.names,
    "guide": backend_tables.guide,
    "tool": _tool,
}
"""Name in a marker -> what it stands for, from the marker's argument and the part as it is in the page."""


def server_json(text: str) -> str:
    """server.json with this version, and the variables of the backends that can run."""
    server = json.loads(text)
    server["version"] = __version__
    for package in server["packages"]:
        package["version"] = __version__
        own = [entry for entry in package["environmentVariables"] if entry["name"].startswith("MASSGEN_MCP_")]
        package["environmentVariables"] = [*_variables(), *own]
    return _one_line_each(json.dumps(server, indent=2, ensure_ascii=False)) + "\n"


def _variables() -> Iterator[dict[str, Any]]:
    uses: dict[str, list[str]] = {}
    for row in public_backends():
        for name in row.env if row.executes else ():
            uses.setdefault(name, []).append(row.type)
    for name, kinds in uses.items():
        *others, last = kinds
        words = (
            f"Key of the backends {', '.join(others)} and {last}" if others else f"Key of the backend {last}"
        )
        yield {"name": name, "description": words, "isRequired": False, "isSecret": True}
        if "azure_openai" in kinds:
            for other, words in (
                (AZURE_ENDPOINT, "Address of the Azure OpenAI resource"),
                (AZURE_VERSION, "API version of the Azure OpenAI resource"),
            ):
                yield {"name": other, "description": words, "isRequired": False, "isSecret": False}


def _one_line_each(text: str) -> str:
    """Innermost objects on a line of their own: a change of one variable is a change of one line."""
    inner = re.compile(r"\{\n(\s+\"[^{}\[\]]*?)\n\s+\}")
    return inner.sub(lambda match: "{ " + " ".join(match.group(1).split()) + " }", text)


def main(arguments: Sequence[str]) -> int:
    """Renew what is generated, or with `--check` only compare.

    Returns 1 when something is not current, or a key has no words about it.
    """
    check, bad = "--check" in arguments, False
    for path in (*PAGES, SERVER):
        old = path.read_text(encoding="utf-8")
        new = server_json(old) if path == SERVER else renewed(old)
        name = path.relative_to(ROOT)
        if wordless := _WORDLESS.findall(new):
            bad = True
            sys.stderr.write(f"{name}: say in the last column what these mean: {', '.join(wordless)}\n")
        if old != new:
            bad = bad or check
            sys.stderr.write(f"{name}: {'not current, run make snapshots' if check else 'renewed'}\n")
            if not check:
                path.write_text(new, encoding="utf-8")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
