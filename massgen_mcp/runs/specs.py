"""From a team file's models to what a run is made of."""

from __future__ import annotations

from collections.abc import Mapping, Set as AbstractSet
from dataclasses import replace
from types import MappingProxyType

from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded
from massgen_mcp.config.models import (
    AgentConfig,
    Orchestrator,
    RequestShare,
    RoundShare,
    TeamConfig,
    TurnShare,
)
from massgen_mcp.config.readiness import Readiness, agent_readiness, key_for
from massgen_mcp.engine import AgentId, Settings
from massgen_mcp.errors import ConfigError, RequestRefused
from massgen_mcp.runs.ask import Allowance
from massgen_mcp.runs.cost import Course, Members, course_of
from massgen_mcp.runs.world import ResolvedTeam
from massgen_mcp.team import AgentSpec
from massgen_mcp.team.budget import Share
from massgen_mcp.team.scrutiny import LENIENT, Scrutiny
from massgen_mcp.team.shares import Shares

__all__ = [
    "agent_spec",
    "allowance_of",
    "course_of_team",
    "engine_settings",
    "members_of",
    "ready_team",
    "shares_of",
]

_LEAD = 2
"""Answers that one agent may be ahead of the slowest, as in MassGen, where a file does not say."""
_NOVELTY: Mapping[str, float | None] = MappingProxyType({"lenient": None, "balanced": 0.7, "strict": 0.5})
"""MassGen's thresholds: the share of words that a new answer may have in common with one it has seen."""


_NOBODY: Mapping[AgentId, str] = MappingProxyType({})


def ready_team(
    loaded: Loaded, *, name: str, defaults: Allowance, why: str, away: Mapping[AgentId, str] = _NOBODY
) -> ResolvedTeam:
    """The team of a loaded file, its optional agents that can't work left out.

    Args:
        loaded: the file.
        name: what the team is called.
        defaults: the operator's limits, where the file has none.
        why: why it is this team.
        away: optional agents that can't work for another reason than their backend, and that reason.

    Raises:
        ConfigError: the file has errors, or asks for what this version can't run.
        RequestRefused: an agent that is not optional has no key, or too few are left.
    """
    team = loaded.require(name)
    present, absent = _seated(team, loaded, name, away)
    words = [str(problem) for problem in loaded.problems if problem.severity == "warning"]
    round_seconds = team.budget.per_round.seconds
    return ResolvedTeam(
        name=name,
        agents=tuple(
            replace(
                _timed(agent_spec(agent, loaded.environment, number=number), team),
                key_name=_key_name(loaded, agent.id),
                scrutiny=_scrutiny_of(agent, team),
            )
            for number, agent in enumerate(present)
        ),
        strategy=team.orchestrator.effective_strategy,
        settings=engine_settings(team, {agent.id for agent in present}),
        allowance=allowance_of(team, defaults),
        first_round_seconds=_lower(team.timeout_settings.initial_round_timeout_seconds, round_seconds),
        round_seconds=_lower(team.timeout_settings.subsequent_round_timeout_seconds, round_seconds),
        shares=shares_of(team),
        why=why,
        warnings=(*words, *_sat_out(absent)),
        config=dict(loaded.resolved),
        journalled=team.journal,
    )


def _key_name(loaded: Loaded, agent: str) -> str:
    """The variable that the file's `api_key` of this agent comes from."""
    for row in loaded.resolved.get("agents", ()):
        if row.get("id") == agent:
            return str(row["backend"]["key"].get("env") or "")
    return ""


def agent_spec(agent: AgentConfig, environment: Environment, *, number: int) -> AgentSpec:
    """One agent, with its key."""
    key = key_for(agent.backend, environment)
    return AgentSpec(
        id=agent.id,
        info=BACKENDS[agent.backend.type],
        options=agent.backend,
        system_message=agent.instructions,
        weight=agent.weight,
        fallbacks=agent.fallbacks,
        seed=number + 1,
        api_key=key.value if key.source == "environment" else None,
        environ=environment.merged(),
        sandbox=agent.tools.sandbox,
    )


