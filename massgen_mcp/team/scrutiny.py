"""How hard an agent looks before it votes: MassGen's `voting_sensitivity`, in few words of our own.

Each kind has a sentence on how to judge, and perhaps one on when to answer again instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["LENIENT", "Scrutiny", "how_to_judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrutiny:
    """What the team file asks of an agent's votes."""

    kind: str = "lenient"
    threshold: int | None = None
    """`voting_threshold`, 0 to 10: the score an answer must reach, or the gain in tenths for `roi`."""


LENIENT = Scrutiny()

_STRICT = ("strict", "balanced", "lenient")
"""What `sequential` asks for on the first ballot, the second and later ones."""
_SCORE = 7
_GAIN = 2

_JUDGE: Mapping[str, str] = MappingProxyType(
    {
        "balanced": (
            "Look at whether each is to the point, right and whole; name the greatest weakness of your "
            "choice in `reason`."
        ),
        "strict": "Rate each from 0 to 3 for correctness, completeness and clarity; choose the best rated.",
        "adversarial": "Try to refute each one; choose the one that stands.",
        "consistency": "Look for contradictions in each, and for what most of them hold; choose by that.",
        "diversity": "Look for what each sees and the others miss; choose the one that covers most of it.",
        "reflective": "First think again about what you may have got wrong yourself.",
        "checklist": "Score each from 0 to 10 for correctness, completeness, clarity and use to the reader.",
    }
)
_IMPROVE: Mapping[str, str] = MappingProxyType(
    {
        "strict": "Vote only for one rated 3 in all three; else hand in a new answer that is.",
        "diversity": "If all miss an important view, hand in a new answer that has it instead.",
        "checklist": "Vote only for one with {score} or more in each; else hand in a new answer that has.",
        "roi": "Only if you expect it to be more than {gain} % better, hand in a new answer instead.",
        "roi_conservative": "Only if it would be far better than all of them, hand in a new answer instead.",
        "roi_balanced": "Only if it would be clearly better than all of them, hand in a new answer instead.",
        "roi_aggressive": "If it would be better at all than each of them, hand in a new answer instead.",
    }
)


def how_to_judge(scrutiny: Scrutiny, ballot: int) -> tuple[str, str]:
    """How to judge the answers of a ballot, counted from 1, and when to answer instead; both may be empty."""
    kind = scrutiny.kind
    if kind == "sequential":
        kind = _STRICT[min(max(ballot, 1), len(_STRICT)) - 1]
    kind = "checklist" if kind.startswith("checklist") else kind
    score = _SCORE if scrutiny.threshold is None else scrutiny.threshold
    gain = _GAIN if scrutiny.threshold is None else scrutiny.threshold
    return _JUDGE.get(kind, ""), _IMPROVE.get(kind, "").format(score=score, gain=10 * gain)
