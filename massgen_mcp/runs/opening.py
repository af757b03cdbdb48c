"""What a run's first record says: what was asked, of whom, within which limits; and the same read back.

A run that is taken up again is made of it. Secrets are not in it: keys come from the environment again.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from massgen_mcp import __version__
from massgen_mcp.engine import AgentId, Board, Member
from massgen_mcp.errors import ReplayRefused
from massgen_mcp.journal import Record
from massgen_mcp.runs.ask import Allowance, Ask
from massgen_mcp.runs.world import ResolvedTeam
from massgen_mcp.team import Limits, TeamSpec
from massgen_mcp.team.prompts import PROMPTS_VERSION
from massgen_mcp.team.spec import Earlier, EarlierWork, Equipment, Exchange

__all__ = ["Opening", "opening_body", "read_opening"]

_LIMITS = ("seconds", "usd", "tokens", "requests")


def opening_body(ask: Ask, spec: TeamSpec, team: ResolvedTeam) -> dict[str, Any]:
    """The body of a `RunStarted` record."""
    earlier, work = spec.earlier, spec.equipment.earlier
    return {
        "question": spec.question,
        "context": spec.context,
        **({"attached": dict(spec.attached.digests)} if spec.attached.digests else {}),
        **({"parent": ask.continue_run} if ask.continue_run else {}),
        **({"earlier": _earlier_body(earlier, work)} if earlier else {}),
        "team": team.name,
        "why": team.why,
        "asked": {
            key: value
            for key, value in (
                ("team", ask.team or team.named),
                ("agents", list(ask.agents)),
                ("strategy", ask.strategy),
            )
            if value
        },
        "strategy": spec.strategy,
        "config": _plain(spec.config),
        "agents": [
            {"id": agent.id, "backend": agent.info.type, "model": agent.options.model}
            for agent in spec.agents
        ],
        "labels": dict(Board.begin([Member(id=agent.id) for agent in spec.agents], spec.settings).labels),
        "limits": {name: getattr(spec.limits, name) for name in _LIMITS},
        "seed": spec.settings.seed,
        "snapshots": spec.equipment.snapshot_storage,
        **({"places": _places(spec.equipment)} if spec.equipment.contexts else {}),
        "tag": spec.tag,
        "prompts": PROMPTS_VERSION,
        "version": __version__,
        "host": platform.node(),
    }


def _places(equipment: Equipment) -> dict[AgentId, list[str]]:
    """What each agent is shown of this machine, by where it lies."""
    return {agent: [str(one.path) for one in contexts] for agent, contexts in equipment.contexts.items()}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """As it will be read back."""
    return cast("dict[str, Any]", json.loads(json.dumps(dict(config), default=str)))


def _earlier_body(earlier: Earlier, work: EarlierWork | None) -> dict[str, Any]:
    return {
        "exchanges": [[item.question, item.answer] for item in earlier.exchanges],
        "own": dict(earlier.own),
        **({"work": asdict(work)} if work else {}),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A run's beginning, read back."""

    run_id: str
    ask: Ask
    question: str
    team: str
    why: str
    agents: tuple[AgentId, ...]
    strategy: str
    limits: Mapping[str, float | None]
    seed: int
    tag: str
    config: Mapping[str, Any]
    places: Mapping[AgentId, list[str]]
    digests: Mapping[str, str]
    earlier: Earlier | None
    work: EarlierWork | None
    version: str

    def check(self, team: ResolvedTeam, redact: Callable[[Any], Any]) -> None:
        """Whether the team is still what it was.

        Args:
            team: as it is resolved now.
            redact: takes secrets out, as it did when the record was written.

        Raises:
            ReplayRefused: it has changed; the text says where.
        """
        missing = [agent for agent in self.agents if agent not in {spec.id for spec in team.agents}]
        if missing:
            told = "".join(
                f" ({words.rstrip('.')})" for words in team.warnings if any(name in words for name in missing)
            )
            raise self._refused(f"{', '.join(missing)} can't take part any more{told}")
        self._check_places(redact(_places(team.equipment)))
        before, now = _compared(self.config), _compared(redact(_plain(team.config or {})))
        if now != before:
            raise self._refused(f"the team {self.team!r} is not what it was ({_difference(before, now)})")

    def _check_places(self, now: Mapping[AgentId, list[str]]) -> None:
        """Agents must go on in the project that they began in: the same relative path may lead elsewhere."""
        for agent in self.agents:
            then = self.places.get(agent, [])
            if others := [place for place in now.get(agent, []) if place not in then]:
                raise ReplayRefused(
                    f"Run {self.run_id} can't be taken up from here: {agent} worked with {', '.join(then)}, "
                    f"and here that would be {', '.join(others)}. Take it up where it was begun, or name "
                    "that folder with --root or MASSGEN_MCP_ROOTS. Nothing more was spent."
                )

    def rest(self, spent: float) -> Ask:
        """The question with what the run may still spend, after so many US dollars."""
        usd = self.limits.get("usd")
        return replace(self.ask, budget=Allowance(usd=None if usd is None else max(0.0, usd - spent)))

    def applied(self, limits: Limits) -> Limits:
        """The limits of the run, as they were."""
        kept = {name: self.limits[name] for name in _LIMITS if self.limits.get(name) is not None}
        gone: dict[str, Any] = {name: None for name in _LIMITS[1:] if name not in kept}
        return replace(limits, **gone, **kept)

    def _refused(self, why: str) -> ReplayRefused:
        return ReplayRefused(
            f"Run {self.run_id} can't be taken up again: {why}. Put it back or follow it up: ask_team with "
            f'`question` and continue_run="{self.run_id}". Nothing more was spent.'
        )


