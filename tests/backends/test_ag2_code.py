"""Code that an AG2 agent writes runs in our sandbox, or not at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.ag2 import CodeExecution, Options, connect
from massgen_mcp.backends.ag2_code import Shelter, open_code_tool
from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.pool import Pool
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import ObservedCall, Reply
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox
from tests.backends.chats import HELLO, KEY
from tests.backends.runtimes import Tools, asking, turn_deltas
from tests.backends.test_ag2 import calls
from tests.backends.wire import Wire, make_context, wire

pytestmark = pytest.mark.anyio


async def coder(
    pool: Pool, url: str, *, workspace: Path | None = None, environ: dict[str, str] | None = None, **code: Any
) -> AgentRuntime:
    """An agent that may run code."""
    context = make_context("ag2", pool, clock=SystemClock(), environ=environ or {"PATH": os.environ["PATH"]})
    config = {"model": "m", "base_url": url, "api_key": KEY}
    block = {"type": "ag2", "llm_config": config, "code_execution_config": {"executor": "local", **code}}
    return await connect(Options.model_validate(block), replace(context, workspace=workspace))


def runs(code: str, language: str = "python") -> bytes:
    return calls(("c1", "run_code", json.dumps({"code": code, "language": language})))


async def outcome(pool: Pool, code: bytes, **options: Any) -> str:
    """What the model is told of a piece of code."""
    async with wire(code, HELLO) as server:
        runtime = await coder(pool, server.url, **options)
        await turn_deltas(runtime, asking("Run it."))
        await runtime.aclose()
    return told(server)


def told(server: Wire) -> str:
    content: str = server.requests[1].json["messages"][-1]["content"]
    return content


async def needs_sandbox() -> None:
    try:
        await find_sandbox({"PATH": os.environ["PATH"]})
    except SandboxUnavailable as error:
        pytest.skip(str(error))


async def test_code_runs_in_the_workspace_and_is_seen(pool: Pool, tmp_path: Path) -> None:
    await needs_sandbox()
    code = "open('made', 'w').write('x')\nprint(6 * 7)"
    tools = Tools()
    async with wire(runs(code), HELLO) as server:
        runtime = await coder(pool, server.url, workspace=tmp_path, work_dir="coding")
        deltas = await turn_deltas(runtime, asking("Run it."), tools)
        await runtime.aclose()
    assert told(server) == "42"
    assert (tmp_path / "coding" / "made").read_text() == "x"
    assert tools.calls == []
    assert deltas[1] == ObservedCall(name="run_code", detail="open('made', 'w').write('x')")
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert reply.native == [
        {"name": "run_code", "arguments": json.dumps({"code": code, "language": "python"}), "result": "42"}
    ]
    tool = server.requests[0].json["tools"][-1]["function"]
    assert tool["name"] == "run_code"
    assert tool["parameters"]["properties"]["language"]


async def test_a_failing_program_tells_its_exit_code(pool: Pool) -> None:
    await needs_sandbox()
    assert await outcome(pool, runs("echo no >&2; exit 3", "bash")) == "no\n[exit code: 3]"


async def test_code_sees_neither_home_nor_network_nor_keys(pool: Pool, tmp_path: Path) -> None:
    await needs_sandbox()
    (tmp_path / "secret").write_text("s")
    code = (
        f"import os, socket\nprint(os.path.exists({str(tmp_path / 'secret')!r}), sorted(os.environ))\n"
        "try:\n    socket.create_connection(('127.0.0.1', 9))\nexcept OSError as e:\n    print(e.strerror)"
    )
    said = await outcome(pool, runs(code), environ={"PATH": os.environ["PATH"], "OPENAI_API_KEY": KEY})
    assert said.startswith("False")
    assert "KEY" not in said
    assert "Connection refused" in said


async def test_code_that_does_not_end_is_ended(pool: Pool) -> None:
    await needs_sandbox()
    said = await outcome(pool, runs("print('on', flush=True)\nwhile True: pass"), timeout=0.5)
    assert said == "on\n[ended after 0.5 s]\n[exit code: 124]"


async def test_a_folder_made_for_the_code_is_removed_again(pool: Pool, tmp_path: Path) -> None:
    await needs_sandbox()
    where = await outcome(pool, runs("import os; print(os.getcwd())"))
    assert "massgen-ag2-" in where
    assert not os.path.exists(where)  # noqa: ASYNC240, PTH110 - one look, after everything


async def test_without_a_sandbox_there_is_no_agent(pool: Pool) -> None:
    async def find(environ: Mapping[str, str], *, mode: str) -> Sandbox:
        raise SandboxUnavailable(f"no sandbox works here ({mode}, {len(environ)})")

    with pytest.raises(
        BackendError, match=r"code can't run here: no sandbox works here \(auto, 0\)"
    ) as caught:
        await open_code_tool(CodeExecution(executor="local"), make_context("ag2", pool), find=find)
    assert caught.value.kind == "unavailable"


@pytest.mark.parametrize("work_dir", ["/etc", "../up", "a/../../b"])
async def test_a_work_dir_outside_of_the_agent_s_folder_is_refused(pool: Pool, work_dir: str) -> None:
    await needs_sandbox()
    with pytest.raises(BackendError, match="leaves the agent's folder"):
        await coder(pool, "http://127.0.0.1:1/v1", work_dir=work_dir)


@pytest.mark.parametrize(
    ("executor", "environ", "words"),
    [
        ("docker", {}, r"docker is not installed. Install it: pip install 'ag2\[docker\]'"),
        (
            "cloud",
            {"DAYTONA_API_KEY": KEY},
            r"cloud is not installed. Install it: pip install 'ag2\[daytona\]'",
        ),
        ("cloud", {}, "Set DAYTONA_API_KEY"),
    ],
)
async def test_other_executors_say_what_they_lack(
    pool: Pool, executor: str, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(BackendError, match=words):
        await coder(pool, "http://127.0.0.1:1/v1", environ=environ, executor=executor, image="python")


async def test_containers_have_no_work_dir(pool: Pool) -> None:
    with pytest.raises(BackendError, match="has no work_dir"):
        await coder(pool, "http://127.0.0.1:1/v1", executor="docker", work_dir="coding")


# The launcher of programs, without a sandbox.


async def shelter(folder: Path, *, seconds: float = 20.0) -> Shelter:
    return Shelter(await find_sandbox({}, mode="off"), folder, seconds=seconds)


async def test_much_output_is_kept_by_its_ends(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.write('a' * 100_000 + 'b' * 100_000)"
    found = await (await shelter(tmp_path)).exec([sys.executable, "-c", code])
    assert found.exit_code == 0
    assert found.output == "a" * 65536 + "\n[68928 bytes left out]\n" + "b" * 65536


async def test_endless_output_ends_its_program(tmp_path: Path) -> None:
    found = await (await shelter(tmp_path)).exec(["yes"])
    assert found.exit_code == 137
    assert found.output.endswith("[ended: too much output]")


async def test_what_can_t_be_started_is_told(tmp_path: Path) -> None:
    found = await (await shelter(tmp_path)).exec(["true", "x" * 3_000_000])
    assert found.exit_code == 126
    assert "It can't be started" in found.output


async def test_the_shortest_limit_holds(tmp_path: Path) -> None:
    found = await (await shelter(tmp_path, seconds=30.0)).exec(["sleep", "60"], timeout=0.2)
    assert (found.output, found.exit_code) == ("[ended after 0.2 s]", 124)


async def test_cancelling_ends_the_program(tmp_path: Path) -> None:
    with anyio.move_on_after(0.5):
        await (await shelter(tmp_path)).exec(["sh", "-c", "echo $$ > pid; exec sleep 60"])
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_ag2_is_told_where_programs_run(tmp_path: Path) -> None:
    async with (await shelter(tmp_path)).open() as opened:
        assert str(opened.workdir) == str(tmp_path)
        assert opened.host_workdir == tmp_path
