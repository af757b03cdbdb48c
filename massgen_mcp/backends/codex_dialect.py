"""How Codex is set up, told and read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import anyio.to_thread

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.bridge import NAME
from massgen_mcp.backends.cli_events import count, fields, logged, text
from massgen_mcp.backends.cli_place import Place
from massgen_mcp.backends.cli_runtime import Heard
from massgen_mcp.backends.codex import Options
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, ObservedCall, ReasoningDelta, TextDelta
from massgen_mcp.text import visible
from massgen_mcp.usage import Usage

__all__ = ["CodexDialect"]

_KEY = "CODEX_API_KEY"
_OFF = (
    "apps",
    "browser_use",
    "computer_use",
    "goals",
    "hooks",
    "image_generation",
    "memories",
    "plugins",
    "remote_plugin",
    "skill_mcp_dependency_install",
    "skill_search",
    "tool_suggest",
    "unbounded_connection_retries",
)
"""What reaches beyond the turn, waits for a person, or tries again by itself."""
_NO_TOOLS = frozenset(
    {"agent_message", "error", "file_change", "mcp_tool_call", "reasoning", "todo_list", "web_search"}
)
"""Items that are told of otherwise: by their end, by the team, or not at all."""
_SHELL = ("shell_tool", "unified_exec")

_STATUS = re.compile(r"status:? (\d{3})\b")
_WORDS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"quota exceeded|usage limit|billing", re.IGNORECASE), 402),
    (re.compile(r"context window|ran out of room", re.IGNORECASE), 413),
    (re.compile(r"high demand|overloaded|at capacity", re.IGNORECASE), 503),
)
_BROKEN = re.compile(r"stream disconnected|stream closed|error decoding response body", re.IGNORECASE)
_UNREACHED = re.compile(r"error sending request|connection (?:refused|failed)|dns error", re.IGNORECASE)


class CodexDialect:
    """Codex, set up for one agent."""

    def __init__(
        self, options: Options, place: Place, account: Account, *, bridge: Sequence[str], shell: bool
    ) -> None:
        self._options = options
        self._place = place
        self._account = account
        self._bridge = bridge
        self._shell = shell
        self._home = place.home / ".codex"
        self.cwd = place.workspace

    def arguments(self, session: str | None, images: Sequence[Path]) -> Sequence[str]:
        """Arguments for a turn."""
        again = () if session is None else ("resume", session)
        shown = (f"--image={path}" for path in images)
        return ("exec", *again, "--json", "--skip-git-repo-check", *shown, "-")

    def environ(self) -> Mapping[str, str]:
        """Its key, and its folder instead of the user's."""
        return {_KEY: self._account.key, "CODEX_HOME": str(self._home)}

    def prompt(self, texts: Sequence[str]) -> str:
        """What the user says."""
        return "\n\n".join(texts)

    async def prepare(self, system: str) -> None:
        """Write `config.toml`."""
        own = self._options.system_prompt or ""
        instructions = "\n\n".join(part for part in (own, system) if part)
        await self._place.write(self._home / "config.toml", "\n".join(self._config(instructions)) + "\n")

    def _config(self, instructions: str) -> Iterator[str]:
        options = self._options
        yield from _pairs(
            {
                "model": self._account.model,
                "model_provider": NAME,
                "model_catalog_json": str(self._place.fixed / "models.json"),
                "model_reasoning_effort": options.reasoning_effort,
                "model_verbosity": options.verbosity,
                "developer_instructions": instructions or None,
                "approval_policy": "never",
                "sandbox_mode": options.sandbox_mode,
                "web_search": "live" if options.enable_web_search else "disabled",
                "project_doc_max_bytes": 0,
                "check_for_update_on_startup": False,
            }
        )
        yield f"[model_providers.{NAME}]"
        yield from _pairs(
            {
                "name": "OpenAI",
                "base_url": self._account.base_url,
                "env_key": _KEY,
                "wire_api": "responses",
                "request_max_retries": 0,
                "stream_max_retries": 0,
                "stream_idle_timeout_ms": None if options.timeout is None else int(options.timeout * 1000),
            }
        )
        yield f"[mcp_servers.{NAME}]"
        yield from _pairs(
            {
                "command": self._bridge[0],
                "args": list(self._bridge[1:]),
                "required": True,
                "startup_timeout_sec": 60,
                "tool_timeout_sec": 86400,
                "default_tools_approval_mode": "approve",
            }
        )
        yield "[sandbox_workspace_write]"
        # Our folder may lie in the common one for temporary files; they have one of their own.
        yield from _pairs({"network_access": options.network_access, "exclude_slash_tmp": True})
        yield "[shell_environment_policy]"
        yield from _pairs({"inherit": "core"})
        yield "[analytics]"
        yield from _pairs({"enabled": False})
        yield "[agents]"
        yield from _pairs({"enabled": False})
        yield "[features]"
        yield from _pairs(dict.fromkeys(_OFF if self._shell else (*_OFF, *_SHELL), False))

    def read(self, event: Mapping[str, Any], heard: Heard) -> Iterator[Delta]:
        """Take in one event."""
        match event:
            case {"type": "thread.started", "thread_id": str(session)}:
                heard.session = session
            case {"type": "item.started" | "item.completed" as kind, "item": {"type": str(what), **item}}:
                yield from _item(what, item, heard, ended=kind == "item.completed")
            case {"type": "turn.completed"}:
                heard.done = True
                heard.usage = _usage(event.get("usage"))
            case {"type": "turn.failed"}:
                heard.done = True
                heard.failed = text(fields(event.get("error")).get("message")) or "it does not say why"
            case _:
                pass

    def failure(self, words: str, errors: str, code: int | None) -> BackendError:
        """What Codex says of a failure, as one of ours."""
        del errors, code
        failures = self._account.failures
        if found := _STATUS.search(words):
            return failures.status(int(found[1]), words)
        for pattern, status in _WORDS:
            if pattern.search(words):
                return failures.status(status, words)
        if _UNREACHED.search(words):
            what = f"No connection to {failures.title}'s model"
            return failures.make(
                "network", what, words=words, retryable=True, connected=False, max_attempts=2
            )
        if _BROKEN.search(words):
            what = "The connection broke before the reply was complete"
            return failures.make("network", what, words=words, retryable=True)
        if words.startswith("{"):
            return failures.status(400, words)
        return failures.broken(words)

    async def used(self, session: str) -> Sequence[Usage]:
        """What each request used, as its log of the session has it."""
        return await anyio.to_thread.run_sync(_logged, self._home / "sessions", session)


