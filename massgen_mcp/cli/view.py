"""How a run in motion looks: a frame of facts in, lines of text out. Pure: a table tests it."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from massgen_mcp.runs.lines import duration, money
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
    "abstained": ("-", "yellow"),
    "stopped": ("-", "yellow"),
    "failed": ("✗", "red"),
}
_NAME, _MODEL, _STATE = 16, 34, 9
"""Columns that an agent's name, its model and its state take at most."""
_NARROWEST_MODEL = 8
_TOKENS = 6
_ELLIPSIS = "…"
_GAP = "  "
_THOUSAND, _TEN_THOUSAND, _MILLION = 1_000, 10_000, 1_000_000


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
    """The newest of what its model said, or what its turn ended in."""


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
    """The frame in at most so many columns and lines; what models say is shown as it is, never as markup."""
    width = max(20, width - 1)  # some terminals wrap when the last column is filled
    rows = [_head(frame, width)]
    table = [_figures(lane) for lane in frame.lanes]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    with_text = 2 * len(frame.lanes) + 1 < height
    for lane, cells in zip(frame.lanes, table, strict=True):
        figures = "".join(_GAP + cell.rjust(most) for cell, most in zip(cells, widths, strict=True) if most)
        rows.append(_lane(lane, frame, figures, width))
        if with_text:
            rows.append(_newest(lane, width))
    return Text("\n").join(rows[: max(1, height - 1)])


def _head(frame: Frame, width: int) -> Text:
    phase = "stopping" if frame.stopping else f"{frame.phase} {frame.done}".strip()
    cost = money(frame.cost_usd)
    if cost and frame.limit_usd is not None:
        cost += f" of {money(frame.limit_usd)}"
    facts = [duration(frame.seconds), f"{_short(frame.tokens)} tokens" if frame.tokens else "", cost]
    if frame.stopping:
        facts.append("Ctrl-C again quits")
    elif frame.eta is not None:
        facts.append(f"about {duration(frame.eta)} left")
    line = Text(visible(frame.team), style="bold").append(" · ")
    line.append(phase or "starting", style="yellow" if frame.stopping else "cyan")
    line.append("".join(f" · {fact}" for fact in facts if fact), style="not bold")
    line.truncate(width, overflow="ellipsis")
    return line


def _figures(lane: Lane) -> tuple[str, str, str]:
    return (
        duration(lane.seconds) if lane.seconds or lane.state != "waiting" else "",
        _short(lane.tokens) if lane.tokens else "",
        money(lane.cost_usd).replace("under ", "<"),
    )


def _lane(lane: Lane, frame: Frame, figures: str, width: int) -> Text:
    mark, style = _MARKS.get(lane.state, (_spin(frame.seconds), "cyan"))
    names = min(_NAME, max(cell_len(visible(other.name)) for other in frame.lanes))
    models = min(_MODEL, max(cell_len(visible(other.model)) for other in frame.lanes))
    models = min(models, width - 4 - names - 4 - _STATE - cell_len(figures))
    line = Text("  ").append(f"{mark} ", style=style).append(_padded(lane.name, names), style="bold")
    if models >= _NARROWEST_MODEL:
        line.append(_GAP + _padded(lane.model, models), style="dim")
    line.append(_GAP + _padded(lane.state, _STATE), style=style).append(figures)
    line.truncate(width, overflow="ellipsis")
    return line


def _newest(lane: Lane, width: int) -> Text:
    """The end of the newest text on one line, cut at a word so that it does not tremble."""
    room = width - 4
    text = " ".join(visible(lane.newest).split())
    if lane.state != "working":
        return Text("    ").append(_padded(text, min(room, cell_len(text))), style=_tone(lane))
    if cell_len(text) > room:
        text = _ELLIPSIS + _end(text, room - 1)
    return Text("    ").append(text, style=_tone(lane))


def _tone(lane: Lane) -> str:
    return "red" if lane.state == "failed" else "dim"


def _end(text: str, room: int) -> str:
    start, used = len(text), 0
    while start and used + cell_len(text[start - 1]) <= room:
        start -= 1
        used += cell_len(text[start])
    space = text.find(" ", start, start + 20)
    return text[space + 1 :] if space >= 0 else text[start:]


def _spin(seconds: float) -> str:
    return _SPINNER[int(seconds * _SPINS) % len(_SPINNER)]


def _padded(text: str, width: int) -> str:
    """The text in exactly that many columns, on one line."""
    text = " ".join(visible(text).split())
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1) + _ELLIPSIS
    return set_cell_size(text, width)


def _short(number: int) -> str:
    """`950`, `4.2k`, `31k`, `1.2M`."""
    if number < _THOUSAND:
        return str(number)
    if number < _TEN_THOUSAND:
        return f"{number / _THOUSAND:.1f}k"
    return f"{number // _THOUSAND}k" if number < _MILLION else f"{number / _MILLION:.1f}M"
