"""Looking at runs: the latest ones, one run's result, and what is in it, in pages."""

from __future__ import annotations

import contextlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import mcp_types as types

from massgen_mcp.errors import RequestRefused, RunNotFound
from massgen_mcp.journal import Record, RunRow, RunSummary, read_intact, summarise
from massgen_mcp.runs import RunResult, Runs
from massgen_mcp.runs.lines import duration
from massgen_mcp.runs.made import PICTURES
from massgen_mcp.runs.result import Detail
from massgen_mcp.server.arguments import GetRun
from massgen_mcp.server.pages import Entry, page
from massgen_mcp.server.replies import data_reply, footer, run_reply
from massgen_mcp.server.transcript import answer_entries, markdown, transcript_entries

__all__ = ["check_look", "latest_runs", "look", "records_of", "reply_of_run", "summary_of"]

_ROWS = 20
_HEADLINE = 100
_CHANGES = "changes/"
"""Before the path of a file of the project, for its diff."""
_MOMENT = re.compile(r"\d{1,12}\.\d{1,12}")
"""The cursor of a list of runs: when the last one of a page began."""
_PICTURES, _MOST_OF_A_PICTURE = 3, 1024 * 1024
"""Of what a run made, as pictures in its reply."""


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


def check_look(given: GetRun) -> GetRun:
    """The same arguments, empty ones taken as absent, once they are known to go together.

    Raises:
        RequestRefused: `run_id` is wanted for what is asked, or `path` or `cursor` stands beside a detail
            that has no such thing.
    """
    given = given.model_copy(update={"path": given.path or None, "cursor": given.cursor or None})
    if given.run_id is None:
        _check_rows(given)
    elif given.path is not None and given.detail not in (None, "files"):
        raise RequestRefused(f'`path` goes with detail="files", not with "{given.detail}".')
    elif given.cursor is not None and given.path is None and given.detail in (None, "summary", "votes"):
        raise RequestRefused("`cursor` goes with the detail answers, files or transcript. Leave it out.")
    return given


def _check_rows(given: GetRun) -> None:
    wanted = {
        "detail": given.detail not in (None, "summary"),
        "path": given.path is not None,
        "wait_seconds": bool(given.wait_seconds),
    }
    if names := [f"`{name}`" for name, is_wanted in wanted.items() if is_wanted]:
        raise RequestRefused(
            f"{' and '.join(names)} needs `run_id`. Call get_run without arguments for the latest runs. "
            "Nothing was spent."
        )


async def latest_runs(runs: Runs, given: GetRun) -> types.CallToolResult:
    """A row each, newest first.

    Raises:
        RequestRefused: the cursor is not one of ours.
    """
    rows = await runs.rows(limit=_ROWS, before=_before(given.cursor))
    data: dict[str, Any] = {"runs": [_row(row) for row in rows]}
    if len(rows) == _ROWS:
        data["cursor"] = repr(rows[-1].started)
    none = (
        "There are no runs yet. ask_team makes one." if given.cursor is None else "There are no older runs."
    )
    text = "\n".join(_line(row) for row in data["runs"]) or none
    return data_reply(data, text, runs.secrets)


async def look(runs: Runs, result: RunResult, given: GetRun) -> types.CallToolResult:
    """One run, in the detail asked for by arguments that `check_look` has let through.

    Raises:
        RequestRefused: a wrong cursor.
    """
    match given.detail:
        case "answers":
            summary = await summary_of(runs, result.run_id)
            return _paged(runs, result, "answers", answer_entries(summary), given.cursor)
        case "transcript":
            entries = transcript_entries(await records_of(runs, result.run_id))
            return _paged(runs, result, "transcript", entries, given.cursor)
        case "votes":
            return await _votes(runs, result)
        case "files" | None if given.path is not None:
            return await _file(runs, result, given.path, given.cursor)
        case "files":
            return _files(runs, result, given.cursor)
        case _:
            return await reply_of_run(runs, result, detail="summary", is_error=result.status == "failed")


async def reply_of_run(
    runs: Runs, result: RunResult, *, detail: Detail, is_error: bool
) -> types.CallToolResult:
    """The reply about a run, with the first pictures that it made."""
    images = await _pictures(runs, result)
    return run_reply(result, runs.secrets, detail=detail, is_error=is_error, images=images)


async def _pictures(runs: Runs, result: RunResult) -> list[types.ImageContent]:
    images: list[types.ImageContent] = []
    for row in result.files:
        if row.mime in PICTURES and row.bytes <= _MOST_OF_A_PICTURE and len(images) < _PICTURES:
            with contextlib.suppress(RunNotFound):  # it is not there any more; the row still says what it was
                mime, data = await runs.file(result.run_id, row.path)
                # By its content: one that is no picture would make the host's next request fail.
                if mime in PICTURES:
                    images.append(_image(mime, data))
    return images


