"""Claude Code as an agent of a team: the real command line in its sandbox, on a scripted model (aimock)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from massgen_mcp.backends.agent_place import FindSandbox
from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.claude_code import Options
from massgen_mcp.backends.claude_code_open import open_runtime
from massgen_mcp.backends.cli_folder import make_folder
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Message, ObservedCall, Reply, Request, ToolCall, ToolResult, ToolSpec
from massgen_mcp.secrets import Secrets
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox
from tests.e2e.aimock import Fixture, running_aimock
from tests.e2e.programs import CLAUDE, ENDING, descendants, program, wait_until
from tests.e2e.stage import KEY, Player, Stage, fixtures_for
from tests.e2e.tap import Tap, running_tap

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.timeout(300)]

QUESTION = "Which city is the capital of Australia?"
MODEL = {"regex": "^claude"}
WORD = {"type": "string"}
TOOLS = (
    ToolSpec(
        name="new_answer",
        description="Hand in your answer.",
        parameters={"type": "object", "properties": {"content": WORD}, "required": ["content"]},
    ),
    ToolSpec(
        name="vote",
        description="Vote for an answer.",
        parameters={"type": "object", "properties": {"answer": WORD}, "required": ["answer"]},
    ),
)
ENDS = frozenset({"new_answer", "vote"})


class Tools:
    """The team's side of a turn."""

    def __init__(self) -> None:
        self.ended_by: ToolCall | None = None

    async def call(self, call: ToolCall) -> ToolResult:
        self.ended_by = call
        return ToolResult(call_id=call.id, content="Recorded.")


def says(content: str, turn: int) -> Fixture:
    return {"match": {"model": MODEL, "turnIndex": turn}, "response": {"content": content}}


def does(name: str, turn: int, **arguments: str) -> Fixture:
    named = f"mcp__massgen__{name}" if name in ENDS else name
    call = {"name": named, "arguments": arguments}
    return {"match": {"model": MODEL, "turnIndex": turn}, "response": {"toolCalls": [call]}}


class Desk:
    """Where an agent of these tests works: its workspace, its user's home."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.home = folder / "home"
        self.workspace.mkdir()
        self.home.mkdir(exist_ok=True)

    @asynccontextmanager
    async def agent(
        self, url: str, *, find: FindSandbox = find_sandbox, **block: Any
    ) -> AsyncGenerator[AgentRuntime]:
        options = Options.model_validate(
            {
                "type": "claude_code",
                "cli_path": Path(program(CLAUDE)),
                "base_url": url,
                "api_key": KEY,
                **block,
            }
        )
        pool = Pool()
        context = BackendContext(
            info=BACKENDS["claude_code"],
            pool=pool,
            secrets=Secrets(),
            clock=SystemClock(),
            environ={"PATH": os.environ["PATH"], "HOME": str(self.home)},
            workspace=self.workspace,
        )
        runtime = await open_runtime(options, context, find=find)
        try:
            yield runtime
        finally:
            await runtime.aclose()
            await pool.aclose()


@pytest.fixture
def desk(stage: Stage, tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def request(*said: str) -> Request:
    system = Message(role="system", text="You are an agent of these tests.")
    return Request(messages=(system, *(Message(role="user", text=text) for text in said)), tools=TOOLS)


async def turn(agent: AgentRuntime, asked: Request | None = None) -> list[Delta]:
    async with agent.run_turn(asked or request(QUESTION), Tools()) as deltas:
        return [delta async for delta in deltas]


def reply_in(deltas: Sequence[Delta]) -> Reply:
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    return reply


def results(tap: Tap) -> list[str]:
    """What the model was told that its tools returned, as the last request holds it."""
    messages: list[Any] = tap.bodies("/v1/messages")[-1]["messages"]
    blocks = [
        block for message in messages if isinstance(message["content"], list) for block in message["content"]
    ]
    return [
        block["content"] if isinstance(block["content"], str) else json.dumps(block["content"])
        for block in blocks
        if block["type"] == "tool_result"
    ]


async def test_its_shell_runs_it_answers_in_process_and_the_next_turn_continues_the_session(
    desk: Desk, tmp_path: Path
) -> None:
    script = [
        does("Bash", 0, command="echo made here > made.txt && cat made.txt"),
        does("new_answer", 1, content="Canberra."),
        does("vote", 2, answer="agent1.1"),
    ]
    with running_aimock(tmp_path, script) as aimock, running_tap(aimock.url) as tap:
        async with desk.agent(tap.url) as agent:
            session = agent.session
            first = await turn(agent)
            second = await turn(agent, request(QUESTION, "Now vote."))
            assert agent.session == session
        asked = tap.bodies("/v1/messages")

    assert ObservedCall(name="Bash", detail="echo made here > made.txt && cat made.txt") in first
    (answer,) = reply_in(first).calls
    assert (answer.name, json.loads(answer.arguments)) == ("new_answer", {"content": "Canberra."})
    (vote,) = reply_in(second).calls
    assert vote.name == "vote"
    assert (desk.workspace / "made.txt").read_text() == "made here\n"
    assert any("made here" in told for told in results(tap))
    assert len(asked) == 3, "no request is made after a turn has ended"
    texts = json.dumps(asked[-1]["messages"])
    assert texts.count(QUESTION) == 1
    assert texts.count("Now vote.") == 1
    assert reply_in(first).warnings == ()


async def test_commands_have_no_network_no_key_and_no_view_of_the_user_s_home(
    desk: Desk, tmp_path: Path
) -> None:
    (desk.home / "secret.txt").write_text("the user's own")
    reach = f"""
