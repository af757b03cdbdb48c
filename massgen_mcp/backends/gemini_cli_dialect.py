"""How Gemini CLI is set up, told and read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio.to_thread

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.bridge import NAME
from massgen_mcp.backends.cli_events import count, fields, logged, text
from massgen_mcp.backends.cli_place import Place
from massgen_mcp.backends.cli_runtime import Heard
from massgen_mcp.backends.gemini_cli import Options
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, ObservedCall, TextDelta
from massgen_mcp.usage import Usage

__all__ = ["GeminiDialect"]

_OFF = (
    # Its shell would have the network that the program itself needs.
    "run_shell_command",
    "list_background_processes",
    "read_background_output",
    "web_fetch",
    "invoke_agent",
    "activate_skill",
    "enter_plan_mode",
    "ask_user",
    "save_memory",
)
_SEARCH = "google_web_search"
_SEPARATED = "\N{WORD JOINER}"
"""Seen by nobody: what follows is no path or command any more."""
_MOST_NAMES = 2_000
_OURS = f"mcp_{NAME}_"
_STATUSES = {status % 256: status for status in (400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504)}
"""Its exit code is the status of the failed request, as far as an exit code goes."""
_STATUS = re.compile(r'"code": ?(\d{3})\b|\b(?:status|code): (\d{3})\b')
_OLD = re.compile(r"unknown arguments?:", re.IGNORECASE)
_BROKEN = re.compile(r"fetch failed|ECONNRESET|socket hang up|terminated|Premature close", re.IGNORECASE)
_UNREACHED = re.compile(r"ECONNREFUSED|ENOTFOUND|EAI_AGAIN", re.IGNORECASE)


class GeminiDialect:
    """Gemini CLI, set up for one agent.

    Its project is a folder that nobody can write to, and the workspace a folder beside it: it reads settings
    from its project, and what an agent can write must never become a setting.
    """

    def __init__(self, options: Options, place: Place, account: Account, *, bridge: Sequence[str]) -> None:
        self._options = options
        self._place = place
        self._account = account
        self._bridge = bridge
        self._home = place.home / ".gemini"
        self.cwd = place.fixed / "project"

    def arguments(self, session: str | None, images: Sequence[Path]) -> Sequence[str]:
        """Arguments for a turn."""
        del images  # it has no way to be shown one
        which = ("--session-id", str(uuid4())) if session is None else ("--resume", session)
        seen = [word for folder in self._folders for word in ("--include-directories", str(folder))]
        ask = ("--approval-mode", "yolo", "--skip-trust")
        return ("--output-format", "stream-json", "--model", self._account.model, *ask, *seen, *which)

    def environ(self) -> Mapping[str, str]:
        """Its key and where it asks."""
        given = self._options.base_url is not None
        address = {"GOOGLE_GEMINI_BASE_URL": self._account.base_url} if given else {}
        return {
            "GEMINI_API_KEY": self._account.key,
            "GEMINI_CLI_HOME": str(self._place.home),
            "GEMINI_CLI_NO_RELAUNCH": "true",
            **address,
        }

    @property
    def _folders(self) -> list[Path]:
        """What its tools may look at beside its project."""
        return [self._place.workspace, *(path for path in self._place.readable if path.is_dir())]

    def prompt(self, texts: Sequence[str]) -> str:
        """What the user says, as text alone: not as a command, and without the files it may name."""
        names = [name for folder in (*self._folders, self.cwd) for name in _names_in(folder)]
        said = _literal("\n\n".join(texts), names)
        return f"{_SEPARATED}{said}" if said.startswith("/") else said

    async def prepare(self, system: str) -> None:
        """Write its settings, and what it is told for good."""
        where = f"Your workspace is {self._place.workspace}: name files there by their full path."
        parts = (self._options.system_prompt or "", system, where)
        await self._place.write(self._home / "GEMINI.md", "\n\n".join(part for part in parts if part))
        # It looks for one from its project upwards; this ends the search.
        await self._place.write(self.cwd / ".gemini" / ".env", "")
        await self._place.write(self._home / "settings.json", json.dumps(self._settings()))

    def _settings(self) -> dict[str, Any]:
        off = _OFF if self._options.enable_web_search else (*_OFF, _SEARCH)
        return {
            "general": {
                "enableAutoUpdate": False,
                "enableAutoUpdateNotification": False,
                "maxAttempts": 1,
                "retryFetchErrors": False,
            },
            "privacy": {"usageStatisticsEnabled": False},
            "telemetry": {"enabled": False},
            "security": {
                "auth": {"selectedType": "gemini-api-key"},
                "folderTrust": {"enabled": False},
            },
            "skills": {"enabled": False},
            "hooksConfig": {"enabled": False},
            "context": {"fileFiltering": {"enableRecursiveFileSearch": False}},
            "tools": {"exclude": list(off)},
            "mcp": {"allowed": [NAME]},
            "mcpServers": {
                NAME: {
                    "command": self._bridge[0],
                    "args": list(self._bridge[1:]),
                    "trust": True,
                    "timeout": 86_400_000,
                }
            },
        }

    def read(self, event: Mapping[str, Any], heard: Heard) -> Iterator[Delta]:
        """Take in one event."""
        match event:
            case {"type": "init", "session_id": str(session)}:
                heard.session = session
            case {"type": "message", "role": "assistant", "content": str(said)}:
                heard.text += said
                yield TextDelta(text=said)
            case {"type": "tool_use", "tool_name": str(name)}:
                heard.text = ""
                if not name.startswith(_OURS):
                    yield ObservedCall(name=name, detail=_first(event.get("parameters")))
            case {"type": "error", "message": str(words)}:
                heard.warnings.append(f"Gemini CLI: {words}")
            case {"type": "result"}:
                heard.done = True
                self._end(event, heard)
            case _:
                pass

    def _end(self, event: Mapping[str, Any], heard: Heard) -> None:
        stats = fields(event.get("stats"))
        heard.usage = _usage(stats, "input_tokens", "output_tokens")
        models = list(fields(stats.get("models")))
        heard.model = models[0] if len(models) == 1 else ""
        if event.get("status") != "success":
            heard.failed = text(fields(event.get("error")).get("message")) or "it does not say why"

    def failure(self, words: str, errors: str, code: int | None) -> BackendError:
        """What Gemini CLI says of a failure, as one of ours."""
        failures = self._account.failures
        said = re.sub(r"^\[API Error: (.*?)\]?$", r"\1", words.splitlines()[0] if words else "")
        found = _STATUS.search(words) or _STATUS.search(errors)
        status = int(found[1] or found[2]) if found else _STATUSES.get(code or 0)
        if status is not None:
            return failures.status(status, said)
        if _OLD.search(errors):
            remedy = "Install @google/gemini-cli 0.61 or later."
            what = "This Gemini CLI does not know what it is asked for"
            return failures.make("unavailable", what, words=errors, remedy=remedy, connected=False)
        if _UNREACHED.search(words) or _UNREACHED.search(errors):
            what = "No connection to Gemini CLI's model"
            return failures.make("network", what, words=said, retryable=True, connected=False, max_attempts=2)
        if _BROKEN.search(words):
            what = "The connection broke before the reply was complete"
            return failures.make("network", what, words=said, retryable=True)
        return failures.broken(said)

    async def used(self, session: str) -> Sequence[Usage]:
        """What each request used, as its record of the session has it."""
        return await anyio.to_thread.run_sync(_recorded, self._home / "tmp", session)


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())[:_MOST_NAMES]
    except OSError:
        return []


def _literal(said: str, names: Sequence[str]) -> str:
    """The text, with what would be replaced by the content of files made harmless, and all else as it is.

    After an `@` that is a path from its folders' top, from here or from the root, it puts in what lies there,
    a whole folder too.
    """
    starts = "|".join((r"[./~\"'\\]", *(re.escape(name) for name in names)))
    return re.sub(rf"@(?={starts})", f"@{_SEPARATED}", said)


def _first(parameters: object) -> str:
    """What a tool is used on: the first text among its parameters."""
    return next((value for value in fields(parameters).values() if isinstance(value, str)), "")


def _usage(counts: Mapping[str, Any], put_in: str, put_out: str) -> Usage:
    thoughts = count(counts, "thoughts")
    return Usage(
        requests=1,
        input=count(counts, put_in),
        output=count(counts, put_out) + thoughts,
        cached=count(counts, "cached"),
        reasoning=thoughts,
    )


def _recorded(folder: Path, session: str) -> list[Usage]:
    """The usage of each request, from the record that Gemini CLI keeps of a session; a later word wins."""
    found: dict[str, Usage] = {}
    for reply in logged(folder, f"*/chats/session-*-{session[:8]}.jsonl", b'"tokens"'):
        if reply.get("type") == "gemini":
            found[text(reply.get("id"))] = _usage(fields(reply.get("tokens")), "input", "output")
    return list(found.values())