def _image(mime: str, data: bytes) -> types.ImageContent:
    return types.ImageContent(type="image", mime_type=mime, data=b64encode(data).decode())


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
    none = "No vote was cast yet." if _goes_on(result) else "No vote was cast."
    text = "\n".join([*(lines or [none]), "", "---", footer(result)])
    return data_reply(data, text, runs.secrets)


def _goes_on(result: RunResult) -> bool:
    return result.status == "running"


def _files(runs: Runs, result: RunResult, cursor: str | None) -> types.CallToolResult:
    public = result.public()
    rows = [(key, row) for key in ("files", "changes") for row in public.get(key, ())]
    found, following = page([Entry({"in": key, **row}, "") for key, row in rows], cursor)
    data: dict[str, Any] = {"run_id": result.run_id, "status": result.status}
    if not rows:
        data["files"] = []
    for row in found:
        kind = row.pop("in")
        data.setdefault(kind, []).append({key: value for key, value in row.items() if key != "text"})
    made = [
        f"- {row['path']} ({row['mime']}, {row.get('bytes', 0):,} bytes)" for row in data.get("files", ())
    ]
    changed = [
        f"- {_CHANGES}{row['path']}: +{row.get('added', 0)} -{row.get('removed', 0)}"
        for row in data.get("changes", ())
    ]
    parts = [
        "\n".join(["Made:", *made]) if made else "",
        "\n".join(["Changed in the project:", *changed]) if changed else "",
    ]
    call = f'get_run(run_id="{result.run_id}", detail="files", path=...)'
    none = "The run has made no files yet." if _goes_on(result) else "The run made no files."
    text = "\n\n".join(part for part in parts if part) or none
    if made or changed:
        text += f"\n\nOne of these, a diff of what was changed: {call}"
    if following is not None:
        more = f'get_run(run_id="{result.run_id}", detail="files", cursor="{following}")'
        data |= {"cursor": following, "next": more}
        text += f"\n\nThere are more: {more}"
    return data_reply(data, f"{text}\n\n---\n{footer(result)}", runs.secrets)


async def _file(runs: Runs, result: RunResult, path: str, cursor: str | None) -> types.CallToolResult:
    """One file as text, in pages, or image; of a file of the project its diff."""
    head = {"run_id": result.run_id, "status": result.status, "path": path}
    if path.startswith(_CHANGES):
        diff = await runs.change(result.run_id, path.removeprefix(_CHANGES))
        return _text_of_file(runs, head, "diff", diff or "(no text)", cursor)
    mime, data = await runs.file(result.run_id, path)
    if mime in PICTURES:
        reply = data_reply({**head, "mime": mime}, f"{path} ({mime}, {len(data):,} bytes)", runs.secrets)
        return reply.model_copy(update={"content": [*reply.content, _image(mime, data)]})
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        uri = f"massgen://runs/{result.run_id}/files/{quote(path)}"
        words = f"{path} is no text ({mime}, {len(data):,} bytes)."
        if where := next((file.local_path for file in result.files if file.path == path), ""):
            words += f" It lies at {where}."
            head |= {"local_path": where}
        return data_reply({**head, "mime": mime, "uri": uri}, f"{words} Its bytes: {uri}", runs.secrets)
    return _text_of_file(runs, {**head, "mime": mime}, "text", text, cursor)


def _text_of_file(
    runs: Runs, head: Mapping[str, Any], key: str, text: str, cursor: str | None
) -> types.CallToolResult:
    # Redacted as a whole: a secret must not get through in two halves.
    found, following = page([Entry({}, runs.secrets.redact(text))], cursor)
    part = found[0]["text"] if found else ""
    data = {**head, key: part}
    words = part
    if following is not None:
        where = json.dumps(head["path"], ensure_ascii=False)
        call = f'get_run(run_id="{head["run_id"]}", detail="files", path={where}, cursor="{following}")'
        data |= {"cursor": following, "next": call}
        words += f"\n\n[There is more: {call}]"
    return data_reply(data, words, runs.secrets)


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
    nothing = (
        "Nothing more." if cursor is not None else "Nothing yet." if _goes_on(result) else "There are none."
    )
    text = f"{markdown(found) or nothing}{more}\n\n---\n{footer(result)}"
    return data_reply(data, text, runs.secrets)


def _before(cursor: str | None) -> float | None:
    if cursor is None:
        return None
    if not _MOMENT.fullmatch(cursor):
        raise RequestRefused(
            "`cursor` is not one of this list. Leave it out for the first page. Nothing was spent."
        )
    return float(cursor)


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
