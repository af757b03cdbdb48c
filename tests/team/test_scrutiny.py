"""How hard an agent looks before it votes, as its team file wants it."""

from __future__ import annotations

import anyio
import pytest

from massgen_mcp.engine import Settings
from massgen_mcp.runs import Ask
from massgen_mcp.team.scrutiny import Scrutiny
from tests.teams import ScriptedTeam

pytestmark = pytest.mark.anyio

INSTEAD = "Only if you can clearly improve on all of them"


async def vote_prompts(scrutiny: Scrutiny, *, strategy: str = "vote", rounds: int = 1) -> list[str]:
    """The last words to agent `a` on each ballot; `b` answers anew to open the next."""
    team = ScriptedTeam(
        {
            "a": ["answer: 4", *["vote: five"] * rounds, "answer: final"],
            "b": ["answer: five", *[f"answer: five, {number}" for number in range(1, rounds)], "vote: 4"],
        },
        strategy=strategy,
        settings=Settings(max_answers=9, presentation="reuse"),
        scrutiny=scrutiny,
    )
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        handle = await runs.start(Ask(question="2 + 2?"))
        with anyio.fail_after(10):
            await handle.wait()
    texts = [request.messages[-1].text for name, request in team.asked if name == "a"]
    return [text for text in texts if "Valid labels" in text]


@pytest.mark.parametrize(
    ("scrutiny", "said"),
    [
        (Scrutiny(kind="lenient"), INSTEAD),
        (Scrutiny(kind="balanced"), "name the greatest weakness of your choice in `reason`"),
        (Scrutiny(kind="balanced"), INSTEAD),
        (Scrutiny(kind="strict"), "Rate each from 0 to 3"),
        (Scrutiny(kind="strict"), "Vote only for one rated 3 in all three; else hand in a new answer"),
        (Scrutiny(kind="roi"), "more than 20 % better"),
        (Scrutiny(kind="roi", threshold=3), "more than 30 % better"),
        (Scrutiny(kind="roi_conservative"), "far better than all"),
        (Scrutiny(kind="roi_balanced"), "clearly better than all"),
        (Scrutiny(kind="roi_aggressive"), "better at all"),
        (Scrutiny(kind="adversarial"), "Try to refute each one"),
        (Scrutiny(kind="consistency"), "Look for contradictions"),
        (Scrutiny(kind="diversity"), "If all miss an important view"),
        (Scrutiny(kind="reflective"), "First think again about what you may have got wrong"),
        (Scrutiny(kind="checklist"), "Score each from 0 to 10"),
        (Scrutiny(kind="checklist_scored"), "with 7 or more in each"),
        (Scrutiny(kind="checklist_gated", threshold=9), "with 9 or more in each"),
    ],
)
async def test_each_kind_asks_for_what_its_name_says(scrutiny: Scrutiny, said: str):
    (prompt,) = await vote_prompts(scrutiny)
    assert said in prompt
    assert prompt.count("new answer") == 1


async def test_where_nobody_answers_again_only_the_judging_is_asked_for():
    (prompt,) = await vote_prompts(Scrutiny(kind="strict"), strategy="auto")
    assert "Rate each from 0 to 3" in prompt
    assert "new answer" not in prompt


async def test_sequential_looks_less_hard_from_ballot_to_ballot():
    prompts = await vote_prompts(Scrutiny(kind="sequential"), rounds=4)
    seen = (
        ["Rate each" in prompt for prompt in prompts],
        ["greatest weakness" in prompt for prompt in prompts],
    )
    assert seen[0][0]
    assert not any(seen[0][1:])
    assert [number for number, found in enumerate(seen[1]) if found] == [1]
    assert len(prompts) >= 3
