"""A Gemini CLI agent: what the program is given, and what its words become."""

from __future__ import annotations

import itertools
import json
import os
import traceback
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.gemini_cli import Options, connect
from massgen_mcp.backends.pool import Pool
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import ObservedCall, Reply, Spent, TextDelta, ToolCall
from tests.backends.chats import KEY
from tests.backends.clis import Cli, cli, failure_of
from tests.backends.runtimes import Tools, asking, turn_deltas, turn_reply
from tests.backends.wire import make_context

SESSION = "9cd5344c-9fa2-4f00-a1da-fc1905f91f14"
BEGIN = {"type": "init", "session_id": SESSION, "model": "gemini-2.5-pro"}
STATS: dict[str, Any] = {"input_tokens": 20, "output_tokens": 7, "cached": 5, "models": {"gemini-x": {}}}
END: dict[str, Any] = {"type": "result", "status": "success", "stats": STATS}


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": text, "delta": True}


def failed(words: str) -> dict[str, Any]:
    return {"type": "result", "status": "error", "error": {"message": words}, "stats": {}}


def record(*sizes: int) -> dict[str, Any]:
    """The record of a session, as Gemini CLI keeps it, of requests of these sizes."""
    tokens = [{"input": size, "output": 1, "thoughts": 2, "cached": 3} for size in sizes]
    lines: list[Any] = [
        {"id": f"r{place}", "type": "gemini", "tokens": each} for place, each in enumerate(tokens)
    ]
    # A reply is written again when its calls have results.
    lines += [lines[0], {"id": "u", "type": "user", "tokens": {}}, {"$set": {"tokens": 1}}]
    text = "\n".join(json.dumps(line) for line in lines)
    return {"file": f".gemini/tmp/project/chats/session-2026-11-22T06-17-{SESSION[:8]}.jsonl", "text": text}


HELLO: list[Any] = [BEGIN, said("Hel"), said("lo."), END]


def agent(program: Cli, pool: Pool, **options: Any) -> Any:
    given: dict[str, Any] = {"environ": {"GEMINI_API_KEY": KEY}, **options}
    return cli("gemini_cli", program, pool, **given)


@pytest.mark.anyio
async def test_a_turn_is_told_as_it_happens(pool: Pool, tmp_path: Path) -> None:
    events: list[Any] = [
        {"errors": "YOLO mode is enabled."},
        BEGIN,
        {"type": "message", "role": "user", "content": "Say hello."},
        said("Let me see. "),
        {"type": "tool_use", "tool_name": "read_file", "parameters": {"line": 1, "file_path": "/w/a"}},
        {"type": "tool_use", "tool_name": "write_todos"},
        {"type": "tool_use", "tool_name": "mcp_massgen_look", "parameters": {}},
        {"type": "tool_result", "status": "success"},
        {"type": "error", "message": "Loop detected."},
        said("Hel"),
        said("lo."),
        END,
    ]
    program = Cli(tmp_path, "gemini", [events])
    async with agent(program, pool) as runtime:
        deltas = await turn_deltas(runtime, asking("Say hello."))
        assert runtime.session == SESSION
    assert deltas[:-1] == [
        TextDelta(text="Let me see. "),
        ObservedCall(name="read_file", detail="/w/a"),
        ObservedCall(name="write_todos"),
        TextDelta(text="Hel"),
        TextDelta(text="lo."),
    ]
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.model, reply.usage.input, reply.usage.output) == ("Hello.", "gemini-x", 20, 7)
    assert reply.warnings == ("Gemini CLI: Loop detected.",)


