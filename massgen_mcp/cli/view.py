"""How a run in motion looks: a frame of facts in, lines of text out. Pure, so that it can be tested as a table."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from massgen_mcp.cli.words import duration, money, short_count
from massgen_mcp.text import visible

__all__ = ["Frame", "Lane", "draw"]

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPINS = 8.0
"""Steps of the spinner a second."""
_MARKS = {
    "waiting": ("·", "dim"),
    "answered": ("✓", "green"),
    "voted": ("✓", "green"),
    "presented": ("✓", "green"),
    "abstained": ("–", "yellow"),
    "stopped": ("–", "dim"),
    "failed": ("✗", "red"),
}
_NAME, _MODEL = 16, 34
"""Columns that an agent's name and its model take at most."""
_STATE, _SECONDS, _TOKENS, _COST = 10, 11, 6, 9
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One agent, now."""

    name: str
    model: str
    state: str
    seconds: float
    tokens: int
    cost_usd: float | None
    newest: str = ""
    """The newest of what its model said, or what it ended in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A run, now."""

    team: str
    phase: str
    done: str
    seconds: float
    tokens: int
    cost_usd: float | None
    limit_usd: float | None = None
    eta: float | None = None
    stopping: bool = False
    lanes: tuple[Lane, ...] = ()


def draw(frame: Frame, *, width: int, height: int) -> Text:
    """The frame in at most so many columns and lines; text of models is text, never markup."""
    width = max(20, width - 1)  # a full last column makes some terminals wrap
    names = min(_NAME, max((cell_len(visible(lane.name)) for lane in frame.lanes), default=0))
    rows = [_head(frame, width)]
    two_lines = 2 * len(frame.lanes) + 1 < height
    for lane in frame.lanes:
        rows.append(_lane(lane, frame, width, names))
        if two_lines:
            rows.append(_newest(lane, width))
    return Text("\n").join(rows[: max(1, height - 1)])


def _head(frame: Frame, width: int) -> Text:
    phase = "stopping" if frame.stopping else f"{frame.phase} {frame.done}".strip()
    cost = money(frame.cost_usd)
    if cost and frame.limit_usd is not None:
        cost += f" of {money(frame.limit_usd)}"
    facts = [duration(frame.seconds), cost, f"{short_count(frame.tokens)} tokens" if frame.tokens else ""]
    if frame.eta is not None and not frame.stopping:
        facts.append(f"about {duration(round(frame.eta))} left")
    elif frame.stopping:
        facts.append("Ctrl-C again quits")
    line = Text(visible(frame.team), style="bold")
    line.append(" · ").append(phase or "starting", style="yellow" if frame.stopping else "cyan")
    line.append("".join(f" · {fact}" for fact in facts if fact), style="default not bold")
    return _cut(line, width)


def _lane(lane: Lane, frame: Frame, width: int, names: int) -> Text:
    mark, style = _MARKS.get(lane.state, (_spin(frame.seconds), "cyan"))
    figures = (
        _right(duration(lane.seconds) if lane.seconds else "", _SECONDS)
        + _right(short_count(lane.tokens) if lane.tokens else "", _TOKENS)
        + _right(money(lane.cost_usd), _COST)
    )
    models = min(_MODEL, width - names - len(figures) - _STATE - 6)
    line = Text("  ").append(mark, style=style).append(" ")
    line.append(_left(lane.name, names), style="bold")
    if models > 0:
        line.append("  " + _left(lane.model, models), style="dim")
    line.append(_left(f"  {lane.state}", _STATE + 2), style=style).append(figures)
    return _cut(line, width)


def _newest(lane: Lane, width: int) -> Text:
    """The end of the newest text on one line, cut at a word so that it does not tremble."""
    room = width - 4
    text = " ".join(visible(lane.newest).split())
    if cell_len(text) > room:
        text = _ELLIPSIS + _end(text, room - 1)
    return Text("    ").append(text, style="red" if lane.state == "failed" else "dim")


def _end(text: str, room: int) -> str:
    start, used = len(text), 0
    while start and used + cell_len(text[start - 1]) <= room:
        start -= 1
        used += cell_len(text[start])
    space = text.find(" ", start, start + 20)
    return text[space + 1 :] if space >= 0 else text[start:]


def _spin(seconds: float) -> str:
    return _SPINNER[int(seconds * _SPINS) % len(_SPINNER)]


def _left(text: str, width: int) -> str:
    text = " ".join(visible(text).split()) if text.strip() == text else visible(text)
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1) + _ELLIPSIS
    return set_cell_size(text, width)


def _right(text: str, width: int) -> str:
    return text.rjust(width)


def _cut(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line
