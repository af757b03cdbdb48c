"""A run that can't be taken up stays as it was, and can be once things are as they were. One drives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, cast

import anyio
import pytest

from massgen_mcp.errors import MassgenError, ReplayRefused, RunNotFound
from massgen_mcp.journal import Journal, MemoryJournal, Record
from massgen_mcp.messages import Reply, ToolCall
from massgen_mcp.runs import Ask, ResolvedTeam, Runs
from massgen_mcp.runs.handle import RunHandle
from massgen_mcp.runs.result import RunResult
from massgen_mcp.secrets import Secrets
from massgen_mcp.usage import Usage
from tests.teams import After, ScriptedTeam

pytestmark = pytest.mark.anyio


@dataclass
class Team(ScriptedTeam):
    """A team that can change."""

    config: Mapping[str, Any] = field(default_factory=lambda: {"agents": [{"id": "a", "model": "m-1"}]})
    words: str = ""
    """What its agents are told beside our own words."""

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        found = await super().resolve(ask)
        agents = tuple(replace(agent, system_message=self.words) for agent in found.agents)
        return replace(found, agents=agents, config=self.config)


def whole(journal: Journal, **changes: Any) -> Team:
    """The team, none of whose agents has anything to wait for."""
    return Team({"a": ["answer: 4"], "b": ["answer: 4"]}, journal=journal, **changes)


async def interrupted(journal: MemoryJournal, **changes: Any) -> str:
    """A run that was cut off: its first agent has answered, its second was being asked."""
    team = whole(journal, **changes)
    team.scripts = {"a": ["answer: 4"], "b": [After(anyio.Event(), "answer: 4")]}
    handle: RunHandle | None = None
    async with anyio.create_task_group() as tasks:
        handle = await Runs(team.world(), tasks).start(Ask(question="2 + 2?"))
        with handle.listen() as records:
            async for record in records:
                if record.kind == "TurnEnded":
                    break
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert handle is not None
    await handle.run.log.leave()
    return handle.run_id


async def resumed(team: Team, run_id: str) -> RunResult:
    """What becomes of it in another process."""
    result: RunResult | MassgenError | None = None
    async with anyio.create_task_group() as tasks:
        try:
            handle = await Runs(team.world(), tasks).resume(run_id)
            with anyio.fail_after(10):
                result = await handle.wait()
        except MassgenError as error:
            result = error
        tasks.cancel_scope.cancel()
    if not isinstance(result, RunResult):
        raise result or AssertionError
    return result


async def check_refused(team: Team, run_id: str, journal: MemoryJournal, words: str) -> None:
    """It is refused in these words before anything is done, and goes on once the team is as it was."""
    before = list(await journal.read(run_id))
    with pytest.raises(ReplayRefused, match=words):
        await resumed(team, run_id)
    assert list(await journal.read(run_id)) == before
    await check_goes_on(team, run_id, journal)


async def check_goes_on(team: Team, run_id: str, journal: MemoryJournal) -> None:
    """Nothing was asked; as it was, it is asked what was under way, and nothing else."""
    assert team.asked == []
    assert (await journal.row(run_id)).state == "interrupted"
    again = whole(journal)
    result = await resumed(again, run_id)
    assert (result.status, result.answer) == ("completed", "4")
    assert [agent for agent, _ in again.asked] == ["b"]


class Older:
    """The journal as another version of this program wrote it."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[Record]:
        found = await self._journal.read(run_id, after=after, limit=limit)
        return [
            replace(record, body={**record.body, "prompts": "0", "version": "0.0.1"})
            if record.kind == "RunStarted"
            else record
            for record in found
        ]


async def test_a_run_of_a_version_that_asked_otherwise_is_refused_by_name():
    journal = MemoryJournal()
    run_id = await interrupted(journal)
    older = cast("Journal", Older(journal))
    await check_refused(whole(older), run_id, journal, r"massgen-mcp 0\.0\.1, which put its questions diff")


async def test_a_run_whose_team_has_changed_is_refused_with_the_place():
    journal = MemoryJournal()
    run_id = await interrupted(journal)
    changed = whole(journal, config={"agents": [{"id": "a", "model": "m-2"}]})
    await check_refused(changed, run_id, journal, r"agents\[0\]\.model changed")


async def test_a_run_one_of_whose_agents_is_gone_is_refused_by_its_name():
    journal = MemoryJournal()
    run_id = await interrupted(journal)
    smaller = whole(journal)
    smaller.scripts = {"a": ["answer: 4"]}
    await check_refused(smaller, run_id, journal, "b can't take part any more")


async def test_a_run_whose_agents_would_be_asked_something_else_stays_interrupted_and_nobody_is_asked():
    journal = MemoryJournal()
    run_id = await interrupted(journal)
    before = list(await journal.read(run_id))
    changed = whole(journal, words="Answer in verse.")
    result = await resumed(changed, run_id)
    assert result.status == "interrupted"
    assert "agent a would be asked something else" in result.error
    assert f'continue_run="{run_id}"' in result.error
    added = list(await journal.read(run_id))[len(before) :]
    assert [(record.kind, record.body["event"]) for record in added] == [("Notice", "Resumed")]
    await check_goes_on(changed, run_id, journal)


