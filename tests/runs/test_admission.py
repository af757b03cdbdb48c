"""What all who use a state folder may spend in one day, and that no two runs spend the same of it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp import Client

from massgen_mcp.clock import SystemClock
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.errors import JournalError, RequestRefused
from massgen_mcp.journal import Journal, MemoryJournal, open_journal
from massgen_mcp.runs import Allowance, Ask, ResolvedTeam, Runs, World
from massgen_mcp.runs.users import User
from massgen_mcp.server.app import build_server
from massgen_mcp.team.spec import Equipment
from tests.server.shown import data, text
from tests.teams import After, ScriptedTeam, Step

pytestmark = pytest.mark.anyio

DAY = 86_400.0


class Calendar(SystemClock):
    """The system's clock, as it was some days ago."""

    ago = 0.0

    def now(self) -> float:
        return time.time() - self.ago * DAY


class Hurried(Calendar):
    """Sleeping takes no time, and time passes all the same."""

    slept = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        await anyio.lowlevel.checkpoint()


class Counting(SystemClock):
    """Each look at the clock is a moment later."""

    at = 20_000 * DAY

    def now(self) -> float:
        self.at += 0.01
        return self.at


@dataclass
class DayTeam(ScriptedTeam):
    """A team on a machine with a limit for the day. Each request costs one cent."""

    usd_per_day: float | None = 0.05
    folder: Path | None = None
    free: bool = False
    draws: bool = False
    """Whether its agents may make pictures, at a model elsewhere."""
    allowance: Allowance = field(default_factory=lambda: Allowance(usd=5.0))

    def world(self) -> World:
        world = replace(super().world(), usd_per_day=self.usd_per_day, state_dir=self.folder)
        # Two processes on one folder must not make up the same names of runs.
        return world if self.folder is None else replace(world, random=Random)

    async def _open_journal(self) -> Journal:
        if self.folder is None:
            return await super()._open_journal()
        return await open_journal(self.folder)

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        team = await super().resolve(ask)
        if not self.free:
            return team
        agents = tuple(
            replace(agent, info=replace(agent.info, free=True), options=agent.options.model_copy())
            for agent in team.agents
        )
        tools = {"a": AgentTools(enable_image_generation=True)} if self.draws else {}
        return replace(team, agents=agents, equipment=Equipment(tools=tools))


def team_of(*steps: Step, **more: Any) -> DayTeam:
    return DayTeam({"a": list(steps)}, **more)


@asynccontextmanager
async def runs_of(team: ScriptedTeam) -> AsyncGenerator[Runs]:
    async with anyio.create_task_group() as tasks:
        async with team(tasks) as runs:
            yield runs
        tasks.cancel_scope.cancel()


async def call(client: Client, question: str, **more: Any) -> Any:
    return await client.call_tool("ask_team", {"question": question, "team": "test", **more})


async def test_a_run_gets_what_is_left_of_the_day_and_says_so_and_without_any_none_begins():
    gate = anyio.Event()
    async with Client(build_server(team_of(After(gate, "answer: 4")))) as client:
        first = data(await call(client, "one", wait_seconds=0))
        refused = await call(client, "two")
        gate.set()
        await client.call_tool("get_run", {"run_id": first["run_id"], "wait_seconds": 10})
        second = data(await call(client, "two"))
    assert refused.is_error
    assert text(refused) == (
        "The $0.05 that all runs here may spend a day are used up: $0.00 went to the runs of today, and "
        "$0.05 are set aside for runs in motion. The day ends at midnight UTC; the operator can raise "
        "MASSGEN_MCP_MAX_USD_PER_DAY. Nothing was spent."
    )
    words = "This run may use ${} at most instead of $5.00: no more is left of the day's $0.05."
    assert words.format("0.05") in first["warnings"]
    assert words.format("0.04") in second["warnings"]
    assert second["answer"] == "4"


async def test_a_run_that_needs_less_than_there_is_left_is_not_warned():
    team = team_of("answer: 4", usd_per_day=5.0, allowance=Allowance(usd=1.0))
    async with Client(build_server(team)) as client:
        found = data(await call(client, "one"))
    assert "warnings" not in found


async def test_runs_of_other_processes_count_with_what_they_may_still_spend_and_then_with_what_they_did():
    journal = MemoryJournal()
    team = team_of("answer: 4", journal=journal)
    theirs = await journal.begin("theirs", question="q", team="t", body={"limits": {"usd": 0.045}})
    await journal.begin("unlimited", question="q", team="t", body={})
    async with runs_of(team) as runs:
        handle = await runs.start(Ask(question="one"))
        await handle.wait(10)
        assert handle.run.spec.limits.usd == pytest.approx(0.005)
        await theirs.append("Finished", {"status": "completed", "usage": {"cost_usd": 0.01}})
        handle = await runs.start(Ask(question="two"))
        assert handle.run.spec.limits.usd == pytest.approx(0.04)


