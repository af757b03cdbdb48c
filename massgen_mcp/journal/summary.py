"""What a run came to, from its records alone: for listings, reports and results after a restart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar, cast

from massgen_mcp.journal.records import Record, RunState
from massgen_mcp.usage import Usage

__all__ = [
    "RESUMED",
    "AgentSummary",
    "AnswerSummary",
    "RunSummary",
    "VoteSummary",
    "summarise",
    "usage_of",
]

T = TypeVar("T")

RESUMED = "Resumed"
"""The event of the notice with which a process goes on with a run that another one has left."""

_USAGE_FIELDS = frozenset(part.name for part in fields(Usage))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSummary:
    """One answer that was given."""

    id: str
    agent: str
    label: str
    revision: int
    content: str
    conclusion: str
    at: float
    turn: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteSummary:
    """One vote that was cast."""

    agent: str
    answer: str
    label: str
    """The public name of the answer voted for."""
    reason: str
    add: tuple[str, ...]
    """Public names of answers with points that the chosen one lacks."""
    ballot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSummary:
    """What one agent did."""

    id: str
    label: str = ""
    backend: str = ""
    model: str = ""
    """As served; before the first reply, as configured."""
    state: str = "waiting"
    """`waiting`, `working`, or how its last turn ended: `answer`, `vote`, `abstained`, `failed`,
    `stopped`."""
    error: str = ""
    """Why its last turn failed, or was stopped."""
    usage: Usage = field(default_factory=Usage)
    attempts: int = 0
    """Tries of model requests, those that never connected included."""
    seconds: float = 0.0
    """Waited for replies."""
    tool_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run came to, or has come to so far."""

    run_id: str
    state: RunState
    question: str = ""
    context: str = ""
    team: str = ""
    parent: str | None = None
    started: float = 0.0
    ended: float | None = None
    """When it finished; None before."""
    seed: int | None = None
    agents: tuple[AgentSummary, ...] = ()
    """In the team's order."""
    answers: tuple[AnswerSummary, ...] = ()
    """In the order given, all revisions."""
    votes: tuple[VoteSummary, ...] = ()
    """All ballots."""
    answer: str = ""
    """The text returned; empty when there was none, or not yet."""
    winner: str | None = None
    stopped_by: str = ""
    rule: str = ""
    margin: float = 0.0
    usage: Usage = field(default_factory=Usage)
    """The total the run ended with; before that, of all calls with an outcome."""
    open_calls: int = 0
    """Model requests begun without an outcome: under way, or lost with the process that made them."""
    open_tokens: int = 0
    """What those were reserved at."""
    open_usd: float = 0.0
    resumed: int = 0
    """How many times the run went on after its process was gone."""
    lost_calls: int = 0
    """Model requests that were under way when it was, at each time; those were sent once more."""
    lost_tokens: int = 0
    """What those were reserved at."""
    lost_usd: float = 0.0
    notices: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    result: Mapping[str, Any] | None = None
    """What the caller was given."""
    last_seq: int = 0
    """The newest record read; what comes after it is news."""


def usage_of(value: object) -> Usage:
    """Usage from a record's body; what is missing or of another kind counts as nothing."""
    found: dict[str, Any] = {
        key: part
        for key, part in _mapping(value).items()
        if key in _USAGE_FIELDS and isinstance(part, str if key == "cost_source" else int | float)
    }
    return Usage(**found)


def summarise(records: Iterable[Record], *, state: RunState = "running") -> RunSummary:
    """Fold a run's records. Missing keys are taken as empty, unknown kinds are passed over.

    Args:
        records: of one run, in order.
        state: the state to give while no `Finished` record is there, from the run's row.
    """
    fold = _Fold()
    for record in records:
        fold.take(record)
    return fold.summary(state)


