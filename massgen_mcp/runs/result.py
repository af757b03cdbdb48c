"""What a caller gets back: the structured result, the same for every door."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ANSWER_LIMIT",
    "AgentRow",
    "Agreement",
    "BallotRow",
    "ChangeRow",
    "Detail",
    "Dissent",
    "FileRow",
    "ResultStatus",
    "RunResult",
    "TeamInfo",
    "UsageRow",
]

ANSWER_LIMIT = 45_000
"""Characters of an answer that fit a reply; hosts cut longer ones or put them aside."""

Detail: TypeAlias = Literal["answer", "summary", "votes"]
ResultStatus: TypeAlias = Literal["completed", "partial", "running", "failed", "cancelled", "interrupted"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Agreement(_Part):
    """How the answer was chosen."""

    rule: str
    margin: float | None = None
    votes: dict[str, float] = Field(default_factory=dict)
    """Agent -> votes for its answer, on the ballot that decided."""
    merged: list[list[str]] = Field(default_factory=list[list[str]])
    """Agents whose conclusions were equal."""


class BallotRow(_Part):
    """One vote, with `detail: votes`."""

    voter: str
    chose: str
    reason: str = ""
    add: list[str] = Field(default_factory=list)


class Dissent(_Part):
    """An answer that differs from the winner's."""

    agent: str
    conclusion: str


class AgentRow(_Part):
    """One agent's part in the run."""

    id: str
    backend: str
    model: str = ""
    state: str
    requests: int = 0
    tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0
    tool_calls: int = 0
    attempts: int = 0
    retries: int = 0
    error: str = ""


class UsageRow(_Part):
    """What the run used. `saved`: turns that could not change the outcome; `lost`: paid, but cut off."""

    requests: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    cost_usd: float | None = None
    saved: int = 0
    lost: dict[str, float] = Field(default_factory=dict)


class FileRow(_Part):
    """A file that came with the answer."""

    path: str
    mime: str
    bytes: int
    local_path: str = ""
    """On the machine of the server."""
    uri: str


class ChangeRow(_Part):
    """A file of the project that the presenter changed."""

    path: str
    added: int = 0
    removed: int = 0
    diff_uri: str = ""


class TeamInfo(_Part):
    """Who was asked, and why these."""

    name: str
    why: str = ""


class RunResult(_Part):
    """The whole reply about a run. Empty fields are left out when it is sent."""

    answer: str = ""
    status: ResultStatus
    stopped_by: str = ""
    attached: bool | None = None
    """The same question was asked before: this is that run, and nothing was paid twice."""
    run_id: str
    winner: str = ""
    agreement: Agreement | None = None
    dissent: list[Dissent] = Field(default_factory=list[Dissent])
    ballot: list[BallotRow] = Field(default_factory=list[BallotRow])
    agents: list[AgentRow] = Field(default_factory=list[AgentRow])
    usage: UsageRow = UsageRow()
    files: list[FileRow] = Field(default_factory=list[FileRow])
    changes: list[ChangeRow] = Field(default_factory=list[ChangeRow])
    team: TeamInfo | None = None
    seconds: float = 0.0
    error: str = ""
    """Why there is no answer: the cause and the remedy for each agent."""
    warnings: list[str] = Field(default_factory=list[str])
    phase: str = ""
    done: str = ""
    """While running: `2/3` agents have finished this phase."""
    eta_seconds: float | None = None
    spent: float | None = None
    """While running: US dollars so far, as far as prices are known."""
    next: str = ""
    """While running: the exact call that collects the answer."""
    report: str = ""

    def elsewhere(self) -> RunResult:
        """The same for a caller on another machine: files by their address, not by their path here."""
        return self.model_copy(
            update={"files": [row.model_copy(update={"local_path": ""}) for row in self.files]}
        )

    def public(self, detail: Detail = "summary") -> dict[str, Any]:
        """This result as sent: a JSON object, no empty fields, as much as `detail` asks for."""
        skip: set[str] = {
            "answer": {"agents", "ballot", "dissent"},
            "summary": {"ballot"},
            "votes": set[str](),
        }[detail]
        data = self.model_dump(mode="json", exclude=skip)
        if self.status == "failed" and self.error:
            # The headline has every agent's cause already.
            data["agents"] = [row | {"error": ""} for row in data.get("agents", ())]
        slim = {key: _slim(value) for key, value in data.items()}
        kept = {"answer", "status", "run_id"}
        return {key: value for key, value in slim.items() if key in kept or not _empty(value)}


def _slim(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _slim(item) for key, item in items if not _empty(item)}
    if isinstance(value, list):
        return [_slim(item) for item in cast("list[Any]", value)]
    if isinstance(value, float):
        return round(value, 6)
    return value


def _empty(value: Any) -> bool:
    return value is None or (value in ("", [], {}, 0) and value is not False)
