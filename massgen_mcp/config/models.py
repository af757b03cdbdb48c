"""A team file as frozen models: the team, its agents, how they work together, and their limits.

The order of things in a file is kept. None means that the file does not say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, InstanceOf, SerializeAsAny

from massgen_mcp.backends.options import Options
from massgen_mcp.config.agent_tools import AgentTools, ContextPath
from massgen_mcp.config.base import Count, Names, Part, Seconds, Switch
from massgen_mcp.engine.board import Presentation

__all__ = [
    "STRATEGIES",
    "AgentConfig",
    "AgentKeys",
    "Budget",
    "Coordination",
    "Orchestrator",
    "RequestShare",
    "RoundShare",
    "Sensitivity",
    "TeamConfig",
    "TeamKeys",
    "Timeouts",
    "TurnShare",
]

STRATEGIES = (
    "auto",
    "vote",
    "synthesize",
    "refine",
    "best_of",
    "verify",
    "review",
    "cascade",
    "decompose",
)

Strategy = Literal[
    "auto",
    "vote",
    "synthesize",
    "refine",
    "best_of",
    "verify",
    "review",
    "cascade",
    "decompose",
]
Sensitivity = Literal[
    "lenient",
    "balanced",
    "strict",
    "roi",
    "roi_conservative",
    "roi_balanced",
    "roi_aggressive",
    "sequential",
    "adversarial",
    "consistency",
    "diversity",
    "reflective",
    "checklist",
    "checklist_scored",
    "checklist_gated",
]


class AgentKeys(Part):
    """The keys of an agent beside its `backend` block."""

    id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
    system_message: str | None = None
    append_system_prompt: str | None = None
    """Added after `system_message`."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Of its vote."""
    optional: bool = False
    """Without its key or server it sits out, and the team goes on."""
    fallbacks: Names = ()
    """Models of the same backend to try when its own can't answer."""
    subtask: str | None = None
    voting_sensitivity: Sensitivity | None = None
    voting_threshold: Annotated[int, Field(ge=0, le=10)] | None = None


class AgentConfig(AgentKeys):
    """One member of a team."""

    backend: SerializeAsAny[InstanceOf[Options]]
    tools: AgentTools = AgentTools()
    unset: tuple[str, ...] = ()
    """Variables the file names for this agent's key that are not set: it can't work."""

    @property
    def instructions(self) -> str:
        """The system text that the file gives it."""
        return "\n\n".join(text for text in (self.system_message, self.append_system_prompt) if text)


class Coordination(Part):
    """`orchestrator.coordination`."""

    enable_planning_mode: bool = False
    planning_mode_instruction: str | None = None
    max_orchestration_restarts: Annotated[int, Field(ge=0)] = 0
    broadcast: Literal["agents", "human", False] = False
    broadcast_sensitivity: Literal["low", "medium", "high"] | None = None
    broadcast_timeout: Seconds | None = None
    broadcast_wait_by_default: bool | None = None
    max_broadcasts_per_agent: Count | None = None
    response_depth: Literal["low", "medium", "high"] | None = None


class Orchestrator(Part):
    """How the agents work together, and where their files lie."""

    strategy: Strategy | None = None
    max_rounds: Count | None = None
    quorum: Annotated[int, Field(ge=2)] | None = None
    exclude_self: bool | None = None
    merge_equal: bool = True
    shuffle_seed: int | None = None
    min_agents: Count = 1
    max_agents: Count | None = None
    """Of the agents that are ready, this many take part, in the file's order."""
    samples: Count | None = None
    """For `best_of`: how many answers of one model."""
    presentation: Presentation | None = None
    dissent: bool | None = None
    coordination_mode: Literal["voting", "decomposition"] | None = None
    presenter_agent: str | None = None
    final_answer_strategy: Literal["winner_present", "winner_reuse", "synthesize"] | None = None
    voting_sensitivity: Sensitivity | None = None
    voting_threshold: Annotated[int, Field(ge=0, le=10)] | None = None
    max_new_answers_per_agent: Count | None = None
    max_new_answers_global: Count | None = None
    answer_novelty_requirement: Literal["lenient", "balanced", "strict"] = "lenient"
    defer_voting_until_all_answered: bool | None = None
    skip_voting: bool = False
    skip_final_presentation: bool = False
    disable_injection: bool = False
    max_midstream_injections_per_round: Annotated[int, Field(ge=0)] | None = None
    fairness_enabled: bool = True
    fairness_lead_cap_answers: Annotated[int, Field(ge=0)] | None = None
    snapshot_storage: str | None = None
    agent_temporary_workspace: str | None = None
    context_paths: tuple[ContextPath, ...] = ()
    coordination: Coordination = Coordination()
    enable_multimodal_tools: Switch = False
    image_generation_backend: str | None = None
    image_generation_model: str | None = None
    video_generation_backend: str | None = None
    video_generation_model: str | None = None
    audio_generation_backend: str | None = None
    audio_generation_model: str | None = None

    @property
    def effective_strategy(self) -> Strategy:
        """The strategy that MassGen's `coordination_mode` means, where none is named."""
        if self.strategy is not None:
            return self.strategy
        return {None: "auto", "voting": "vote", "decomposition": "decompose"}[self.coordination_mode]  # type: ignore[return-value]

    @property
    def effective_presentation(self) -> Presentation:
        """The presentation that MassGen's keys mean, where `presentation` is not given."""
        if self.presentation is not None:
            return self.presentation
        if self.final_answer_strategy == "synthesize":
            return "synthesize"
        if self.skip_final_presentation or self.final_answer_strategy == "winner_reuse":
            return "reuse"
        return "winner"


