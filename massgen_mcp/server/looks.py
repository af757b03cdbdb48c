"""Looking at runs: the latest ones, one run's result, and what is in it, in pages."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import mcp_types as types

from massgen_mcp.errors import RequestRefused
from massgen_mcp.journal import Record, RunRow, RunSummary, read_intact, summarise
from massgen_mcp.runs import RunResult, Runs
from massgen_mcp.runs.lines import duration
from massgen_mcp.server.arguments import GetRun
from massgen_mcp.server.pages import Entry, page
from massgen_mcp.server.replies import data_reply, footer, run_reply
from massgen_mcp.server.transcript import answer_entries, markdown, transcript_entries

__all__ = ["latest_runs", "look", "records_of", "summary_of"]

_ROWS = 20
_HEADLINE = 100
_CHANGES = "changes/"
"""Before the path of a file of the project, for its diff."""
_OF_FILES = frozenset({"answer", "status", "run_id", "files", "changes"})


async def records_of(runs: Runs, run_id: str) -> Sequence[Record]:
    """A run's records, as far as they can be read.

    Raises:
        RunNotFound: there is no such run.
        JournalError: none can be read.
    """
    records, _ = await read_intact(await runs.journal_of(run_id), run_id)
    return records


async def summary_of(runs: Runs, run_id: str) -> RunSummary:
    """What a run has come to. Raises as `records_of` does."""
    row = await (await runs.journal_of(run_id)).row(run_id)
    return summarise(await records_of(runs, run_id), state=row.state)


async def latest_runs(runs: Runs, given: GetRun) -> types.CallToolResult:
    """A row each, newest first.

    Raises:
        RequestRefused: more was asked for than rows, or the cursor is not one of ours.
    """
    if given.detail not in (None, "summary"):
        raise RequestRefused(
            "`detail` needs `run_id`. Call get_run without arguments for the latest runs. Nothing was spent."
        )
    rows = await runs.rows(limit=_ROWS, before=_before(given.cursor))
    data: dict[str, Any] = {"runs": [_row(row) for row in rows]}
    if len(rows) == _ROWS:
        data["cursor"] = repr(rows[-1].started)
    text = "\n".join(_line(row) for row in data["runs"]) or "There are no runs yet. ask_team makes one."
    return data_reply(data, text, runs.secrets)


async def look(runs: Runs, result: RunResult, given: GetRun) -> types.CallToolResult:
    """One run, in the detail asked for."""
    match given.detail:
        case "answers":
            summary = await summary_of(runs, result.run_id)
            return _paged(runs, result, "answers", answer_entries(summary), given.cursor)
        case "transcript":
            entries = transcript_entries(await records_of(runs, result.run_id))
            return _paged(runs, result, "transcript", entries, given.cursor)
        case "votes":
            return await _votes(runs, result)
        case "files" if given.path is not None:
            return await _file(runs, result, given.path)
        case "files":
            return _files(runs, result)
        case _:
            return run_reply(result, runs.secrets, detail="summary", is_error=result.status == "failed")


async def _votes(runs: Runs, result: RunResult) -> types.CallToolResult:
    data = result.public("votes")
    if "ballot" not in data:
        # Not over yet, or cut off: what the newest ballot has so far.
        summary = await summary_of(runs, result.run_id)
        last = max((vote.ballot for vote in summary.votes), default=0)
        votes = [vote for vote in summary.votes if vote.ballot == last]
        data["ballot"] = [
            {"voter": vote.agent, "chose": vote.answer.rpartition(".")[0], "reason": vote.reason}
            for vote in votes
        ]
    lines = [
        f"- {vote['voter']} chose {vote['chose']}" + (f": {vote['reason']}" if vote.get("reason") else "")
        for vote in data["ballot"]
    ]
    text = "\n".join([*(lines or ["No vote was cast."]), "", "---", footer(result)])
    return data_reply(data, text, runs.secrets)


def _files(runs: Runs, result: RunResult) -> types.CallToolResult:
    data = {key: value for key, value in result.public().items() if key in _OF_FILES}
    made = [f"- {file.path} ({file.mime}, {file.bytes:,} bytes)" for file in result.files]
    changed = [f"- {_CHANGES}{change.path}: +{change.added} -{change.removed}" for change in result.changes]
    parts = [
        "\n".join(["Made:", *made]) if made else "",
        "\n".join(["Changed in the project:", *changed]) if changed else "",
    ]
    call = f'get_run(run_id="{result.run_id}", detail="files", path=...)'
    text = "\n\n".join(part for part in parts if part) or "The run made no files."
    if made or changed:
        text += f"\n\nOne of these, a diff of what was changed: {call}"
    return data_reply(data, text, runs.secrets)


async def _file(runs: Runs, result: RunResult, path: str) -> types.CallToolResult:
    """One file as text or image; of a file of the project its diff."""
    head = {"run_id": result.run_id, "status": result.status, "path": path}
    if path.startswith(_CHANGES):
        diff = await runs.change(result.run_id, path.removeprefix(_CHANGES))
        return data_reply({**head, "diff": diff}, diff or "(no text)", runs.secrets)
    mime, data = await runs.file(result.run_id, path)
    if mime.startswith("image/"):
        image = types.ImageContent(type="image", mime_type=mime, data=b64encode(data).decode())
        reply = data_reply({**head, "mime": mime}, f"{path} ({mime}, {len(data):,} bytes)", runs.secrets)
        return reply.model_copy(update={"content": [*reply.content, image]})
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        where = next((file.local_path for file in result.files if file.path == path), "")
        words = f"{path} is no text ({mime}, {len(data):,} bytes). It lies at {where}."
        return data_reply({**head, "mime": mime, "local_path": where}, words, runs.secrets)
    return data_reply({**head, "mime": mime, "text": text}, text, runs.secrets)


def _paged(
    runs: Runs, result: RunResult, name: str, entries: Sequence[Entry], cursor: str | None
) -> types.CallToolResult:
    found, following = page(entries, cursor)
    data: dict[str, Any] = {"run_id": result.run_id, "status": result.status, name: found}
    more = ""
    if following is not None:
        call = f'get_run(run_id="{result.run_id}", detail="{name}", cursor="{following}")'
        data |= {"cursor": following, "next": call}
        more = f"\n\nThere is more: {call}"
    text = f"{markdown(found) or 'Nothing yet.'}{more}\n\n---\n{footer(result)}"
    return data_reply(data, text, runs.secrets)


def _before(cursor: str | None) -> float | None:
    try:
        return None if cursor is None else float(cursor)
    except ValueError:
        raise RequestRefused(
            "`cursor` is not one of this list. Leave it out for the first page. Nothing was spent."
        ) from None


def _row(row: RunRow) -> dict[str, Any]:
    started = datetime.fromtimestamp(row.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    data = {
        "run_id": row.run_id,
        "status": row.state,
        "team": row.team,
        "question": row.question[:_HEADLINE],
        "started": started,
    }
    return data if row.ended is None else data | {"seconds": round(row.ended - row.started, 1)}


def _line(row: Mapping[str, Any]) -> str:
    took = f", {duration(row['seconds'])}" if "seconds" in row else ""
    return f"- `{row['run_id']}` {row['status']}, {row['team']}, {row['started']}{took}: {row['question']}"
