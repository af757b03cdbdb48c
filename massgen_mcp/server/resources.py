"""The `massgen://` resources: runs, teams, backends, strategies, the schema of a team file."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from massgen_mcp.engine import STRATEGIES, available_strategies
from massgen_mcp.errors import MassgenError, RequestRefused
from massgen_mcp.journal import report
from massgen_mcp.runs import Runs
from massgen_mcp.server.looks import records_of, summary_of
from massgen_mcp.server.replies import shown
from massgen_mcp.server.service import Service
from massgen_mcp.server.transcript import final_answer, markdown, transcript_entries

__all__ = ["read_resource"]

_logger = logging.getLogger(__name__)

_SCHEME: Final = "massgen://"
_MARKDOWN = "text/markdown"
_JSON = "application/json"
_NOT_FOUND_2025 = -32002


async def read_resource(ctx: ServerRequestContext[Service, Any], uri: str) -> types.ReadResourceResult:
    """The text of a resource.

    Raises:
        MCPError: there is none at that address, or it can't be read; the words say why.
    """
    service = ctx.lifespan_context
    try:
        runs = await service.runs_of(ctx)
        mime, content = await _read(runs, uri)
    except MassgenError as error:
        modern = ctx.session.protocol_version >= "2026-07-28"
        code = types.INVALID_PARAMS if modern else _NOT_FOUND_2025
        raise MCPError(code, shown(str(error), service.secrets), {"uri": uri}) from error
    except Exception as error:
        # The edge of a resource, like that of a tool: an error of the system names paths of this machine.
        _logger.exception("reading a resource broke")
        words = (
            f"Reading this resource broke: a defect in massgen-mcp ({type(error).__name__}); its log on "
            "stderr has the details."
        )
        raise MCPError(types.INTERNAL_ERROR, words, {"uri": uri}) from error
    if isinstance(content, bytes):
        blob = b64encode(content).decode()
        return types.ReadResourceResult(
            contents=[types.BlobResourceContents(uri=uri, mime_type=mime, blob=blob)]
        )
    contents = types.TextResourceContents(uri=uri, mime_type=mime, text=shown(content, runs.secrets))
    return types.ReadResourceResult(contents=[contents])


async def _read(runs: Runs, uri: str) -> tuple[str, str | bytes]:
    parts = [unquote(part) for part in uri.removeprefix(_SCHEME).split("/")]
    match parts if uri.startswith(_SCHEME) else ():
        case ["backends"]:
            return _JSON, _json(await runs.teams.matrix())
        case ["strategies"]:
            return _MARKDOWN, _strategies()
        case ["schema", "config"]:
            return "application/schema+json", _json(runs.teams.schema())
        case ["teams", name]:
            return "application/yaml", await runs.teams.show(name)
        case ["runs", run_id, "files" | "changes" as kind, *path] if path:
            return await _made(runs, run_id, kind, "/".join(path))
        case ["runs", run_id, *rest]:
            return _MARKDOWN, await _of_run(runs, run_id, rest, uri)
        case _:
            raise _unknown(uri)


async def _made(runs: Runs, run_id: str, kind: str, path: str) -> tuple[str, str | bytes]:
    if kind == "changes":
        return "text/x-diff", await runs.change(run_id, path)
    mime, data = await runs.file(run_id, path)
    try:
        return mime, data.decode("utf-8")
    except UnicodeDecodeError:
        return mime, data


async def _of_run(runs: Runs, run_id: str, rest: Sequence[str], uri: str) -> str:
    match rest:
        case []:
            return report(await summary_of(runs, run_id))
        case ["transcript"]:
            entries = transcript_entries(await records_of(runs, run_id))
            return markdown([{**entry.head, "text": entry.text} for entry in entries])
        case ["answers", label]:
            return await _answer(runs, run_id, label)
        case _:
            raise _unknown(uri)


async def _answer(runs: Runs, run_id: str, label: str) -> str:
    summary = await summary_of(runs, run_id)
    if label == "final" and summary.answer:
        return final_answer(summary)
    for answer in reversed(summary.answers):
        if label in {answer.label, answer.id, answer.agent}:
            return answer.content
    known = [answer.label for answer in summary.answers] + (["final"] if summary.answer else [])
    raise RequestRefused(f"Run {run_id} has no answer {label!r}. It has: {', '.join(known) or 'none'}.")


def _strategies() -> str:
    names = available_strategies()
    lines = [f"- `{name}`: {words}" for name, words in STRATEGIES.items() if name in names]
    return "\n".join(["Give one as `strategy` of ask_team, or in a team file.", "", *lines]) + "\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)


def _unknown(uri: str) -> RequestRefused:
    return RequestRefused(
        f"There is no resource {uri[:200]!r}. There are massgen://runs/RUN_ID (also /transcript, "
        "/answers/LABEL, /files/PATH, /changes/PATH), massgen://teams/NAME, massgen://backends, "
        "massgen://strategies and massgen://schema/config."
    )