class Timeouts(Part):
    """`timeout_settings`, in seconds."""

    orchestrator_timeout_seconds: Seconds | None = None
    initial_round_timeout_seconds: Seconds | None = None
    subsequent_round_timeout_seconds: Seconds | None = None
    round_timeout_grace_seconds: Annotated[float, Field(ge=0)] | None = None


class _Described(Part):
    # The words below the fields are the descriptions in the published schema.
    model_config = ConfigDict(use_attribute_docstrings=True)


class RequestShare(_Described):
    """`budget.per_request`: what one model request may need.

    It does not hold for agent runtimes, which make their requests by themselves: `per_turn` does.
    """

    usd: Annotated[float, Field(gt=0)] | None = None
    """What its prompt and `max_tokens` may cost, where the price is known; one that might cost more is not
    sent, and its turn ends."""
    tokens: Count | None = None
    """Of its prompt and `max_tokens` (4,096 where that is not set); one that needs more is not sent."""
    requests: Count | None = None
    """How often it is sent at most: 1 is without a retry."""
    seconds: Seconds | None = None
    """As `timeout` of a backend block; the lower of both holds."""


class TurnShare(_Described):
    """`budget.per_turn`: what one agent may use for one answer or one vote, tool calls included."""

    usd: Annotated[float, Field(gt=0)] | None = None
    """Where the next request might go beyond it, the turn ends, and the team goes on. It holds where prices
    are known."""
    tokens: Count | None = None
    """The same, in tokens of prompts and replies together."""
    requests: Count | None = None
    """The same, in model requests, retries included."""
    seconds: Seconds | None = None
    """The turn's deadline: one for an answer fails then, one for a vote abstains."""


class RoundShare(_Described):
    """`budget.per_round`: what all agents together may use in one round of answers or of votes."""

    usd: Annotated[float, Field(gt=0)] | None = None
    """Where the next request might go beyond it, the turn that wants it ends; what there is then is voted on
    or returned. It holds where prices are known."""
    tokens: Count | None = None
    """The same, in tokens of prompts and replies together."""
    requests: Count | None = None
    """The same, in model requests, retries included."""
    seconds: Seconds | None = None
    """As the round timeouts of `timeout_settings`; the lower of both holds."""


class Budget(_Described):
    """What a run may use at most. A caller can only lower it."""

    usd: Annotated[float, Field(gt=0)] | None = None
    tokens: Count | None = None
    requests: Count | None = None
    seconds: Seconds | None = None
    per_request: RequestShare = RequestShare()
    """What one model request may need."""
    per_turn: TurnShare = TurnShare()
    """What one agent may use for one answer or one vote."""
    per_round: RoundShare = RoundShare()
    """What all agents together may use in one round."""


class TeamKeys(Part):
    """The top level of a team file beside its agents."""

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    description: str | None = None
    orchestrator: Orchestrator = Orchestrator()
    timeout_settings: Timeouts = Timeouts()
    budget: Budget = Budget()
    private: bool = False
    """Refuse every backend and tool that is not on this machine."""
    journal: Switch = True
    permissions: dict[str, Any] | None = None


class TeamConfig(TeamKeys):
    """A team as its file means it, environment included."""

    name: str = ""  # pyright: ignore[reportIncompatibleVariableOverride] - a loaded team always has one
    agents: Annotated[tuple[AgentConfig, ...], Field(min_length=1)]
    source: Path | None = None
    """The file; None for a team that came from elsewhere."""