for at in /proc/[0-9]*/environ; do tr '\\0' '\\n' < $at | grep {KEY[:12]} && echo KEY; done
ls {desk.home} && echo HOME
touch "$CLAUDE_CONFIG_DIR/settings.json" && echo CONFIG
touch /usr/bin/planted && echo SYSTEM
"""
    with running_aimock(tmp_path, []) as silent:
        host, _, port = silent.url.removeprefix("http://").partition(":")
        reach += f"(exec 3<>/dev/tcp/{host}/{port}) && echo NETWORK\necho looked around"
        script = [
            does("Bash", 0, command=reach),
            does("Read", 1, file_path="/proc/self/environ"),
            does("Grep", 2, pattern=KEY[:12], path="/proc/self/environ", output_mode="content"),
            does("WebFetch", 3, url=silent.url, prompt="What is there?"),
            says("Nothing there.", 4),
        ]
        with running_aimock(tmp_path, script) as aimock, running_tap(aimock.url) as tap:
            async with desk.agent(tap.url) as agent:
                reply = reply_in(await turn(agent))
    assert reply.text == "Nothing there."
    looked, read, searched, fetched = results(tap)
    assert looked.endswith("\nlooked around"), looked
    assert not {"KEY", "HOME", "CONFIG", "SYSTEM", "NETWORK"} & set(looked.split())
    assert "denied" in read
    assert KEY not in read + searched
    assert "denied" in fetched


async def no_sandbox(environ: Mapping[str, str], *, mode: str) -> Sandbox:
    del mode
    raise SandboxUnavailable(f"none in {environ['PATH']}")


async def test_without_a_sandbox_it_has_no_shell_and_writes_in_its_own_folder_alone(
    desk: Desk, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    secret = desk.home / "secret.txt"
    secret.write_text("the user's own words")
    inside = desk.workspace / "inside.txt"
    script = [
        does("Write", 0, file_path=str(inside), content="mine"),
        does("Write", 1, file_path=str(outside), content="not mine"),
        does("Bash", 2, command=f"touch {outside}"),
        does("Read", 3, file_path=str(secret)),
        does("Grep", 4, pattern="user", path=str(desk.home), output_mode="content"),
        does("new_answer", 5, content="Done."),
    ]
    with running_aimock(tmp_path, script) as aimock, running_tap(aimock.url) as tap:
        async with desk.agent(tap.url, find=no_sandbox) as agent:
            reply = reply_in(await turn(agent))
    assert "own words" not in json.dumps(tap.bodies("/v1/messages"))
    assert [call.name for call in reply.calls] == ["new_answer"]
    assert "Bash" in " ".join(reply.warnings)
    assert inside.read_text() == "mine"
    assert not outside.exists()


async def test_refused_patterns_hold(desk: Desk, tmp_path: Path) -> None:
    (desk.workspace / "kept.txt").touch()
    script = [
        does("Bash", 0, command="rm -f kept.txt"),
        does("Bash", 1, command="true && rm -f kept.txt"),
        does("Bash", 2, command="curl --version"),
        does("Bash", 3, command="echo allowed"),
        says("Done.", 4),
    ]
    with running_aimock(tmp_path, script) as aimock, running_tap(aimock.url) as tap:
        async with desk.agent(tap.url, disallowed_tools=["Bash(curl*)", "WebSearch"]) as agent:
            await turn(agent)
    *refused, allowed = results(tap)
    assert all("denied" in told for told in refused), refused
    assert len(refused) == 3
    assert "allowed" in allowed
    assert (desk.workspace / "kept.txt").exists()
    offered = {tool["name"] for tool in tap.bodies("/v1/messages")[0]["tools"]}
    assert "WebSearch" not in offered
    assert {"Bash", "Read", "Write", "Edit", "Glob", "Grep", "mcp__massgen__new_answer"} <= offered


def plant(folder: Path, mark: Path) -> None:
    """Settings with a hook, instructions and a server, as a user or a repository may have them."""
    claude = folder / ".claude"
    claude.mkdir()
    hook = {"hooks": [{"type": "command", "command": f"touch {mark}"}]}
    hooks = {name: [hook] for name in ("SessionStart", "UserPromptSubmit", "PreToolUse", "Stop")}
    (claude / "settings.json").write_text(json.dumps({"hooks": hooks, "env": {"PLANTED": "1"}}))
    (claude / "CLAUDE.md").write_text("PLANTED instructions")
    (folder / "CLAUDE.md").write_text("PLANTED instructions")
    server = {"command": "touch", "args": [str(mark)]}
    (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"planted": server}}))


async def test_neither_the_user_s_settings_nor_the_workspace_s_are_loaded(desk: Desk, tmp_path: Path) -> None:
    mark = desk.workspace / "executed"
    plant(desk.home, mark)
    plant(desk.workspace, mark)
    script = [does("Bash", 0, command="echo [$PLANTED]"), says("Done. @CLAUDE.md", 1)]
    with running_aimock(tmp_path, script) as aimock, running_tap(aimock.url) as tap:
        async with desk.agent(tap.url) as agent:
            await turn(agent, request("What does @CLAUDE.md say?"))
        sent = json.dumps(tap.bodies("/v1/messages"))
    assert results(tap) == ["[]"]
    assert "PLANTED instructions" not in sent
    assert not mark.exists()


async def test_a_refused_key_is_final_after_one_request(desk: Desk, tmp_path: Path) -> None:
    with running_aimock(tmp_path, [], keys=["another key"]) as aimock, running_tap(aimock.url) as tap:
        async with desk.agent(tap.url) as agent:
            for requests in (1, 2):
                with pytest.raises(BackendError) as caught:
                    await turn(agent)
                assert len(tap.bodies("/v1/messages")) == requests
    assert (caught.value.kind, caught.value.retryable) == ("auth", False)


SLOW = does("Bash", 0, command="sleep 60")


async def test_a_cancelled_turn_leaves_no_process(desk: Desk, tmp_path: Path) -> None:
    with running_aimock(tmp_path, [SLOW]) as aimock:
        before = descendants()
        async with desk.agent(aimock.url) as agent:
            with anyio.CancelScope() as scope:
                async with agent.run_turn(request(QUESTION), Tools()) as deltas:
                    async for delta in deltas:
                        if isinstance(delta, ObservedCall):
                            scope.cancel()
            assert scope.cancelled_caught
        assert not descendants() - before, "gone when it is closed"


_ALONE = """
import sys; sys.path[:0] = {path!r}
import anyio
from pathlib import Path
from tests.e2e.test_claude_code_agent import Desk, turn
async def main():
    desk = Desk(Path({folder!r}))
    async with desk.agent({url!r}) as agent:
        await turn(agent)