@pytest.mark.anyio
async def test_the_program_is_set_up_away_from_the_user_and_from_the_workspace(
    pool: Pool, tmp_path: Path
) -> None:
    program = Cli(tmp_path, "gemini", [HELLO])
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    options = {
        "model": "gemini-x",
        "system_prompt": "Be kind.",
        "base_url": "http://127.0.0.1:9",
        "api_key": KEY,
    }
    async with agent(program, pool, workspace=workspace, environ={}, **options) as runtime:
        await turn_reply(runtime, asking("Say hello."))
    given = program.turns[0]
    settings, variables, arguments = given["settings"], given["environ"], given["arguments"]
    assert given["prompt"] == "Say hello."
    assert not Path(given["cwd"]).is_relative_to(workspace)
    assert arguments[arguments.index("--include-directories") + 1] == str(workspace)
    assert arguments[arguments.index("--model") + 1] == "gemini-x"
    assert variables["GEMINI_API_KEY"] == KEY
    assert variables["GOOGLE_GEMINI_BASE_URL"] == "http://127.0.0.1:9"
    assert variables["GEMINI_CLI_HOME"] == variables["HOME"]
    assert settings["memory"].startswith("Be kind.\n\nYou are agent1.\n\nYour workspace is ")
    assert {"run_shell_command", "web_fetch", "google_web_search"} <= set(settings["tools"]["exclude"])
    assert settings["general"]["maxAttempts"] == 1
    assert [tool["name"] for tool in given["tools"]] == ["look", "vote"]
    assert KEY not in json.dumps(settings)


@pytest.mark.anyio
async def test_a_vote_ends_the_turn_and_the_session_goes_on(pool: Pool, tmp_path: Path) -> None:
    vote: list[Any] = [BEGIN, said("I vote."), record(10, 20), {"call": "vote", "arguments": {"answer": "a"}}]
    program = Cli(tmp_path, "gemini", [vote, [BEGIN, record(10, 20, 40), said("Ok."), END]])
    tools = Tools()
    async with agent(program, pool, enable_web_search=True) as runtime:
        first = await turn_reply(runtime, asking("Vote."), tools)
        second = await turn_reply(runtime, asking("Vote.", "And now?"))
    assert first.calls == (tools.ended_by,)
    assert (first.usage.requests, first.usage.input, first.usage.output) == (2, 30, 6)
    assert (first.usage.reasoning, first.usage.cached) == (4, 6)
    assert (second.text, second.usage.requests, second.usage.input) == ("Ok.", 1, 40)
    arguments = program.turns[1]["arguments"]
    assert arguments[-2:] == ["--resume", SESSION]
    assert "google_web_search" not in program.turns[1]["settings"]["tools"]["exclude"]


@pytest.mark.anyio
async def test_what_it_is_told_is_text_and_neither_a_command_nor_a_file(pool: Pool, tmp_path: Path) -> None:
    workspace, answers = tmp_path / "workspace", tmp_path / "answers"
    for folder in (workspace, answers):
        folder.mkdir()
    (workspace / "notes (1).txt").touch()
    said_to_it = f'/quit @notes (1).txt @{answers} a@./b @"q" @dataclass me@example.org'
    program = Cli(tmp_path, "gemini", [HELLO])
    async with agent(program, pool, workspace=workspace, readable=(answers, tmp_path / "absent")) as runtime:
        await turn_reply(runtime, asking(said_to_it))
    given = program.turns[0]
    hidden = "\N{WORD JOINER}"
    assert given["prompt"].replace(hidden, "") == said_to_it
    assert given["prompt"].startswith(hidden)
    assert given["prompt"].count(f"@{hidden}") == 4
    assert "@dataclass me@example.org" in given["prompt"]
    folders = [b for a, b in itertools.pairwise(given["arguments"]) if a == "--include-directories"]
    assert folders == [str(workspace), str(answers)]


@pytest.mark.anyio
async def test_what_was_used_is_told_on_the_way(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "gemini", [[record(10, 20), BEGIN, said("Hello."), END]])
    async with agent(program, pool) as runtime:
        deltas = await turn_deltas(runtime, asking("Hi."))
    assert [delta.usage.input for delta in deltas if isinstance(delta, Spent)] == [30]


@pytest.mark.anyio
async def test_calls_made_together_run_together(pool: Pool, tmp_path: Path) -> None:
    both = anyio.Event()

    async def wait(call: ToolCall) -> None:
        del call
        if len(tools.calls) == 2:
            both.set()
        await both.wait()

    tools = Tools(wait)
    program = Cli(tmp_path, "gemini", [[BEGIN, {"together": ["look", "look"]}, said("Ok."), END]])
    async with agent(program, pool) as runtime:
        assert (await turn_reply(runtime, asking("Look."), tools)).text == "Ok."