def _timed(spec: AgentSpec, team: TeamConfig) -> AgentSpec:
    """The agent with the lower of its `timeout` and the team's limit for one request."""
    seconds = _lower(spec.options.timeout, team.budget.per_request.seconds)
    if spec.info.kind != "model" or seconds == spec.options.timeout:
        return spec
    return replace(spec, options=spec.options.model_copy(update={"timeout": seconds}))


def shares_of(team: TeamConfig) -> Shares:
    """What the file lets each request, turn and round use."""
    budget = team.budget
    return Shares(
        request=_share(budget.per_request), turn=_share(budget.per_turn), round=_share(budget.per_round)
    )


def members_of(loaded: Loaded, team: TeamConfig, *, everybody: bool) -> Members:
    """Who would answer now: without optional agents that can't work, unless `everybody` is wanted."""
    present = [
        agent
        for agent in team.agents
        if everybody or not agent.optional or agent_readiness(agent, loaded.environment).ready
    ]
    seated = (present or team.agents)[: team.orchestrator.max_agents]
    return [(agent.id, BACKENDS[agent.backend.type], agent.backend) for agent in seated]


def course_of_team(team: TeamConfig, agents: int) -> Course:
    """What a run of a team with so many agents is made of."""
    orchestrator = team.orchestrator
    paths = [
        *orchestrator.context_paths,
        *(path for agent in team.agents for path in agent.tools.context_paths),
    ]
    always = orchestrator.coordination.enable_planning_mode or any(
        path.permission == "write" for path in paths
    )
    presentation = orchestrator.effective_presentation
    presents = True if always or (presentation == "synthesize" and agents > 1) else None
    if presents is None and presentation == "reuse":
        presents = False
    votes = not orchestrator.skip_voting and orchestrator.max_rounds != 1
    return course_of(orchestrator.effective_strategy, agents, presents=presents, votes=votes)


def _share(limits: RequestShare | TurnShare | RoundShare) -> Share:
    return Share(usd=limits.usd, tokens=limits.tokens, requests=limits.requests, seconds=limits.seconds)


def _lower(mine: float | None, other: float | None) -> float | None:
    limits = [limit for limit in (mine, other) if limit is not None]
    return min(limits, default=None)


def engine_settings(team: TeamConfig, present: AbstractSet[str]) -> Settings:
    """What the file says about coordination, in the engine's words."""
    orchestrator = team.orchestrator
    presenter = orchestrator.presenter_agent
    return Settings(
        seed=orchestrator.shuffle_seed or 0,
        quorum=orchestrator.quorum,
        exclude_self=orchestrator.exclude_self,
        merge_equal=orchestrator.merge_equal,
        min_agents=orchestrator.min_agents,
        presentation=orchestrator.effective_presentation,
        presenter=presenter if presenter in present else None,
        max_answers=orchestrator.max_new_answers_per_agent or Settings().max_answers,
        max_answers_global=orchestrator.max_new_answers_global,
        lead=_lead_of(orchestrator),
        novelty=_NOVELTY[orchestrator.answer_novelty_requirement],
        tell_news=not orchestrator.disable_injection,
        max_news=orchestrator.max_midstream_injections_per_round,
        max_rounds=orchestrator.max_rounds,
        skip_voting=orchestrator.skip_voting,
        dissent=orchestrator.dissent is not False,
    )


def _lead_of(orchestrator: Orchestrator) -> int | None:
    if not orchestrator.fairness_enabled:
        return None
    cap = orchestrator.fairness_lead_cap_answers
    return _LEAD if cap is None else cap


def _scrutiny_of(agent: AgentConfig, team: TeamConfig) -> Scrutiny:
    """The agent's own, else the team's."""
    orchestrator = team.orchestrator
    threshold = agent.voting_threshold
    return Scrutiny(
        kind=agent.voting_sensitivity or orchestrator.voting_sensitivity or LENIENT.kind,
        threshold=orchestrator.voting_threshold if threshold is None else threshold,
    )


