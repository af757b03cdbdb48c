"""A run's records as lines for a person: what an agent has done, how far the team is, time and money so far.

Progress over MCP and the terminal show the same lines. Times are the records' own, so that a run read back
from the journal reads as it did live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from massgen_mcp.journal.records import Kind, Record
from massgen_mcp.text import shorten, visible

__all__ = ["LINE_LIMIT", "RULES", "Lines", "duration", "money"]

LINE_LIMIT = 120
"""Characters of a line; hosts give it one row."""

_MINUTE = 60
_CENT = 0.01
_VOTE, _PRESENT, _SYNTHESIZE = "vote", "present", "synthesize"

_NOTICES: Mapping[str, str] = {
    "RoundDeadline": "the time of this round is over; going on with the answers there are",
    "AnsweringClosed": "answering is closed, the deadline is near",
    "RunDeadline": "the time is over; taking the best answer so far",
    "BudgetStopped": "the budget is used up; taking the best answer so far",
    "CancelRequested": "stopping",
}
RULES: Mapping[str, str] = {
    "agreement": "the answers agree",
    "quorum": "enough answers agree",
    "ballot": "by vote",
    "presented": "by vote, revised",
    "synthesis": "where the answers agree and differ",
    "only_answer": "the only answer",
    "single_agent": "a team of one",
    "best_so_far": "the best so far",
    "unvoted": "no vote was cast",
}
"""Why an answer was chosen, in words."""


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s`."""
    whole = max(0, round(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    return f"{whole // _MINUTE} min {whole % _MINUTE} s"


def money(usd: float | None) -> str:
    """`$0.02`; `under $0.01` for less; empty when nothing is known to have been spent."""
    if not usd:
        return ""
    return f"${usd:.2f}" if usd >= _CENT else "under $0.01"


class Lines:
    """The teller of one run. Feed it every record in order; most have nothing to tell."""

    def __init__(
        self,
        agents: Sequence[str] = (),
        *,
        started: float | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:
        """Know who takes part and when it began, where `RunStarted` will not be fed."""
        self.agents = tuple(agents)
        self.cost_usd: float | None = None
        """What the replies so far have cost, where prices are known."""
        self._started = started
        self._redact = redact
        self._ballot = 0
        self._answered: set[str] = set()
        self._voted: set[str] = set()
        self._out: set[str] = set()
        self._turns: dict[int, str] = {}
        """Turn -> its kind."""
        self._working: dict[str, str] = {}
        """Agent -> the kind of turn it is in."""
        # A failed request ends its turn, which tells why; of a tool it is enough to hear that it is used.
        self._tellers: Mapping[Kind, Callable[[Record], str | None]] = {
            "RunStarted": self._run_started,
            "TurnStarted": self._turn_started,
            "TurnEnded": self._turn_ended,
            "CallReplied": self._replied,
            "ToolStarted": self._tool_started,
            "AnswerGiven": self._answer_given,
            "VoteCast": self._vote_cast,
            "Notice": self._notice,
            "Finished": self._finished,
        }

    def line(self, record: Record) -> str | None:
        """What to tell of this record; None when a person need not see it."""
        if self._started is None:
            self._started = record.at
        tell = self._tellers.get(record.kind)
        text = tell(record) if tell else None
        return self._fit(text) if text else None

    def heartbeat(self, now: float, *, queued: str = "") -> str:
        """Where the run is, for when nothing has happened for a while.

        Args:
            now: seconds since the epoch.
            queued: what it waits for before it may begin.
        """
        working = list(self._working)
        if not self._turns:
            where = queued or "waiting to begin"
        elif any(kind in {_PRESENT, _SYNTHESIZE} for kind in self._working.values()):
            return self._fit(f"{working[0]} writes the final answer{self._so_far(now)}")
        elif self._ballot:
            where = f"{len(self._voted)}/{self._live} voted"
        else:
            where = f"{len(self._answered)}/{len(self.agents)} answered"
        waiting = f"; at work: {', '.join(working)}" if working else ""
        return self._fit(f"{where}{self._so_far(now)}{waiting}")

    @property
    def _live(self) -> int:
        return len(self.agents) - len(self._out)

    def _fit(self, text: str) -> str:
        return shorten(visible(self._redact(" ".join(text.split()))), LINE_LIMIT)

    def _so_far(self, now: float) -> str:
        spent = money(self.cost_usd)
        passed = duration(now - (now if self._started is None else self._started))
        return f", {passed}" + (f", {spent}" if spent else "")

    # One kind each.

    def _run_started(self, record: Record) -> str:
        body = record.body
        self.agents = tuple(agent["id"] for agent in body.get("agents", ()))
        names = ", ".join(self.agents)
        return f"{body.get('team') or 'the team'} begins: {names}"

    def _turn_started(self, record: Record) -> str | None:
        body = record.body
        agent, kind, ballot = body["agent"], str(body["kind"]), body.get("ballot", 0)
        self._working[agent] = kind
        self._turns[record.turn or 0] = kind
        if kind == _VOTE and ballot > self._ballot:
            again = " again, on the new answer" if self._ballot else ""
            self._ballot, self._voted = ballot, set()
            return f"voting begins{again}"
        if kind == _PRESENT:
            return f"{agent} writes the final answer"
        if kind == _SYNTHESIZE:
            return f"{agent} writes where the answers agree and differ"
        return None

    def _turn_ended(self, record: Record) -> str | None:
        body = record.body
        agent, how = body["agent"], body["how"]
        self._working.pop(agent, None)
        if how == "failed":
            self._out.add(agent)
        if how in {"failed", "abstained"}:
            return f"{agent} {how}: {body.get('why') or 'no reason was given'}"
        return None

    def _replied(self, record: Record) -> None:
        body = record.body
        cost = body.get("usage", {}).get("cost_usd")
        if cost is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost

    def _tool_started(self, record: Record) -> str:
        return f"{record.body['agent']} uses {record.body['name']}"

    def _answer_given(self, record: Record) -> str:
        body = record.body
        agent, kind = body["agent"], self._turns.get(record.turn or 0, "")
        self._working.pop(agent, None)
        if kind in {_PRESENT, _SYNTHESIZE}:
            return f"{agent} wrote the final answer{self._so_far(record.at)}"
        again = agent in self._answered
        self._answered.add(agent)
        if again:
            return f"{agent} gave a better answer{self._so_far(record.at)}"
        return f"{agent} answered ({len(self._answered)}/{len(self.agents)}){self._so_far(record.at)}"

    def _vote_cast(self, record: Record) -> str:
        body = record.body
        agent = body["agent"]
        self._working.pop(agent, None)
        if body.get("ballot", self._ballot) >= self._ballot:
            self._voted.add(agent)
        author = body["answer"].rpartition(".")[0]
        whom = "its own answer" if author == agent else author
        return f"{agent} voted for {whom} ({len(self._voted)}/{self._live}){self._so_far(record.at)}"

    def _notice(self, record: Record) -> str | None:
        body = record.body
        words = None if body.get("late") else _NOTICES.get(body["event"])
        if words and body.get("reason"):
            return f"{words}: {body['reason']}"
        return words

    def _finished(self, record: Record) -> str:
        body = record.body
        total = body.get("usage", {}).get("cost_usd")
        self.cost_usd = self.cost_usd if total is None else total
        self._working.clear()
        status, winner = body["status"], body.get("winner")
        if not winner:
            return f"{status}, without an answer{self._so_far(record.at)}"
        rule = RULES.get(body.get("rule", ""), "")
        how = f" ({rule})" if rule else ""
        return f"{status}: {winner}'s answer{how}{self._so_far(record.at)}"