@pytest.mark.anyio
async def test_cancelling_ends_its_process(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "gemini", [[BEGIN, {"wait": True}]])
    async with agent(program, pool) as runtime:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn_deltas, runtime, asking("Hi."))
            await program.waits()
            tasks.cancel_scope.cancel()
        with pytest.raises(ProcessLookupError):
            os.kill(await program.waits(), 0)


@pytest.mark.anyio
async def test_a_key_appears_nowhere(pool: Pool, tmp_path: Path) -> None:
    use = {"type": "tool_use", "tool_name": "write_file", "parameters": {"content": KEY}}
    program = Cli(tmp_path, "gemini", [[BEGIN, use, failed(f"[API Error: no such key: {KEY}]")]])
    seen: list[object] = []
    async with agent(program, pool) as runtime:
        with pytest.raises(BackendError) as caught:
            await turn_reply(runtime, asking("Hi."), listen=seen.append)
        shown = [*traceback.format_exception(caught.value), repr(seen), repr(runtime)]
    assert not any(KEY[:8] in text for text in shown)
    assert KEY not in json.dumps(program.turns[0]["arguments"])


@pytest.mark.anyio
async def test_one_that_is_too_old_is_said_with_what_is_needed(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "gemini", [[{"errors": "Unknown arguments: skip-trust"}, {"exit": 1}]])
    async with agent(program, pool) as runtime:
        with pytest.raises(BackendError, match=r"Install @google/gemini-cli 0\.61 or later") as caught:
            await turn_deltas(runtime, asking("Hi."))
    assert (caught.value.kind, caught.value.connected) == ("unavailable", False)


@pytest.mark.parametrize(
    ("words", "errors", "code", "kind"),
    [
        ('[API Error: {"error":{"code":401,"message":"no"}}]', "", 145, "auth"),
        (
            "[API Error: slow]\nPlease wait.",
            "RetryableQuotaError: slow {\n  status: 429\n}",
            173,
            "rate_limit",
        ),
        ("[API Error: slow]", "", 173, "rate_limit"),
        ("[API Error: none]", "ModelNotFoundError: none {\n  code: 404\n}", 1, "not_found"),
        ("[API Error: exception TypeError: fetch failed]", "ECONNREFUSED 127.0.0.1", 1, "network"),
        ("[API Error: terminated]", "", 1, "network"),
        ("it ended with exit code 1", "", 1, "protocol"),
        ("", "", None, "protocol"),
    ],
)
def test_each_failure_has_its_kind(
    tmp_path: Path, words: str, errors: str, code: int | None, kind: FailureKind
) -> None:
    assert failure_of("gemini_cli", words, folder=tmp_path, errors=errors, code=code).kind == kind


@pytest.mark.anyio
async def test_the_status_of_a_failure_is_its_exit_code(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "gemini", [[BEGIN, failed("[API Error: No.]"), {"exit": 145}]])
    async with agent(program, pool) as runtime:
        with pytest.raises(
            BackendError, match=r"refused the key in GOOGLE_API_KEY.* \(401\): No\."
        ) as caught:
            await turn_deltas(runtime, asking("Hi."))
    assert caught.value.kind == "auth"


@pytest.mark.anyio
async def test_the_door_of_the_backend_leads_to_it(pool: Pool) -> None:
    context = make_context("gemini_cli", pool, environ={"GEMINI_API_KEY": KEY, "PATH": "/nowhere"})
    with pytest.raises(BackendError, match="There is no `gemini` on PATH"):
        await connect(Options.model_validate({"type": "gemini_cli"}), context)


@pytest.mark.anyio
async def test_what_is_missing_is_said(pool: Pool, tmp_path: Path) -> None:
    program = Cli(tmp_path, "gemini", [])
    nowhere = {"GEMINI_API_KEY": KEY, "PATH": "/nowhere"}
    with pytest.raises(BackendError, match="There is no `gemini` on PATH"):
        async with agent(program, pool, cli_path=None, environ=nowhere):
            pass
    with pytest.raises(BackendError, match="needs `node`"):
        async with agent(program, pool, environ=nowhere):
            pass
