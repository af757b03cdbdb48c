"""`massgen-mcp usage`: what runs have used, from the journal alone."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.clock import SystemClock
from massgen_mcp.journal import Journal, MemoryJournal, open_journal
from tests.cli.terminal import Terminal
from tests.teams import ScriptedTeam

DAY = 86_400.0


class Calendar(SystemClock):
    """The system's clock, as it was some days ago."""

    ago = 0.0

    def now(self) -> float:
        return time.time() - self.ago * DAY


def reply(agent: str, model: str, **usage: Any) -> dict[str, Any]:
    return {"agent": agent, "reply": {"model": model}, "usage": {"requests": 1, **usage}}


async def keep(journal: Journal, run_id: str, *, team: str = "fast", user: str = "", **agents: Any) -> None:
    """A finished run of these agents: backend and model, then the usage of each reply."""
    body = {"agents": [{"id": name, "backend": row[0], "model": row[1]} for name, row in agents.items()]}
    log = await journal.begin(run_id, question="q", team=team, body=body, user=user)
    total: dict[str, float] = {}
    for turn, (name, (_, model, *usages)) in enumerate(agents.items(), 1):
        for call, usage in enumerate(usages, 1):
            await log.append("CallStarted", {"agent": name}, turn=turn, call=call)
            await log.append("CallReplied", reply(name, model, **usage), turn=turn, call=call)
            for key, value in ({"requests": 1} | usage).items():
                total[key] = total.get(key, 0) + value
    await log.append("Finished", {"status": "completed", "usage": total})


@pytest.fixture
def team() -> ScriptedTeam:
    clock = Calendar()
    journal = MemoryJournal(clock=clock)
    anyio.run(_fill, journal, clock)
    return ScriptedTeam({}, journal=journal)


async def _fill(journal: Journal, clock: Calendar) -> None:
    cheap, dear = {"input": 100, "output": 10, "cost_usd": 0.01}, {"input": 5, "output": 5, "cost_usd": 0.5}
    clock.ago = 40
    await keep(journal, "old", a=("openai", "gpt-5", dear))
    clock.ago = 1
    await keep(
        journal, "r1", team="deep", user="anna", a=("openai", "gpt-5", dear), b=("gemini", "g-2", cheap)
    )
    clock.ago = 0
    await keep(journal, "r2", a=("openai", "gpt-5-mini", cheap, cheap), b=("vllm", "qwen", {"input": 7}))


def _one(*usages: dict[str, Any], runs: int = 1) -> ScriptedTeam:
    """Runs of one agent, in memory."""
    journal = MemoryJournal()

    async def fill() -> None:
        for number in range(runs):
            await keep(journal, f"r{number}", a=("openai", "gpt-5", *usages))

    anyio.run(fill)
    return ScriptedTeam({}, journal=journal)


def _rows(terminal: Terminal, team: ScriptedTeam, *argv: str) -> list[list[str]]:
    return [line.split() for line in _out(terminal, team, *argv).splitlines()]


def _out(terminal: Terminal, team: ScriptedTeam, *argv: str) -> str:
    ended = terminal.run(team, *argv)
    assert (ended.code, ended.err) == (0, "")
    return ended.out


def test_by_backend_the_most_expensive_is_first(team: ScriptedTeam, terminal: Terminal) -> None:
    ended = _rows(terminal, team, "usage")
    assert ended == [
        ["Backend", "Runs", "Requests", "Tokens", "in", "Tokens", "out", "Cost"],
        ["openai", "2", "3", "205", "25", "$0.52"],
        ["gemini", "1", "1", "100", "10", "$0.01"],
        ["vllm", "1", "1", "7", "0", "not", "known"],
        ["total", "2", "5", "312", "35", "$0.53"],
    ]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("model", ["gpt-5", "gpt-5-mini", "g-2", "qwen", "total"]),
        ("team", ["deep", "fast", "total"]),
        ("user", ["anna", "(operator)", "total"]),
    ],
)
def test_it_is_told_by_what_one_asks_for(
    team: ScriptedTeam, terminal: Terminal, by: str, names: list[str]
) -> None:
    assert [row[0] for row in _rows(terminal, team, "usage", "--by", by)][1:] == names


