"""The live view: what it knows of a run, and how that looks."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from rich.cells import cell_len

from massgen_mcp.cli.spectator import Spectator, left
from massgen_mcp.cli.view import Frame, Lane, draw
from massgen_mcp.errors import BackendError
from massgen_mcp.journal import Record
from massgen_mcp.runs import Ask, RunHandle
from tests.teams import After, scripted_runs

GEMINI = Lane(
    name="gemini",
    model="gemini-2.5-flash",
    state="answered",
    seconds=3,
    tokens=2_270,
    cost_usd=0.004,
    newest="Timsort",
)
CLAUDE = Lane(
    name="claude",
    model="claude-sonnet-4-5-20250929",
    state="working",
    seconds=9.2,
    tokens=0,
    cost_usd=None,
    newest="The first thing to say is that nearly sorted can mean two things: few inversions, or few "
    "elements that are out of place.",
)
FAILED = Lane(
    name="gpt", model="gpt-5-nano", state="failed", seconds=1, tokens=0, cost_usd=None, newest="No key."
)
FRAME = Frame(
    team="fast",
    phase="answering",
    done="1/3",
    seconds=9.5,
    tokens=2_270,
    cost_usd=0.02,
    limit_usd=1.0,
    eta=11,
    lanes=(GEMINI, CLAUDE, FAILED),
)


def lines(frame: Frame, *, width: int = 80, height: int = 24) -> list[str]:
    return [line.rstrip() for line in draw(frame, width=width, height=height).plain.splitlines()]


def test_a_frame_tells_phase_time_cost_and_each_agents_newest_words():
    assert lines(FRAME) == [
        "fast · answering 1/3 · 10 s · 2.3k tokens · $0.02 of $1.00 · about 11 s left",
        "  ✓ gemini  gemini-2.5-flash            answered   3 s  2.3k  <$0.01",
        "    Timsort",
        "  ⠦ claude  claude-sonnet-4-5-20250929  working    9 s",
        "    …mean two things: few inversions, or few elements that are out of place.",
        "  ✗ gpt     gpt-5-nano                  failed     1 s",
        "    No key.",
    ]


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_screen(width: int):
    wide = Lane(
        name="数据" * 20,
        model="模" * 60,
        state="working",
        seconds=700,
        tokens=10**7,
        cost_usd=12.5,
        newest="结" * 300,
    )
    for line in lines(replace(FRAME, lanes=(wide, GEMINI)), width=width):
        assert cell_len(line) < width


def test_a_low_screen_shows_no_texts_and_a_lower_one_not_all_agents():
    assert len(lines(FRAME, height=7)) == 4
    assert len(lines(FRAME, height=3)) == 2


def test_a_narrow_screen_goes_without_the_model():
    assert "gemini-2.5" not in "\n".join(lines(FRAME, width=44))


def test_a_stopping_run_says_so_and_how_to_quit():
    head = lines(replace(FRAME, stopping=True))[0]
    assert head == "fast · stopping · 10 s · 2.3k tokens · $0.02 of $1.00 · Ctrl-C again quits"


def test_a_run_without_a_phase_is_starting():
    empty = Frame(team="", phase="", done="", seconds=0, tokens=0, cost_usd=None)
    assert lines(empty) == [" · starting · 0 s"]


def test_what_a_model_writes_is_neither_markup_nor_control():
    lane = replace(CLAUDE, newest="[bold]a\x1b[2J\n\u202eb")
    drawn = draw(replace(FRAME, lanes=(lane,)), width=80, height=24)
    assert "[bold]a␛[2J [U+202E]b" in drawn.plain
    assert not any(
        "bold" in str(span.style) for span in drawn.spans if span.start > drawn.plain.index("[bold]")
    )


def test_a_long_text_without_spaces_is_cut_inside():
    lane = replace(CLAUDE, newest="x" * 300)
    assert lines(replace(FRAME, lanes=(lane,)))[2] == "    …" + "x" * 74


def test_the_end_of_an_answer_is_cut_and_its_beginning_kept():
    lane = replace(GEMINI, newest="long " * 100)
    last = lines(replace(FRAME, lanes=(lane,)))[2]
    assert last.startswith("    long long")
    assert last.endswith("…")


@pytest.mark.parametrize(
    ("tokens", "words"), [(950, "950"), (4_210, "4.2k"), (31_900, "31k"), (1_250_000, "1.2M")]
)
def test_counts_are_short(tokens: int, words: str):
    assert f" {words} tokens" in lines(replace(FRAME, tokens=tokens))[0]


@pytest.mark.anyio
async def test_a_spectator_follows_a_run_from_answers_to_votes():
    held = anyio.Event()
    scripts = {
        "a": ["answer: 4", "vote: 5 because it counts"],
        "b": ["answer: 5", "vote: 4"],
        "c": [After(held, BackendError("Agent 'c': no key.", kind="auth"))],
    }
    async with anyio.create_task_group() as tasks:
        handle = await scripted_runs(tasks, **scripts).start(Ask(question="2 + 2?"))
        spectator = Spectator(handle)
        seen = await _watch(handle, spectator, held)
        waiting = seen[0]
        assert (waiting.phase, waiting.done) == ("answering", "2/3")
        assert [lane.state for lane in waiting.lanes] == ["answered", "answered", "working"]
        assert [lane.newest for lane in waiting.lanes[:2]] == ["4", "5"]
        last = {lane.name: lane.newest for lane in seen[-1].lanes}
        assert last["c"] == "Agent 'c': no key."
        assert "for b: it counts" in [lane.newest for frame in seen for lane in frame.lanes]
        assert all(lane.seconds >= 0 for lane in seen[-1].lanes)
        body = {"agent": "a", "name": "read_file"}
        spectator.hear(Record(run_id=handle.run_id, seq=99, at=0, kind="ToolStarted", body=body))
        assert spectator.frame().lanes[0].newest == "uses read_file"


async def _watch(handle: RunHandle, spectator: Spectator, held: anyio.Event) -> list[Frame]:
    """Frames from the second answer on, one for each record."""
    frames: list[Frame] = []
    answers = 0
    with handle.listen() as records, anyio.fail_after(10):
        async for record in records:
            spectator.hear(record)
            answers += record.kind == "AnswerGiven"
            if answers == 2 and record.kind == "TurnEnded" and not held.is_set():
                frames.append(spectator.frame())
                held.set()
            elif held.is_set():
                frames.append(spectator.frame())
    return frames


@pytest.mark.parametrize(("eta", "told"), [(None, None), (0.0, None), (1.0, None), (1.5, 1.5)])
def test_a_run_that_outlives_its_estimate_shows_none(eta: float | None, told: float | None):
    assert left(eta) == told