anyio.run(main)
"""


def test_none_is_left_when_we_are_killed(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    with running_aimock(tmp_path, [SLOW]) as aimock, running_tap(aimock.url) as tap:
        before = descendants()
        code = _ALONE.format(path=sys.path, folder=str(folder), url=tap.url)
        # What it leaves behind in the temporary folder is this test's.
        around = {**os.environ, "TMPDIR": str(folder)}
        with subprocess.Popen([sys.executable, "-c", code], env=around) as alone:  # noqa: S603 - our own code
            try:
                wait_until(lambda: sleeping(before), seconds=100, what="the command sleeps")
            finally:
                alone.kill()
            wait_until(lambda: not descendants() - before, seconds=ENDING, what="all have ended")
    # It could not tidy up, but the next one does.
    assert left_behind(folder)
    make_folder("test", parent=folder).remove()
    assert not left_behind(folder)


def left_behind(folder: Path) -> list[Path]:
    return list(folder.glob("massgen-claude_code-*"))


def sleeping(before: set[int]) -> bool:
    return any(b"sleep\x0060" in command_of(pid) for pid in descendants() - before)


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


# In a team, at the front door.

CODE = Player(id="code", answer="Canberra is it, says code.", conclusion="Canberra", votes_for="Sydney is")
CHAT = Player(id="chat", answer="Sydney is the capital.", conclusion="Sydney", votes_for="Canberra is")


def prefixed(fixtures: Sequence[Fixture]) -> list[Fixture]:
    """The same, with our tools' names as Claude Code has them."""
    for fixture in fixtures:
        for call in fixture["response"]["toolCalls"]:
            call["name"] = f"mcp__massgen__{call['name']}"
    return list(fixtures)