def test_by_day_the_newest_is_first_and_days_are_those_of_the_calendar(
    team: ScriptedTeam, terminal: Terminal
) -> None:
    days = [time.strftime("%Y-%m-%d", time.gmtime(time.time() - ago * DAY)) for ago in (0, 1, 40)]
    found = _rows(terminal, team, "usage", "--by", "day", "--days", "60")
    assert [row[0] for row in found][1:] == [*days, "total"]
    assert [row[0] for row in _rows(terminal, team, "usage", "--by", "day", "--days", "1")][1:] == days[:1]


def test_as_data(team: ScriptedTeam, terminal: Terminal) -> None:
    ended = _out(terminal, team, "usage", "--json", "--by", "team", "--days", "1")
    found = json.loads(ended)
    assert found["rows"] == [
        {
            "team": "fast",
            "runs": 1,
            "requests": 3,
            "input": 207,
            "output": 20,
            "cost_usd": 0.02,
            "unpriced": 0,
            "lost_usd": 0.0,
        }
    ]
    assert (found["by"], found["days"], found["total"]["runs"]) == ("team", 1.0, 1)


def test_what_has_no_price_is_said_where_the_rest_has_one(terminal: Terminal) -> None:
    team = _one({"input": 1, "cost_usd": 0.25}, {"input": 1, "unpriced": 1})
    out = _out(terminal, team, "usage")
    assert out.splitlines()[1].split() == ["openai", "1", "2", "2", "0", "$0.25+"]
    assert out.splitlines()[-1] == "+: 1 requests have no known price."


def test_what_was_set_aside_for_requests_that_were_cut_off_is_told_apart(terminal: Terminal) -> None:
    journal = MemoryJournal()

    async def fill() -> float:
        for run_id in ("r1", "r2"):
            log = await journal.begin(run_id, question="q", team="fast", body={})
            usage = {"requests": 2, "cost_usd": 0.25, "lost": {"requests": 1, "cost_usd": 0.5}}
            await log.append("Finished", {"status": "cancelled", "usage": usage})
        return await journal.spent(0.0)

    assert anyio.run(fill) == 1.5
    team = ScriptedTeam({}, journal=journal)
    out = _out(terminal, team, "usage", "--by", "team").splitlines()
    assert out[1].split()[-1] == "$0.50"
    assert " ".join(out[2:]).startswith("$1.00 more were set aside for requests that were cut off.")
    found = json.loads(_out(terminal, team, "usage", "--by", "team", "--json"))
    assert [found["rows"][0]["lost_usd"], found["total"]["lost_usd"]] == [1.0, 1.0]
    found = json.loads(_out(terminal, team, "usage", "--json"))
    assert [row.get("lost_usd") for row in found["rows"]] == [None] * len(found["rows"])


def test_without_runs_it_says_so(terminal: Terminal) -> None:
    assert _out(terminal, ScriptedTeam({}), "usage") == "No runs in the last 30 days.\n"


def test_more_runs_than_a_page_are_all_counted(terminal: Terminal) -> None:
    team = _one({"input": 1}, runs=205)
    assert json.loads(_out(terminal, team, "usage", "--json"))["total"]["runs"] == 205


@dataclass
class Kept(ScriptedTeam):
    """A team whose journal is on disk."""

    folder: Path = field(default_factory=Path)

    async def _open_journal(self) -> Journal:
        return await open_journal(self.folder)


def test_a_damaged_run_costs_what_its_row_says(terminal: Terminal, tmp_path: Path) -> None:
    async def fill() -> None:
        journal = await open_journal(tmp_path)
        await keep(journal, "r1", a=("openai", "gpt-5", {"input": 3, "cost_usd": 0.25}))
        await journal.aclose()

    anyio.run(fill)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as raw, raw:
        raw.execute("UPDATE records SET body = '{}' WHERE seq = 3")
    ended = terminal.run(Kept({}, folder=tmp_path), "usage", "--by", "team")
    assert ended.out.splitlines()[1].split()[-1] == "$0.25"
    assert ended.err == "1 runs have damaged records, so some of what they used may be missing.\n"
