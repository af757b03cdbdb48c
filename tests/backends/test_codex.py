"""A Codex agent: what the program is given, and what its words become."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.codex import Options, connect
from massgen_mcp.backends.pool import Pool
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import (
    Image,
    Message,
    ObservedCall,
    ReasoningDelta,
    Reply,
    Request,
    Spent,
    TextDelta,
    ToolCall,
)
from massgen_mcp.secrets import Secrets
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox
from tests.backends.chats import KEY
from tests.backends.clis import Cli, cli, failure_of
from tests.backends.runtimes import Tools, asking, turn_deltas, turn_reply
from tests.backends.wire import make_context

THREAD = "01a201dd-a399-76b1-9b9c-66376233b43c"
BEGIN = {"type": "thread.started", "thread_id": THREAD}
END = {
    "type": "turn.completed",
    "usage": {
        "input_tokens": 20,
        "cached_input_tokens": 5,
        "cache_write_input_tokens": 1,
        "output_tokens": 7,
        "reasoning_output_tokens": 2,
    },
}


def said(text: str) -> dict[str, Any]:
    return {"type": "item.completed", "item": {"id": "i", "type": "agent_message", "text": text}}


def failed(words: str) -> dict[str, Any]:
    return {"type": "turn.failed", "error": {"message": words}}


def record(put_in: int, *more: int) -> dict[str, Any]:
    """The log of a session, as Codex keeps it, of requests of these sizes."""
    lines = [
        {"type": "token_usage_record", "payload": {"usage": {"input_tokens": size, "output_tokens": 1}}}
        for size in (put_in, *more)
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    noise = '\n{"type": "other", "token_usage_record": 1}\n{"type": "token_usage_record", "payl'
    return {"file": f".codex/sessions/2026/11/22/rollout-2026-{THREAD}.jsonl", "text": text + noise}


async def no_sandbox(environ: Mapping[str, str], *, mode: str) -> Sandbox:
    raise SandboxUnavailable(f"none, {mode} and {len(environ)}")


HELLO = [BEGIN, {"type": "turn.started"}, said("Hello."), END]


def read(path: str) -> str:
    return Path(path).read_text()


def agent(program: Cli, pool: Pool, **options: Any) -> Any:
    given: dict[str, Any] = {"environ": {"OPENAI_API_KEY": KEY}, **options}
    return cli("codex", program, pool, **given)


@pytest.mark.anyio
async def test_a_turn_is_told_as_it_happens(pool: Pool, tmp_path: Path) -> None:
    events = [
        BEGIN,
        {"type": "item.completed", "item": {"type": "reasoning", "text": "Hm."}},
        {"type": "item.started", "item": {"type": "command_execution", "command": "ls -la"}},
        {"type": "item.completed", "item": {"type": "command_execution", "command": "ls -la"}},
        {"type": "item.completed", "item": {"type": "file_change", "changes": [{"path": "/w/a"}, 5]}},
        {"type": "item.completed", "item": {"type": "web_search", "query": "tides"}},
        {"type": "item.completed", "item": {"type": "error", "message": "Something is deprecated."}},
        {"type": "item.completed", "item": {"type": "todo_list"}},
        {"raw": "not an event"},
        {"raw": "[1]"},
        {"type": "item.completed"},
        said("First."),
        said("Done."),
        END,
    ]
    program = Cli(tmp_path, "codex", [events])
    async with agent(program, pool) as runtime:
        deltas = await turn_deltas(runtime, asking("Say hello."))
        assert runtime.session == THREAD
    assert deltas[:-1] == [
        ReasoningDelta(text="Hm.\n"),
        ObservedCall(name="shell", detail="ls -la"),
        ObservedCall(name="apply_patch", detail="/w/a"),
        ObservedCall(name="web_search", detail="tides"),
        TextDelta(text="First.\n"),
        TextDelta(text="Done.\n"),
    ]
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.calls, reply.model) == ("Done.", (), "gpt-6.1-sol")
    assert (reply.usage.requests, reply.usage.input, reply.usage.cached) == (1, 20, 5)
    assert (reply.usage.output, reply.usage.reasoning, reply.usage.cache_write) == (7, 2, 1)
    assert reply.native[0] == {"name": "shell", "detail": "ls -la"}
    assert reply.warnings == ("Codex: Something is deprecated.",)


@pytest.mark.anyio
async def test_the_program_is_set_up_away_from_the_user(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [HELLO])
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    options: dict[str, Any] = {
        "model": "gpt-5.5",
        "reasoning_effort": "low",
        "verbosity": "high",
        "system_prompt": 'Say "é".\n\x7f',
        "enable_web_search": True,
        "network_access": True,
        "sandbox_mode": "read-only",
    }
    environ = {"OPENAI_API_KEY": KEY, "CODEX_HOME": "/users/own", "SECRET": "x", "TZ": "UTC"}
    async with agent(program, pool, workspace=workspace, environ=environ, **options) as runtime:
        await turn_reply(runtime, asking("Say hello."))
        given = program.turns[0]
    settings, variables = given["settings"], given["environ"]
    assert given["arguments"] == ["exec", "--json", "--skip-git-repo-check", "-"]
    assert given["prompt"] == "Say hello."
    assert given["cwd"] == str(workspace)
    assert variables["CODEX_API_KEY"] == KEY
    assert variables["CODEX_HOME"].startswith(variables["HOME"])
    assert not {"SECRET", "OPENAI_API_KEY"} & set(variables)
    assert settings["developer_instructions"] == 'Say "é".\n\N{SYMBOL FOR DELETE}\n\nYou are agent1.'
    assert (settings["model"], settings["model_reasoning_effort"]) == ("gpt-5.5", "low")
    assert (settings["model_verbosity"], settings["web_search"]) == ("high", "live")
    assert settings["sandbox_mode"] == "read-only"
    assert settings["sandbox_workspace_write"] == {"network_access": True, "exclude_slash_tmp": True}
    assert settings["project_doc_max_bytes"] == 0
    provider = settings["model_providers"]["massgen"]
    assert provider["base_url"] == "https://api.openai.com/v1"
    assert (provider["request_max_retries"], provider["stream_max_retries"]) == (0, 0)
    assert KEY not in json.dumps(settings)
    assert [tool["name"] for tool in given["tools"]] == ["look", "vote"]
    assert not os.path.exists(variables["HOME"])  # noqa: ASYNC240, PTH110 - one look, after everything


@pytest.mark.anyio
async def test_its_tools_stand_in_plain_sight(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [HELLO])
    options = {"base_url": "http://127.0.0.1:9/v1", "api_key": KEY}
    async with agent(program, pool, **options) as runtime:
        await turn_reply(runtime, asking("Say hello."))
        catalog = read(program.turns[0]["settings"]["model_catalog_json"])
    ours = {"supports_search_tool": False, "tool_mode": None, "use_responses_lite": False}
    assert json.loads(catalog) == {"models": [{"slug": "m", **ours}]}


@pytest.mark.anyio
async def test_the_team_s_tools_are_called_and_the_vote_ends_the_turn(pool: Pool, tmp_path: Path) -> None:
    turn = [
        BEGIN,
        {"call": "look", "arguments": {"at": "the sky"}},
        record(10, 20),
        {"call": "vote", "arguments": {"answer": "agent1.1", "reason": "é"}},
        said("Never said."),
    ]
    program = Cli(tmp_path, "codex", [turn], starts_server=True)
    tools = Tools()
    async with agent(program, pool) as runtime:
        reply = await turn_reply(runtime, asking("Vote."), tools)
    assert tools.calls[0] == ToolCall(id="call_1", name="look", arguments='{"at": "the sky"}')
    assert reply.calls == (
        ToolCall(id="call_2", name="vote", arguments='{"answer": "agent1.1", "reason": "é"}'),
    )
    assert (reply.finish, reply.usage.requests, reply.usage.input) == ("tool_calls", 2, 30)
    results = [entry["result"] for entry in program.given if "result" in entry]
    assert [result["content"][0]["text"] for result in results] == ["It is green."]


@pytest.mark.anyio
async def test_an_unknown_tool_is_answered_by_the_team(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [[BEGIN, {"call": "fly"}, said("Ok."), END]])
    async with agent(program, pool) as runtime:
        await turn_reply(runtime, asking("Fly."))
    result = next(entry["result"] for entry in program.given if "result" in entry)
    assert result["isError"]


@pytest.mark.anyio
async def test_a_later_turn_continues_the_session_with_what_is_new(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [[*HELLO, record(10)], [BEGIN, record(10, 25), said("More."), END]])
    async with agent(program, pool) as runtime:
        await turn_reply(runtime, asking("One."))
        reply = await turn_reply(runtime, asking("One.", "Two.", "Three."))
    assert program.turns[1]["arguments"][:3] == ["exec", "resume", THREAD]
    assert program.turns[1]["prompt"] == "Two.\n\nThree."
    assert reply.text == "More."


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("words", "kind", "retryable"),
    [
        ("unexpected status 401 Unauthorized: no", "auth", False),
        ("exceeded retry limit, last status: 429 Too Many Requests", "rate_limit", True),
        ("unexpected status 404 Not Found: no", "not_found", False),
        ("We're currently experiencing high demand, which may cause temporary errors.", "overloaded", True),
        ("Quota exceeded. Check your plan and billing details.", "quota", False),
        ("Codex ran out of room in the model's context window.", "context", False),
        ("stream disconnected before completion: closed", "network", True),
        ("error sending request for url (http://127.0.0.1:9/)", "network", True),
        ('{"error": {"message": "No such field"}}', "bad_request", False),
        ("Nobody knows", "protocol", True),
    ],
)
def test_each_failure_has_its_kind(
    tmp_path: Path,
    words: str,
    kind: FailureKind,
    retryable: bool,  # noqa: FBT001 - a row of the table
) -> None:
    error = failure_of("codex", words, folder=tmp_path)
    assert (error.kind, error.retryable) == (kind, retryable)


@pytest.mark.anyio
async def test_a_failure_without_a_reason_is_told_as_that(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [[BEGIN, {"type": "turn.failed"}]])
    async with agent(program, pool) as runtime:
        with pytest.raises(BackendError, match="does not say why"):
            await turn_deltas(runtime, asking("Hi."))


@pytest.mark.anyio
async def test_a_turn_that_used_nothing_begins_anew(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [[BEGIN, failed("stream disconnected")], HELLO])
    async with agent(program, pool) as runtime:
        reply = await turn_reply(runtime, asking("Hi."))
    assert (reply.text, reply.attempts) == ("Hello.", 2)
    assert [turn["arguments"][1] for turn in program.turns] == ["--json", "--json"]
    assert [turn["prompt"] for turn in program.turns] == ["Hi.", "Hi."]


@pytest.mark.anyio
async def test_what_a_forgotten_session_used_is_not_missed_in_the_next(pool: Pool, tmp_path: Path) -> None:
    turns = [[BEGIN, record(10), END], [BEGIN, record(30), said("Hello."), END]]
    program = Cli(tmp_path, "codex", turns)
    async with agent(program, pool) as runtime:
        reply = await turn_reply(runtime, asking("Hi."))
    assert (reply.text, reply.attempts, reply.usage.input) == ("Hello.", 2, 30)


@pytest.mark.anyio
async def test_a_turn_that_used_something_is_not_replayed(pool: Pool, tmp_path: Path) -> None:
    command = {"type": "item.started", "item": {"type": "command_execution", "command": "rm x"}}
    program = Cli(tmp_path, "codex", [[BEGIN, command, failed("stream disconnected")], HELLO])
    async with agent(program, pool) as runtime:
        with pytest.raises(BackendError) as caught:
            await turn_reply(runtime, asking("Hi."))
    assert (caught.value.retryable, len(program.turns)) == (False, 1)


@pytest.mark.anyio
async def test_a_program_that_just_ends_is_a_failure_with_its_last_words(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [[BEGIN, {"errors": "panicked at main.rs"}, {"exit": 3}]])
    async with agent(program, pool) as runtime:
        with pytest.raises(BackendError, match=r"exit code 3: panicked at main\.rs") as caught:
            await turn_deltas(runtime, asking("Hi."))
    assert caught.value.kind == "protocol"


@pytest.mark.anyio
async def test_a_team_s_error_in_a_tool_is_the_turn_s(pool: Pool, tmp_path: Path) -> None:
    async def break_(call: ToolCall) -> None:
        raise OSError(call.name)

    program = Cli(tmp_path, "codex", [[BEGIN, {"call": "look"}]])
    async with agent(program, pool) as runtime:
        with pytest.raises(OSError, match="look"):
            await turn_deltas(runtime, asking("Hi."), Tools(break_))


@pytest.mark.anyio
async def test_cancelling_ends_its_process(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [[BEGIN, {"wait": True}]])
    async with agent(program, pool) as runtime:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn_deltas, runtime, asking("Hi."))
            await program.waits()
            tasks.cancel_scope.cancel()
        assert not alive(await program.waits())


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
    except OSError:
        return False


@pytest.mark.anyio
@pytest.mark.parametrize("find", [find_sandbox, no_sandbox])
async def test_what_it_started_ends_with_it_where_no_sandbox_holds_it(
    pool: Pool, tmp_path: Path, find: Any
) -> None:
    program = Cli(tmp_path, "codex", [[BEGIN, {"escapes": True}, {"wait": True}]])
    async with agent(program, pool, find=find) as runtime:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn_deltas, runtime, asking("Hi."))
            await program.waits()
            tasks.cancel_scope.cancel()
        (escaped,) = [entry["escaped"] for entry in program.given if "escaped" in entry]
        assert not alive(escaped)


def never(requests: int) -> bool:
    return not requests


@pytest.mark.anyio
async def test_what_was_used_is_told_on_the_way(pool: Pool, tmp_path: Path) -> None:
    turns = [[*HELLO[:2], record(10), said("Hello."), END], [BEGIN, record(10, 25), failed("Nobody knows")]]
    program = Cli(tmp_path, "codex", turns)
    async with agent(program, pool) as runtime:
        first = await turn_deltas(runtime, asking("One."))
        heard: list[object] = []
        with pytest.raises(BackendError):
            await turn_reply(runtime, asking("One.", "Two."), listen=heard.append, may_send=never)
    assert [delta.usage.input for delta in first if isinstance(delta, Spent)] == [10]
    assert [delta.usage.input for delta in heard if isinstance(delta, Spent)][-1] == 25


@pytest.mark.anyio
async def test_usage_adds_up_over_three_turns(pool: Pool, tmp_path: Path) -> None:
    turns = [
        [BEGIN, record(10), said("1"), END],
        [BEGIN, record(10, 20, 30), said("2"), END],
        [BEGIN, record(10, 20, 30, 40), said("3"), END],
    ]
    program = Cli(tmp_path, "codex", turns)
    async with agent(program, pool) as runtime:
        replies = [await turn_reply(runtime, asking(*"abc"[:number])) for number in (1, 2, 3)]
    assert [reply.usage.input for reply in replies] == [10, 50, 40]
    assert [reply.usage.requests for reply in replies] == [1, 2, 1]


@pytest.mark.anyio
async def test_one_that_says_nothing_is_ended_with_what_may_help(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [[{"errors": "Please log in."}, {"wait": True}]])
    async with agent(program, pool, starts=1.0) as runtime:
        with pytest.raises(BackendError, match=r"said nothing within 1 s .*Please log in\.") as caught:
            await turn_deltas(runtime, asking("Hi."))
    assert (caught.value.kind, caught.value.connected, caught.value.retryable) == (
        "unavailable",
        False,
        False,
    )
    assert not alive(await program.waits())


@pytest.mark.anyio
async def test_words_that_are_no_text_do_not_lose_the_turn(pool: Pool, tmp_path: Path) -> None:
    broken = json.dumps(said("caf@")).encode().replace(b"@", b"\xe9").hex()
    program = Cli(tmp_path, "codex", [[BEGIN, {"bytes": broken}, END]])
    async with agent(program, pool) as runtime:
        reply = await turn_reply(runtime, asking("Hi."))
    assert reply.text == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.anyio
async def test_what_nobody_knows_counts_as_a_tool_and_odd_events_break_nothing(
    pool: Pool, tmp_path: Path
) -> None:
    events = [
        BEGIN,
        {"type": "item.completed", "item": {"type": "file_change", "changes": 5}},
        {"type": "item.started", "item": {"type": "some_new_tool"}},
        failed("stream disconnected"),
    ]
    program = Cli(tmp_path, "codex", [events, HELLO])
    async with agent(program, pool) as runtime:
        with pytest.raises(BackendError) as caught:
            await turn_reply(runtime, asking("Hi."))
    assert (caught.value.retryable, len(program.turns)) == (False, 1)


@pytest.mark.anyio
async def test_a_vote_counts_although_the_program_breaks_then(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [[BEGIN, failed("stream disconnected")]])
    tools = Tools()
    tools.ended_by = ToolCall(id="c", name="vote", arguments="{}")
    async with agent(program, pool) as runtime:
        assert (await turn_reply(runtime, asking("Vote."), tools)).calls == (tools.ended_by,)


@pytest.mark.anyio
async def test_pictures_are_shown_by_files_that_only_it_sees(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [HELLO])
    images = (Image(mime="image/png", data=b"png"), Image(mime="application/pdf", data=b"pdf"))
    async with agent(program, pool) as runtime:
        await turn_reply(runtime, Request(messages=(Message(role="user", text="See.", images=images),)))
        (shown,) = [word for word in program.turns[0]["arguments"] if word.startswith("--image=")]
        assert read(shown.removeprefix("--image=")) == "png"


@pytest.mark.anyio
async def test_the_picture_of_a_tool_s_result_is_passed_on(pool: Pool, tmp_path: Path) -> None:
    images = (Image(mime="image/png", data=b"png"), Image(mime="application/pdf", data=b"pdf"))
    program = Cli(tmp_path, "codex", [[BEGIN, {"call": "look"}, said("Ok."), END]])
    async with agent(program, pool) as runtime:
        await turn_reply(runtime, asking("Look."), Tools(images=images))
    (result,) = [entry["result"] for entry in program.given if "result" in entry]
    words, picture = result["content"]
    assert words["text"].endswith("[1 documents can't be shown to you here.]")
    assert picture == {"type": "image", "data": "cG5n", "mimeType": "image/png"}


@pytest.mark.anyio
async def test_proxies_and_certificates_of_the_operator_hold_for_it(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [HELLO])
    own = {"ALL_PROXY": "socks5://proxy:1", "HTTPS_PROXY": "http://proxy:2", "SSL_CERT_DIR": "/etc/certs"}
    async with agent(program, pool, environ={"OPENAI_API_KEY": KEY, **own}, timeout=90) as runtime:
        await turn_reply(runtime, asking("Hi."))
    given = program.turns[0]
    assert own.items() <= given["environ"].items()
    assert given["settings"]["model_providers"]["massgen"]["stream_idle_timeout_ms"] == 90_000


@pytest.mark.anyio
async def test_the_door_of_the_backend_leads_to_it(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [HELLO])
    context = make_context("codex", pool, clock=SystemClock(), environ={"OPENAI_API_KEY": KEY})
    options = Options.model_validate({"type": "codex", "cli_path": program.path})
    runtime = await connect(options, replace(context, sandbox="off"))
    assert (await turn_reply(runtime, asking("Hi."))).text == "Hello."
    await runtime.aclose()


@pytest.mark.anyio
async def test_closed_twice_it_is_closed(pool: Pool, tmp_path: Path) -> None:
    async with agent(Cli(tmp_path, "codex", []), pool) as runtime:
        await runtime.aclose()


@pytest.mark.anyio
async def test_a_key_appears_nowhere(pool: Pool, tmp_path: Path) -> None:
    words = f"unexpected status 401 Unauthorized: {KEY}"
    command = {"type": "item.started", "item": {"type": "command_execution", "command": f"echo {KEY}"}}
    program = Cli(tmp_path, "codex", [[BEGIN, command, failed(words)]])
    secrets = Secrets()
    seen: list[object] = []
    async with agent(program, pool, secrets=secrets) as runtime:
        with pytest.raises(BackendError) as caught:
            await turn_reply(runtime, asking("Hi."), listen=seen.append)
        shown = [*traceback.format_exception(caught.value), repr(seen), repr(runtime)]
    assert not any(KEY[:8] in text for text in shown)


async def open_one(pool: Pool, program: Cli, **options: Any) -> AgentRuntime:
    async with agent(program, pool, **options) as runtime:
        return runtime


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"models": {}}, "says nothing about models"),
        ({"models": {"models": 5}}, "says nothing about models"),
    ],
)
async def test_a_program_that_is_too_old_is_refused(
    pool: Pool, tmp_path: Path, script: dict[str, Any], words: str
) -> None:
    with pytest.raises(BackendError, match=words) as caught:
        await open_one(pool, Cli(tmp_path, "codex", [], **script))
    assert caught.value.kind == "unavailable"


@pytest.mark.anyio
async def test_without_its_own_sandbox_it_runs_no_commands(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [HELLO], sandbox=1)
    async with agent(program, pool) as runtime:
        reply = await turn_reply(runtime, asking("Hi."))
        features = program.turns[0]["settings"]["features"]
    assert features["shell_tool"] is False
    assert "Codex runs no commands here: its sandbox does not work inside ours" in reply.warnings[0]


@pytest.mark.anyio
async def test_what_is_missing_is_said(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [])
    with pytest.raises(
        BackendError, match=r"There is no `codex` on PATH. Install it \(npm install -g @openai"
    ):
        await open_one(pool, program, cli_path=None, environ={"OPENAI_API_KEY": KEY, "PATH": "/nowhere"})
    with pytest.raises(BackendError, match="where there is no file"):
        await open_one(pool, program, cli_path=tmp_path / "other")
    with pytest.raises(BackendError, match="Codex needs a key"):
        await open_one(pool, program, environ={})
    with pytest.raises(BackendError, match="not one of the hosts"):
        await open_one(pool, program, base_url="https://elsewhere.example/v1")


@pytest.mark.anyio
async def test_the_script_of_npm_leads_to_the_native_program(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [HELLO])
    package = tmp_path / "node_modules" / "@openai"
    script = package / "codex" / "bin" / "codex.js"
    script.parent.mkdir(parents=True)
    script.touch()
    with pytest.raises(BackendError, match="has no native program beside it"):
        await open_one(pool, program, cli_path=script)
    native = package / "codex-linux-x64" / "vendor" / "x" / "bin" / "codex"
    native.parent.mkdir(parents=True)
    native.write_text(f'#!/bin/sh\nexec {program.path} "$@"\n')
    native.chmod(0o700)
    async with agent(program, pool, cli_path=script) as runtime:
        assert (await turn_reply(runtime, asking("Hi."))).text == "Hello."


@pytest.mark.anyio
async def test_a_program_that_can_t_be_run_is_said(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "codex", [])
    program.path.chmod(0o600)
    with pytest.raises(BackendError, match="says nothing about models") as caught:
        await open_one(pool, program)
    assert caught.value.kind == "unavailable"