def _pairs(values: Mapping[str, object]) -> Iterator[str]:
    """Lines of TOML. Its strings, lists and truths are written as JSON writes them, but for one character."""
    for name, value in values.items():
        if value is not None:
            shown = visible(value) if isinstance(value, str) else value
            yield f"{name} = {json.dumps(shown, ensure_ascii=False)}"


def _item(what: str, item: Mapping[str, Any], heard: Heard, *, ended: bool) -> Iterator[Delta]:
    match what:
        case "agent_message" if ended:
            heard.text = text(item.get("text"))
            yield TextDelta(text=f"{heard.text}\n")
        case "reasoning" if ended:
            yield ReasoningDelta(text=f"{item.get('text', '')}\n")
        case "error" if ended:
            heard.warnings.append(f"Codex: {item.get('message', '')}")
        case "command_execution" if not ended:
            yield ObservedCall(name="shell", detail=text(item.get("command")))
        case "file_change" if ended:
            changes: object = item.get("changes")
            listed = cast("list[object]", changes) if isinstance(changes, list) else []
            paths = (text(fields(change).get("path")) for change in listed)
            yield ObservedCall(name="apply_patch", detail=", ".join(path for path in paths if path))
        case "web_search" if ended:
            yield ObservedCall(name="web_search", detail=text(item.get("query")))
        case _ if what not in _NO_TOOLS and not ended:
            # Whatever later versions bring: it may have done something.
            yield ObservedCall(name=what)
        case _:
            pass


def _usage(value: object) -> Usage:
    counts = fields(value)
    return Usage(
        requests=1,
        input=count(counts, "input_tokens"),
        output=count(counts, "output_tokens"),
        cached=count(counts, "cached_input_tokens"),
        cache_write=count(counts, "cache_write_input_tokens"),
        reasoning=count(counts, "reasoning_output_tokens"),
    )


def _logged(folder: Path, session: str) -> list[Usage]:
    """The usage of each request, from the log that Codex keeps of a session."""
    events = logged(folder, f"*/*/*/rollout-*{session}.jsonl", b'"token_usage_record"')
    return [
        _usage(fields(event.get("payload")).get("usage"))
        for event in events
        if event.get("type") == "token_usage_record"
    ]