async def cut_after(journal: MemoryJournal, run_id: str, kind: str) -> MemoryJournal:
    """The same journal, had the process died with the first record of that kind."""
    found = await journal.read(run_id)
    last = next(record.seq for record in found if record.kind == kind)
    shorter = MemoryJournal()
    log = await shorter.begin(run_id, question="2 + 2?", team="test", body=found[0].body)
    for record in found[1:last]:
        await log.append(record.kind, record.body, turn=record.turn, call=record.call)
    await log.leave()
    return shorter


async def test_who_only_waits_for_a_refused_reply_is_not_asked_either():
    journal = MemoryJournal()
    run_id = await interrupted(journal)
    shorter = await cut_after(journal, run_id, "CallReplied")
    changed = whole(shorter, words="Answer in verse.")
    before = len(await shorter.read(run_id))
    assert (await resumed(changed, run_id)).status == "interrupted"
    assert len(await shorter.read(run_id)) == before + 1
    await check_goes_on(changed, run_id, shorter)


async def test_a_run_cancelled_while_it_waits_to_go_on_has_the_answers_there_were():
    journal = MemoryJournal()
    run_id = await interrupted(journal)
    busy = whole(journal)
    busy.scripts = {"a": [After(anyio.Event(), "answer: 4")], "b": [After(anyio.Event(), "answer: 4")]}
    async with anyio.create_task_group() as tasks:
        runs = Runs(replace(busy.world(), max_runs=1, random=lambda: Random(99)), tasks)
        await runs.start(Ask(question="3 + 3?"))
        await busy.answering.wait()
        handle = await runs.resume(run_id)
        await anyio.wait_all_tasks_blocked()
        result = await runs.cancel(run_id, "enough")
        assert (result.status, result.answer) == ("cancelled", "4")
        assert (await journal.row(run_id)).state == "cancelled"
        assert handle.result == result
        tasks.cancel_scope.cancel()


async def test_who_loses_a_run_to_another_process_writes_nothing_more_and_says_so():
    journal = MemoryJournal()
    asleep = anyio.Event()
    team = whole(journal)
    team.scripts = {"a": ["answer: 4"], "b": [After(asleep, "answer: 5")]}
    async with anyio.create_task_group() as tasks:
        handle = await Runs(team.world(), tasks).start(Ask(question="2 + 2?"))
        await team.answering.wait()
        await anyio.wait_all_tasks_blocked()
        await handle.run.log.leave()  # as if its heart had stopped
        other = await resumed(whole(journal), handle.run_id)
        kept = list(await journal.read(handle.run_id))
        asleep.set()
        with anyio.fail_after(10):
            result = await handle.wait()
        assert (other.status, other.answer) == ("completed", "4")
        assert result.status == "interrupted"
        assert "was taken over by process" in result.error
        assert list(await journal.read(handle.run_id)) == kept
        assert [record.kind for record in kept].count("Finished") == 1
        tasks.cancel_scope.cancel()


async def test_a_run_that_is_deleted_while_it_runs_takes_nothing_down_with_it():
    journal = MemoryJournal()
    asleep = anyio.Event()
    team = whole(journal)
    team.scripts = {"a": ["answer: 4"], "b": [After(asleep, "answer: 4")]}
    async with anyio.create_task_group() as tasks:
        runs = Runs(team.world(), tasks)
        handle = await runs.start(Ask(question="2 + 2?"))
        await team.answering.wait()
        await anyio.wait_all_tasks_blocked()
        await handle.run.log.leave()
        assert await journal.prune(older_than_days=-1) == [handle.run_id]
        asleep.set()
        with anyio.fail_after(10):
            result = await handle.wait()
        with pytest.raises(RunNotFound):
            await journal.row(handle.run_id)
        assert result.answer
        assert any("could not be kept" in words for words in result.warnings)
        tasks.cancel_scope.cancel()


SECRET = "correct-horse-battery"


async def test_a_run_with_secrets_in_its_question_and_in_what_was_said_goes_on():
    secrets = Secrets()
    secrets.add(SECRET, "KEY")
    journal = MemoryJournal(redact=secrets.redact_value)
    use = ToolCall(id="1", name="nothing", arguments=f'{{"key": "{SECRET}"}}')
    said = Reply(text=SECRET, calls=(use,), native=[SECRET], usage=Usage(requests=1, input=5))
    later = After(anyio.Event(), "vote: 4")
    scripts = {"a": [said, "answer: 4", later], "b": [f"answer: 5 and {SECRET}", later]}
    first = Team(scripts, journal=journal, secrets=secrets)
    handle: RunHandle | None = None
    async with anyio.create_task_group() as tasks:
        handle = await Runs(first.world(), tasks).start(Ask(question=f"What is {SECRET}?"))
        with handle.listen() as records:
            async for record in records:
                if record.kind == "CallStarted" and record.body["agent"] == "b" and record.turn != 2:
                    break
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert handle is not None
    await handle.run.log.leave()
    again = ["vote: 4", "answer: 4, as both say"]
    second = Team({"a": again, "b": again}, journal=journal, secrets=secrets)
    result = await resumed(second, handle.run_id)
    assert (result.status, result.answer) == ("completed", "4")
    assert [agent for agent, _ in second.asked] in (["a", "b"], ["b", "a"])
    assert SECRET not in "".join(str(record.body) for record in await journal.read(handle.run_id))
