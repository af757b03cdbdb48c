"""What a live view knows of a run: its records and its models' newest words, made into frames."""

from __future__ import annotations

from collections.abc import Callable

from massgen_mcp.cli.view import Frame, Lane
from massgen_mcp.journal import Record
from massgen_mcp.runs import RunHandle

__all__ = ["Spectator", "left"]


class Spectator:
    """Watches one run of this process. Only ever reads."""

    def __init__(self, handle: RunHandle, redact: Callable[[str], str] = str) -> None:
        self._handle = handle
        self._redact = redact
        self._newest: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        handle.run.log.watch_activity = self._newest.__setitem__

    def hear(self, record: Record) -> None:
        """Take in one record of the run."""
        agent = str(record.body.get("agent", ""))
        match record.kind:
            case "TurnStarted":
                self._since[agent] = self._handle.run.seconds
                self._newest[agent] = ""
            case "TurnEnded":
                self._rest(agent)
                if why := record.body.get("why"):
                    self._newest[agent] = str(why)
            case "AnswerGiven":
                self._newest[agent] = str(record.body["conclusion"] or record.body["content"])
            case "VoteCast":
                chosen = self._handle.run.board.answer(str(record.body["answer"])).agent
                reason = str(record.body["reason"])
                self._newest[agent] = f"for {chosen}: {reason}" if reason else f"for {chosen}"
            case "ToolStarted":
                self._newest[agent] = f"uses {record.body['name']}"
            case _:
                pass

    def frame(self, *, stopping: bool = False) -> Frame:
        """The run, now."""
        run = self._handle.run
        status = self._handle.status()
        return Frame(
            team=status.team.name if status.team else "",
            phase=status.phase,
            done=status.done,
            seconds=run.seconds,
            tokens=status.usage.input + status.usage.output,
            cost_usd=status.usage.cost_usd,
            limit_usd=run.budget.usd,
            eta=left(status.eta_seconds),
            stopping=stopping,
            lanes=tuple(
                Lane(
                    name=agent.id,
                    model=agent.model,
                    state=agent.state,
                    seconds=self._seconds(agent.id),
                    tokens=agent.tokens,
                    cost_usd=agent.cost_usd,
                    newest=self._redact(self._newest.get(agent.id, "")),
                )
                for agent in status.agents
            ),
        )

    def _rest(self, agent: str) -> None:
        begun = self._since.pop(agent, None)
        if begun is not None:
            self._spent[agent] = self._spent.get(agent, 0.0) + self._handle.run.seconds - begun

    def _seconds(self, agent: str) -> float:
        """Time in turns, the running one included."""
        begun = self._since.get(agent)
        running = 0.0 if begun is None else self._handle.run.seconds - begun
        return self._spent.get(agent, 0.0) + running


def left(eta: float | None) -> float | None:
    """A run that has outlived its estimate is about to end, or nobody knows when: no figure is better."""
    return eta if eta is not None and eta > 1 else None