def read_opening(record: Record) -> Opening:
    """What a run's first record says.

    Raises:
        ReplayRefused: another version made it, whose runs can't be taken up by this one.
    """
    body = record.body
    version = str(body.get("version", "?"))
    if "asked" not in body or body.get("prompts") != PROMPTS_VERSION:
        raise ReplayRefused(
            f"Run {record.run_id} was made by massgen-mcp {version}, which put its questions differently; "
            f"{__version__} can't take it up. What it has is kept: ask a follow-up with "
            f'continue_run="{record.run_id}". Nothing more was spent.'
        )
    asked, found = body["asked"], body.get("earlier", {})
    work = found.get("work")
    earlier = Earlier(
        exchanges=tuple(Exchange(question=pair[0], answer=pair[1]) for pair in found.get("exchanges", ())),
        own=found.get("own", {}),
    )
    return Opening(
        run_id=record.run_id,
        ask=Ask(
            question=body["question"],
            context=body.get("context", ""),
            team=asked.get("team"),
            agents=tuple(asked.get("agents", ())),
            strategy=asked.get("strategy"),
            budget=Allowance(),
            continue_run=body.get("parent", ""),
        ),
        question=body["question"],
        team=body["team"],
        why=body.get("why", ""),
        agents=tuple(row["id"] for row in body["agents"]),
        strategy=body["strategy"],
        limits=body["limits"],
        seed=body["seed"],
        tag=body["tag"],
        config=body["config"],
        places=body.get("places", {}),
        digests=body.get("attached", {}),
        earlier=earlier if found else None,
        work=EarlierWork(**work) if work else None,
        version=version,
    )


def _compared(config: Any) -> Any:
    """A configuration without what says of this machine which keys are set: whoever lacks one is missed."""
    if isinstance(config, list):
        return [_compared(item) for item in cast("list[Any]", config)]
    if not isinstance(config, dict):
        return config
    found = {key: _compared(value) for key, value in cast("dict[str, Any]", config).items()}
    if isinstance(found.get("key"), dict):
        found["key"].pop("set", None)
    return found


def _difference(before: Any, now: Any, path: str = "") -> str:
    """Where two configurations first differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        mine, yours = cast("dict[str, Any]", before), cast("dict[str, Any]", now)
        for key in sorted({*mine, *yours}):
            if mine.get(key) != yours.get(key):
                return _difference(mine.get(key), yours.get(key), f"{path}.{key}" if path else key)
    if isinstance(before, list) and isinstance(now, list):
        left, right = cast("list[Any]", before), cast("list[Any]", now)
        if len(left) != len(right):
            return f"{path} has {len(right)} items instead of {len(left)}"
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            if one != other:
                return _difference(one, other, f"{path}[{number}]")
    return f"{path or 'its settings'} changed"
