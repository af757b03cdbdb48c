"""`massgen-mcp backends`: what could answer on this machine, what could not and why."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from rich.text import Text

from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.consoles import tell
from massgen_mcp.cli.streams import say, say_json
from massgen_mcp.cli.tables import show_table, table
from massgen_mcp.cli.world import MakeRuns, within_runs
from massgen_mcp.runs import Runs
from massgen_mcp.runs.lines import money
from massgen_mcp.text import visible

__all__ = ["run"]

Row: TypeAlias = Mapping[str, Any]

_REMEDIES = (
    "Set a key (`massgen-mcp backends openrouter` names one, whose account reaches many models), start "
    "Ollama or LM Studio with a model loaded, or log in with `claude`. `massgen-mcp doctor` says more."
)


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Show backends and teams, or one backend whole.

    Raises:
        RequestRefused: there is no such backend.
    """

    async def work(runs: Runs) -> int:
        found: Row = runs.secrets.redact_value(await runs.catalogue(args.backend, args.task))
        if args.json:
            say_json(sys.stdout, found)
        elif args.backend:
            for row in found["backends"]:
                _one(row, environ)
        else:
            _all(found, environ)
        return ExitCode.ANSWER

    return within_runs(work, make_runs=make_runs, environ=environ, config_dirs=args.config_dirs)


def _all(found: Row, environ: Mapping[str, str]) -> None:
    backends = table("Backend", "Ready", "Model", "What it can do, or why it is not ready", wrap_last=True)
    for row in found["backends"]:
        models = ", ".join(row.get("models", ())) or row.get("model", "")
        about = row.get("why") or ", ".join(row.get("can", {}))
        backends.add_row(*_cells(row["backend"], _yes(row), models, about))
    show_table(backends, environ)
    if found.get("teams"):
        say(sys.stdout, "")
        teams = table("Team", "Ready", "A question costs", "Members, or why it is not ready", wrap_last=True)
        for row in found["teams"]:
            about = row.get("why") or ", ".join(row.get("members", ()))
            teams.add_row(*_cells(row["name"], _yes(row), _about(row.get("expected_usd")), about))
        show_table(teams, environ)
    say(sys.stdout, "")
    for line in _notes(found):
        tell(sys.stdout, line, environ)


def _notes(found: Row) -> Iterable[str]:
    default: Row = found.get("default_team", {})
    if "members" in default:
        cost = _about(default.get("expected_usd"))
        yield (
            f"Without --team these answer: {', '.join(default['members'])} ({default['why']})"
            + (f", {cost} a question." if cost else ".")
        )
    elif "name" in default:
        yield f"Without --team the team {default['name']} answers ({default['why']})."
    elif default:
        yield "Without --team the demo model answers, which is not for use: nothing else is configured."
        yield _REMEDIES
    if "found_not_trusted" in found:
        untrusted = found["found_not_trusted"]
        yield f"Found, not trusted: {untrusted['folder']} ({untrusted['to_trust']})"
    if found.get("spent_today_usd"):
        yield f"Spent today (UTC): {money(found['spent_today_usd'])}"
    if "sandbox" in found:
        yield f"Sandbox: {found['sandbox']}"
    if "journal" in found:
        yield f"Journal: {found['journal']}"
    yield from found.get("notes", ())
    yield "massgen-mcp backends NAME shows one backend whole."


def _one(row: Row, environ: Mapping[str, str]) -> None:
    facts = {
        "Backend": " ".join(filter(None, [row["backend"], f"({row['title']})" if row.get("title") else ""])),
        "Ready": _yes(row) + (f": {row['why']}" if row.get("why") else ""),
        "Remedy": row.get("remedy", ""),
        "Key": row.get("key", ""),
        "Default model": row.get("default_model", ""),
        "Loaded": ", ".join(row.get("loaded", ())),
        "Loaded on demand": ", ".join(row.get("loaded_on_demand", ())),
        "Flags": ", ".join(row.get("flags", ())),
        "Setup": row.get("setup", ""),
    }
    for name, value in facts.items():
        if value:
            tell(sys.stdout, f"{name}: {value}", environ)
    if row.get("can"):
        _capabilities(row, environ)
    if row.get("models"):
        _models(row["models"], environ)


def _capabilities(row: Row, environ: Mapping[str, str]) -> None:
    say(sys.stdout, "")
    made = table("Capability", "Support", "Note", wrap_last=True)
    for name, support in row["can"].items():
        made.add_row(*_cells(name, support, row.get("notes", {}).get(name, "")))
    show_table(made, environ)


def _models(models: Iterable[Row], environ: Mapping[str, str]) -> None:
    say(sys.stdout, "")
    made = table("Model", "$/M in", "$/M out", "Context", "Retires", wrap_last=True)
    for model in models:
        price: Row = model.get("usd_per_million", {})
        retires = model.get("retires", "")
        if retires and model.get("successor"):
            retires += f", then {model['successor']}"
        made.add_row(
            *_cells(
                model["name"],
                f"{price['input']:g}" if price else "",
                f"{price['output']:g}" if price else "",
                f"{model['context']:,}" if "context" in model else "",
                retires,
            )
        )
    show_table(made, environ)


def _cells(*texts: str) -> Iterable[Text]:
    return (Text(visible(text)) for text in texts)


def _yes(row: Row) -> str:
    return "yes" if row.get("ready") else "no"


def _about(usd: float | None) -> str:
    cost = money(usd)
    return f"about {cost}" if cost.startswith("$") else cost