async def test_what_a_live_run_has_spent_by_now_is_not_counted_twice():
    journal = MemoryJournal()
    theirs = await journal.begin("theirs", question="q", team="t", body={"limits": {"usd": 0.03}})
    reply = {"agent": "a", "reply": {}, "usage": {"requests": 1, "cost_usd": 0.02}}
    await theirs.append("CallReplied", reply, turn=1, call=1)
    async with runs_of(team_of("answer: 4", journal=journal)) as runs:
        handle = await runs.start(Ask(question="one"))
        assert handle.run.spec.limits.usd == pytest.approx(0.02)


async def test_yesterday_is_over():
    clock = Calendar()
    journal = MemoryJournal(clock=clock)
    clock.ago = 1
    log = await journal.begin("old", question="q", team="t", body={"limits": {"usd": 5}})
    await log.append("Finished", {"status": "completed", "usage": {"cost_usd": 5.0}})
    clock.ago = 0
    async with runs_of(team_of("answer: 4", journal=journal, clock=clock)) as runs:
        handle = await runs.start(Ask(question="one"))
        assert handle.run.spec.limits.usd == pytest.approx(0.05)


async def test_runs_that_are_kept_nowhere_count_too():
    gate = anyio.Event()
    async with runs_of(team_of(After(gate, "answer: 4"), journalled=False)) as runs:
        handle = await runs.start(Ask(question="one"))
        with pytest.raises(RequestRefused, match=r"\$0\.05 are set aside"):
            await runs.start(Ask(question="two"))
        gate.set()
        await handle.wait(10)
        second = await runs.start(Ask(question="two"))
        assert second.run.spec.limits.usd == pytest.approx(0.04)


@pytest.mark.parametrize("end", ["over", "with its process"])
async def test_what_runs_that_are_kept_nowhere_cost_counts_after_a_restart(end: str, tmp_path: Path):
    anna = User(name="anna", usd_per_day=0.2)
    gate = anyio.Event()
    stopped = end != "over"
    scripts: dict[str, list[Step]] = {"a": ["answer: 4"]}
    if stopped:
        scripts["b"] = [After(gate, "answer: 4")]
    async with runs_of(DayTeam(scripts, usd_per_day=None, journalled=False, folder=tmp_path)) as runs:
        handle = await runs.for_user(anna).start(Ask(question="one"))
        if stopped:
            with anyio.fail_after(10):
                while handle.run.budget.spent.requests < 1:  # noqa: ASYNC110 - the run tells nobody of a reply
                    await anyio.sleep(0.01)
        else:
            await handle.wait(10)
        before = (await runs.catalogue())["spent_today_usd"]
    async with runs_of(team_of("answer: 4", usd_per_day=None, folder=tmp_path)) as runs:
        spent = [(await one.catalogue())["spent_today_usd"] for one in (runs, runs.for_user(anna))]
        assert list(await runs.rows()) == []
        handle = await runs.for_user(anna).start(Ask(question="two"))
        assert handle.run.spec.limits.usd == pytest.approx(0.19)
    assert [before, *spent] == [0.01, 0.01, 0.01]


async def test_a_cost_that_cant_be_noted_counts_as_long_as_it_is_known(caplog: pytest.LogCaptureFixture):
    class Full(MemoryJournal):
        async def note_spent(self, usd: float, *, user: str = "", at: float | None = None) -> None:
            raise JournalError("The disk is full.")

    async with runs_of(team_of("answer: 4", journal=Full(), journalled=False)) as runs:
        await (await runs.start(Ask(question="one"))).wait(10)
        assert "is not noted: The disk is full." in caplog.text
        second = await runs.start(Ask(question="two"))
        assert second.run.spec.limits.usd == pytest.approx(0.04)


async def test_a_users_limit_and_the_days_both_hold():
    gate = anyio.Event()
    async with runs_of(team_of(After(gate, "answer: 4"), usd_per_day=0.5)) as runs:
        anna = runs.for_user(User(name="anna", usd_per_day=0.2))
        rich = runs.for_user(User(name="rich", usd_per_day=9.0))
        first = await anna.start(Ask(question="one"))
        second = await rich.start(Ask(question="two"))
        with pytest.raises(RequestRefused, match=r"Your token's \$0\.20 a day .* Nothing was spent\."):
            await anna.start(Ask(question="three"))
        with pytest.raises(
            RequestRefused, match=r"The \$0\.50 that all runs here may spend a day are used up"
        ):
            await rich.start(Ask(question="four"))
    assert first.run.spec.limits.usd == pytest.approx(0.2)
    assert second.run.spec.limits.usd == pytest.approx(0.3)
    assert "no more is left of your token's $0.20" in first.warnings[0]
    assert "no more is left of the day's $0.50" in second.warnings[0]