def allowance_of(team: TeamConfig, defaults: Allowance) -> Allowance:
    """The file's limits; where it says nothing about money and tokens, or time, the operator's defaults."""
    budget, timeouts = team.budget, team.timeout_settings
    seconds = budget.seconds or timeouts.orchestrator_timeout_seconds or defaults.seconds
    if budget.seconds and timeouts.orchestrator_timeout_seconds:
        seconds = min(budget.seconds, timeouts.orchestrator_timeout_seconds)
    own = Allowance(usd=budget.usd, tokens=budget.tokens, requests=budget.requests, seconds=seconds)
    if budget.usd is None:
        own = replace(own, usd=defaults.usd)
    if budget.tokens is None and budget.usd is None:
        own = replace(own, tokens=defaults.tokens)
    return own


def _seated(
    team: TeamConfig, loaded: Loaded, name: str, away: Mapping[AgentId, str]
) -> tuple[list[AgentConfig], list[tuple[AgentConfig, Readiness]]]:
    """Who takes part, and who sits out and why."""
    states = [(agent, _state(agent, loaded, away)) for agent in team.agents]
    absent = [(agent, state) for agent, state in states if agent.optional and not state.ready]
    _refuse_unavailable(loaded, {agent.id for agent, _ in absent}, team, name)
    missing = [(agent, state) for agent, state in states if not agent.optional and not state.ready]
    if missing:
        raise RequestRefused(_cant_work(name, missing, loaded.environment))
    present = [agent for agent, state in states if state.ready][: team.orchestrator.max_agents]
    needed = team.orchestrator.min_agents
    if len(present) < needed or not present:
        lines = _want_of(absent, loaded.environment)
        raise RequestRefused(
            f'Team "{name}" has {len(present)} agents that can work and needs {max(1, needed)}. '
            f"Nothing was spent.{lines}"
        )
    return present, absent


def _state(agent: AgentConfig, loaded: Loaded, away: Mapping[AgentId, str]) -> Readiness:
    why = away.get(agent.id)
    return agent_readiness(agent, loaded.environment) if why is None else Readiness(ready=False, why=why)


def _refuse_unavailable(loaded: Loaded, absent: AbstractSet[str], team: TeamConfig, name: str) -> None:
    """What this version can't run is refused, unless only an agent that sits out asks for it."""
    places = {f"agents[{index}]": agent.id for index, agent in enumerate(team.agents)}
    wanted = [
        replace(problem, severity="error")
        for problem in loaded.unavailable
        if places.get(problem.path.partition(".")[0]) not in absent
    ]
    if wanted:
        raise ConfigError(wanted, name=name)


def _cant_work(name: str, missing: list[tuple[AgentConfig, Readiness]], environment: Environment) -> str:
    head = f"Team \"{name}\" can't start, since these agents can't work. Nothing was spent."
    lines = "".join(f"\n- {agent.id}: {_short(state)} {state.remedy}".rstrip() for agent, state in missing)
    return f"{head}{lines}\n({environment.where()})"


def _short(state: Readiness) -> str:
    """Why it can't work, without the places looked at: these are said once for all."""
    names = " or ".join(state.variables)
    return f"{names} is not set." if state.key == "missing" and names else f"{state.why}."


def _want_of(absent: list[tuple[AgentConfig, Readiness]], environment: Environment) -> str:
    """What would make one of these optional agents work."""
    names = dict.fromkeys(name for _, state in absent if state.key == "missing" for name in state.variables)
    others = [f"{agent.id}: {state.why}" for agent, state in absent if state.key != "missing"]
    lines = [f"Set one of {', '.join(names)} ({environment.where()})."] if names else []
    return "".join(f"\n- {line}" for line in [*lines, *others])


def _sat_out(absent: list[tuple[AgentConfig, Readiness]]) -> list[str]:
    """One sentence for all who have no key, one each for other reasons."""
    keyless = [agent.id for agent, state in absent if state.key == "missing"]
    words = [f"Sat out for want of a key: {', '.join(keyless)}."] if keyless else []
    return words + [f"{agent.id} sat out: {state.why}" for agent, state in absent if state.key != "missing"]
