"""From a resolved team and a question to the values that a run is made of; new, or as they were."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from massgen_mcp.runs.ask import Ask
from massgen_mcp.runs.opening import Opening
from massgen_mcp.runs.session import FollowUp
from massgen_mcp.runs.world import ResolvedTeam
from massgen_mcp.team import Limits, TeamSpec
from massgen_mcp.team.spec import Attached
from massgen_mcp.text import new_tag

__all__ = ["new_spec", "old_spec"]


def new_spec(
    ask: Ask, team: ResolvedTeam, random: Random, attached: Attached, follow: FollowUp | None
) -> TeamSpec:
    """A question for a team."""
    return TeamSpec(
        question=ask.question,
        context=ask.context,
        tag=new_tag(random),
        agents=team.agents,
        strategy=ask.strategy or team.strategy,
        settings=replace(team.settings, seed=team.settings.seed or random.getrandbits(32)),
        limits=_limits(ask, team),
        attached=attached,
        earlier=follow.earlier if follow else None,
        equipment=team.equipment,
        config=team.config or {},
    )


def old_spec(
    opening: Opening, team: ResolvedTeam, attached: Attached, *, spent: float, rest: float | None
) -> TeamSpec:
    """The question of a run that is taken up again, with all chance and all limits as they were.

    Args:
        opening: how it began.
        team: who takes part, as they are now.
        attached: what came with the question.
        spent: US dollars by now.
        rest: what it may still spend; None: no limit.
    """
    limits = opening.applied(_limits(opening.ask, team))
    presenter = team.settings.presenter
    if presenter not in opening.agents:  # who had no key then, and has one now
        presenter = None
    return TeamSpec(
        question=opening.question,
        context=opening.ask.context,
        tag=opening.tag,
        agents=team.agents,
        strategy=opening.strategy,
        settings=replace(team.settings, seed=opening.seed, presenter=presenter),
        limits=limits if rest is None else replace(limits, usd=spent + rest),
        attached=attached,
        earlier=opening.earlier,
        equipment=team.equipment,
        config=team.config or {},
    )


def _limits(ask: Ask, team: ResolvedTeam) -> Limits:
    allowance = team.allowance.within(ask.budget)
    return Limits(
        seconds=allowance.seconds if allowance.seconds is not None else 600.0,
        first_round_seconds=team.first_round_seconds,
        round_seconds=team.round_seconds,
        shares=team.shares,
        usd=allowance.usd,
        tokens=None if allowance.tokens is None else int(allowance.tokens),
        requests=None if allowance.requests is None else int(allowance.requests),
    )