class _Agent:
    """An agent while its records are being read."""

    def __init__(self, name: str, *, label: str = "", backend: str = "", model: str = "") -> None:
        self.name = name
        self.label = label
        self.backend = backend
        self.model = model
        self.state = "waiting"
        self.error = ""
        self.usage = Usage()
        self.attempts = 0
        self.seconds = 0.0
        self.tool_calls = 0

    def spend(self, usage: Usage) -> None:
        # A sum with nothing would forget that the one part is, say, a subscription's.
        self.usage = usage if self.usage == Usage() else self.usage + usage

    def summary(self) -> AgentSummary:
        return AgentSummary(
            id=self.name,
            label=self.label,
            backend=self.backend,
            model=self.model,
            state=self.state,
            error=self.error,
            usage=self.usage,
            attempts=self.attempts,
            seconds=self.seconds,
            tool_calls=self.tool_calls,
        )


class _Fold:
    """Everything seen so far of one run."""

    def __init__(self) -> None:
        self._run_id = ""
        self._start: Mapping[str, Any] = {}
        self._started = 0.0
        self._end: Mapping[str, Any] | None = None
        self._ended: float | None = None
        self._agents: dict[str, _Agent] = {}
        self._answers: list[AnswerSummary] = []
        self._votes: list[VoteSummary] = []
        self._notices: list[Mapping[str, Any]] = []
        self._warnings: dict[str, None] = {}
        self._open: dict[tuple[str, int | None, int | None], list[Mapping[str, Any]]] = {}
        self._resumed = 0
        self._lost: list[Mapping[str, Any]] = []
        self._last = 0

    def take(self, record: Record) -> None:
        self._run_id, self._last = record.run_id, record.seq
        body = record.body
        match record.kind:
            case "RunStarted":
                self._begin(record)
            case "TurnStarted" | "TurnEnded":
                self._turn(record)
            case "CallStarted":
                self._open.setdefault(self._call(record), []).append(body)
            case "CallReplied" | "CallFailed":
                self._outcome(record)
            case "ToolStarted" | "ToolFinished":
                self._tool(record)
            case "AnswerGiven":
                self._answers.append(self._answer(record))
            case "VoteCast":
                self._votes.append(self._vote(body))
            case "Notice":
                self._notice(body)
            case "Finished":
                self._end, self._ended = body, record.at
                self._warn(body)
            case _:  # a newer version may write other kinds
                pass

    def _begin(self, record: Record) -> None:
        self._start, self._started = record.body, record.at
        labels = _mapping(record.body.get("labels"))
        members = [_mapping(item) for item in _items(_mapping(record.body.get("config")).get("agents"))]
        for member in members:
            backend = _mapping(member.get("backend"))
            name = _text(member, "id")
            if name:
                self._agents[name] = _Agent(
                    name, backend=_text(backend, "type"), model=_text(backend, "model")
                )
        for member in (_mapping(item) for item in _items(record.body.get("agents"))):
            # What was asked is named here, too, where there is no team file that the run was made from.
            if name := _text(member, "id"):
                agent = self._agents.setdefault(name, _Agent(name))
                agent.backend = agent.backend or _text(member, "backend")
                agent.model = agent.model or _text(member, "model")
        for name, label in labels.items():
            self._agents.setdefault(name, _Agent(name)).label = str(label)

    def _agent(self, body: Mapping[str, Any]) -> _Agent:
        name = _text(body, "agent") or "?"
        return self._agents.setdefault(name, _Agent(name))

    def _call(self, record: Record) -> tuple[str, int | None, int | None]:
        return self._agent(record.body).name, record.turn, record.call

    def _turn(self, record: Record) -> None:
        agent = self._agent(record.body)
        if record.kind == "TurnStarted":
            agent.state, agent.error = "working", ""
        else:
            agent.state = _text(record.body, "how") or "stopped"
            agent.error = _text(record.body, "why")

    def _tool(self, record: Record) -> None:
        agent = self._agent(record.body)
        agent.tool_calls += record.kind == "ToolStarted"
        if record.kind == "ToolFinished" and "usage" in record.body:
            agent.spend(usage_of(record.body["usage"]))

    def _outcome(self, record: Record) -> None:
        begun = self._open.get(self._call(record))
        if begun:
            # Of two with one number the first was lost in a crash and the second sent on resume.
            begun.pop()
        agent = self._agent(record.body)
        if record.kind == "CallFailed":
            agent.spend(
                replace(usage_of(record.body.get("usage")), requests=_number(record.body, "requests", 0))
            )
            agent.attempts += _number(record.body, "attempts", 1)
            return
        reply = _mapping(record.body.get("reply"))
        agent.spend(usage_of(record.body.get("usage")))
        agent.model = _text(reply, "model") or agent.model
        agent.attempts += _number(reply, "attempts", 1)
        agent.seconds += _number(reply, "seconds", 0.0)
        self._warn(reply)

    def _notice(self, body: Mapping[str, Any]) -> None:
        self._notices.append(body)
        if body.get("event") == RESUMED:
            # What was under way then went with its process: nobody can tell its outcome any more.
            self._resumed += 1
            self._lost += self._unanswered()
            self._open.clear()

    def _unanswered(self) -> list[Mapping[str, Any]]:
        return [body for begun in self._open.values() for body in begun]

    def _warn(self, body: Mapping[str, Any]) -> None:
        self._warnings |= dict.fromkeys(str(item) for item in _items(body.get("warnings")))

    def _answer(self, record: Record) -> AnswerSummary:
        body = record.body
        agent = self._agent(body)
        revision = _number(body, "revision", 1 + sum(answer.agent == agent.name for answer in self._answers))
        return AnswerSummary(
            id=_text(body, "id") or f"{agent.name}.{revision}",
            agent=agent.name,
            label=_text(body, "label") or f"{agent.label or agent.name}.{revision}",
            revision=revision,
            content=_text(body, "content"),
            conclusion=_text(body, "conclusion"),
            at=record.at,
            turn=record.turn,
        )

    def _vote(self, body: Mapping[str, Any]) -> VoteSummary:
        answer = _text(body, "answer")
        return VoteSummary(
            agent=self._agent(body).name,
            answer=answer,
            label=_text(body, "label") or self._label(answer),
            reason=_text(body, "reason"),
            add=tuple(self._label(str(item)) for item in _items(body.get("add"))),
            ballot=_number(body, "ballot", 1),
        )

    def _label(self, answer: str) -> str:
        return next((given.label for given in self._answers if given.id == answer), answer)

    def summary(self, state: RunState) -> RunSummary:
        end = self._end or {}
        agents = tuple(agent.summary() for agent in self._agents.values())
        total = usage_of(end.get("usage"))
        calls = self._unanswered()
        return RunSummary(
            run_id=self._run_id,
            state=state if self._end is None else cast("RunState", _text(end, "status") or "failed"),
            question=_text(self._start, "question"),
            context=_text(self._start, "context"),
            team=_text(self._start, "team"),
            parent=_text(self._start, "parent") or None,
            started=self._started,
            ended=self._ended,
            seed=self._start.get("seed"),
            agents=agents,
            answers=tuple(self._answers),
            votes=tuple(self._votes),
            answer=_text(end, "answer"),
            winner=_text(end, "winner") or None,
            stopped_by=_text(end, "stopped_by"),
            rule=_text(end, "rule"),
            margin=_number(end, "margin", 0.0),
            usage=sum((agent.usage for agent in agents), Usage()) if total == Usage() else total,
            open_calls=len(calls),
            open_tokens=int(_total(calls, "reserved_tokens")),
            open_usd=_total(calls, "reserved_usd"),
            resumed=self._resumed,
            lost_calls=len(self._lost),
            lost_tokens=int(_total(self._lost, "reserved_tokens")),
            lost_usd=_total(self._lost, "reserved_usd"),
            notices=tuple(self._notices),
            warnings=tuple(self._warnings),
            result=_mapping(end["result"]) if "result" in end else None,
            last_seq=self._last,
        )


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _items(value: object) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _number(body: Mapping[str, Any], key: str, default: T) -> T:
    value = body.get(key)
    return cast("T", value) if isinstance(value, int | float) else default


def _total(bodies: Iterable[Mapping[str, Any]], key: str) -> float:
    return sum(_number(body, key, 0.0) for body in bodies)