async def test_a_team_that_costs_nothing_may_be_asked_when_the_money_is_gone():
    journal = MemoryJournal()
    await journal.begin("theirs", question="q", team="t", body={"limits": {"usd": 1}})
    team = team_of("answer: 4", journal=journal, free=True, price=None)
    async with runs_of(team) as runs:
        result = await (await runs.start(Ask(question="one"))).wait(10)
        team.draws = True
        with pytest.raises(RequestRefused, match="used up"):
            await runs.start(Ask(question="two"))
    assert (result.answer, result.warnings) == ("4", [])


async def test_two_processes_on_one_folder_do_not_spend_the_same_money(tmp_path: Path):
    gate = anyio.Event()
    began: list[str] = []
    refused: list[str] = []

    async def start(runs: Runs, question: str) -> None:
        try:
            began.append((await runs.start(Ask(question=question))).run_id)
        except RequestRefused as error:
            refused.append(str(error))

    one = team_of(After(gate, "answer: 4"), folder=tmp_path)
    other = team_of(After(gate, "answer: 4"), folder=tmp_path)
    async with runs_of(one) as first, runs_of(other) as second:
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(start, first, f"first {number}")
                tasks.start_soon(start, second, f"second {number}")
        gate.set()
    assert (len(began), len(refused)) == (1, 5)
    assert all("$0.05 are set aside for runs in motion" in words for words in refused)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"usd_per_day": 0.05}, r"Your token's \$0\.05 a day are used up: .* \$0\.05 are set aside"),
        ({"runs": 1}, r"You have 1 runs in motion, as many as your token allows"),
    ],
    ids=["money", "runs"],
)
async def test_a_user_of_two_processes_on_one_folder_has_their_limits_once(
    limits: dict[str, Any], words: str, tmp_path: Path
):
    gate = anyio.Event()
    anna, ben = User(name="anna", **limits), User(name="ben", **limits)
    began: list[str] = []
    refused: list[str] = []

    async def start(runs: Runs, question: str) -> None:
        try:
            began.append((await runs.start(Ask(question=question))).run_id)
        except RequestRefused as error:
            refused.append(str(error))

    one = team_of(After(gate, "answer: 4"), folder=tmp_path, usd_per_day=None)
    other = team_of(After(gate, "answer: 4"), folder=tmp_path, usd_per_day=None)
    async with runs_of(one) as first, runs_of(other) as second:
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(start, first.for_user(anna), f"first {number}")
                tasks.start_soon(start, second.for_user(anna), f"second {number}")
        assert await second.for_user(ben).start(Ask(question="mine"))
        assert await second.start(Ask(question="the operator's"))
        gate.set()
        for run_id in began:
            await first.for_user(anna).wait(run_id, 10)
        again = second.for_user(anna)
        assert await again.start(Ask(question="again"))
    assert (len(began), len(refused)) == (1, 5)
    assert all(re.match(words, refusal) for refusal in refused), refused


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
async def test_while_another_process_lets_a_run_begin_one_waits_and_not_for_ever(tmp_path: Path):
    import fcntl  # noqa: PLC0415 - there is none on Windows

    async with runs_of(team_of("answer: 4", folder=tmp_path, clock=Hurried())) as runs:
        await runs.journal()
        with (tmp_path / "admission.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(RequestRefused, match=r"for 10 s.* Ask again\. Nothing was spent\."):
                await runs.start(Ask(question="one"))
        assert await runs.start(Ask(question="one"))


async def test_a_run_whose_limit_cant_be_read_counts_with_what_it_has_spent():
    journal = MemoryJournal()
    for number, limits in enumerate([None, "much", {"usd": "5"}, {"tokens": 5}]):
        await journal.begin(f"r{number}", question="q", team="t", body={"limits": limits})
    async with runs_of(team_of("answer: 4", journal=journal)) as runs:
        handle = await runs.start(Ask(question="one"))
        assert handle.run.spec.limits.usd == pytest.approx(0.05)


async def test_live_runs_are_found_behind_many_that_are_over():
    clock = Counting()
    journal = MemoryJournal(clock=clock)
    log = await journal.begin("old", question="q", team="t", body={})
    await log.append("Finished", {"status": "completed", "usage": {}})
    clock.at += 3 * DAY
    await journal.begin("theirs", question="q", team="t", body={"limits": {"usd": 0.03}})
    for number in range(210):
        log = await journal.begin(f"r{number}", question="q", team="t", body={})
        await log.append("Finished", {"status": "completed", "usage": {}})
    async with runs_of(team_of("answer: 4", journal=journal, clock=clock)) as runs:
        handle = await runs.start(Ask(question="one"))
        assert handle.run.spec.limits.usd == pytest.approx(0.02)