def put_on(stage: Stage, url: str, players: Mapping[str, Player]) -> None:
    blocks: dict[str, dict[str, Any]] = {}
    for kind, player in players.items():
        blocks[player.id] = {"type": kind, "model": player.model, "base_url": f"{url}/v1"}
        if kind == "claude_code":
            blocks[player.id] |= {"base_url": url, "cli_path": program(CLAUDE)}
    stage.write_agents("mixed", blocks)


async def test_a_team_of_claude_code_and_a_chat_model_comes_to_an_answer(
    stage: Stage, tmp_path: Path
) -> None:
    votes = Player(id="code", answer=CODE.answer, conclusion="Canberra", votes_for="Canberra is")
    script = [*prefixed(fixtures_for([votes])), *fixtures_for([CHAT])]
    with running_aimock(tmp_path, script) as aimock, running_tap(aimock.url) as tap:
        put_on(stage, tap.url, {"claude_code": votes, "chatcompletion": CHAT})
        async with Client(stage.server) as client:
            reply = await client.call_tool("ask_team", {"question": QUESTION, "team": "mixed"})
        result = reply.structured_content
    assert result is not None, reply
    assert (result["status"], result["answer"]) == ("completed", CODE.answer), result
    states = {agent["id"]: agent["state"] for agent in result["agents"]}
    assert set(states) == {"code", "chat"}
    assert "failed" not in states.values()


def test_claude_code_can_be_the_host_of_a_team_it_is_part_of(stage: Stage, tmp_path: Path) -> None:
    tool = "mcp__massgen__ask_team"
    alone = Player(id="code", answer="Canberra, says code.", conclusion="Canberra")
    call = {"name": tool, "arguments": {"question": QUESTION, "team": "mixed"}}
    host: list[Fixture] = [
        {
            "match": {"model": MODEL, "toolResultContains": alone.answer},
            "response": {"content": "It says so."},
        },
        {"match": {"model": MODEL, "hasToolResult": False}, "response": {"toolCalls": [call]}},
    ]
    with running_aimock(tmp_path, [*host, *prefixed(fixtures_for([alone]))]) as aimock:
        put_on(stage, aimock.url, {"claude_code": alone})
        command, *arguments = stage.command
        entry = {"command": command, "args": arguments, "env": stage.environment}
        config = tmp_path / "mcp.json"
        config.write_text(json.dumps({"mcpServers": {"massgen": entry}}))
        said = subprocess.run(  # noqa: S603 - a program that this project installed
            [
                program(CLAUDE),
                *("-p", "Ask the team.", "--mcp-config", str(config), "--strict-mcp-config"),
                *("--allowedTools", "mcp__massgen", "--output-format", "json"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            cwd=stage.project,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(stage.home),
                "ANTHROPIC_API_KEY": "any text",
                "ANTHROPIC_BASE_URL": aimock.url,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            },
        )
    assert said.returncode == 0, said
    assert json.loads(said.stdout)["result"] == "It says so."
