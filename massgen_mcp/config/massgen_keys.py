"""MassGen's keys that this program knows: one table, with what each becomes.

`IGNORED` has no meaning here: the key is accepted and each gets one notice. `HONOURED` has one: what it is
(the models are what reads them, and `available.py` says what a run does not do yet). Keys of the provider
blocks that are plain options (`model`, `temperature`, ...) are in the backends' `Options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["HONOURED", "IGNORED", "MOVED", "V1"]


def _each(reason: str, *keys: str) -> dict[str, str]:
    return dict.fromkeys(keys, reason)


_TERMINAL = "a terminal setting of MassGen"
_SUBAGENTS = "MassGen's sub-runs"
_CHECKLIST = "MassGen's checklist voting"
_CHECKPOINT = "MassGen's checkpoint mode"
_CRITERIA = "MassGen's evolving criteria"
_PLANS = "MassGen's task plans"
_SKILLS = "MassGen's skills"
_MEMORY = "MassGen's memory store"
_PROMPTS = "MassGen's prompt generators"
_NLIP = "MassGen's NLIP routing"
_INSIDE = "set by MassGen itself while it runs"
_WRITES = "MassGen's git isolation; here every agent has a workspace of its own"
_HOOKS = "MassGen's hooks run code in its process"
_CODE_TOOLS = "MassGen's code-based tools"
_LIMITS = "MassGen's own rate limits; here retries and max_concurrent do that"
_DEBUG = "a debugging aid of MassGen"
_MEDIA = ("image", "audio", "video")
_MEDIA_KEYS = tuple(f"{kind}_generation_{what}" for kind in _MEDIA for what in ("backend", "model"))

_COORDINATION = {
    **_each(
        _SUBAGENTS,
        "enable_subagents",
        "subagent_default_timeout",
        "subagent_min_timeout",
        "subagent_max_timeout",
        "subagent_max_concurrent",
        "subagent_round_timeouts",
        "subagent_runtime_mode",
        "subagent_runtime_fallback_mode",
        "subagent_host_launch_prefix",
        "subagent_orchestrator",
        "subagent_types",
        "background_subagents",
        "async_subagents",
        "round_evaluator_before_checklist",
        "orchestrator_managed_round_evaluator",
        "round_evaluator_skip_synthesis",
        "round_evaluator_refine",
        "round_evaluator_transformation_pressure",
        "enable_execution_trace_analyzer",
        "auto_trace_analysis",
    ),
    **_each(
        _PLANS,
        "enable_agent_task_planning",
        "task_planning_filesystem_mode",
        "max_tasks_per_plan",
        "plan_depth",
        "plan_thoroughness",
        "plan_target_steps",
        "plan_target_chunks",
        "task_decomposer",
        "fast_iteration_mode",
        "max_verifications_per_round",
        "max_internal_fix_loops",
        "skip_redundant_scaffolding",
    ),
    **_each(_SKILLS, "use_skills", "massgen_skills", "skills_directory", "load_previous_session_skills"),
    **_each(
        _MEMORY,
        "enable_memory_filesystem_mode",
        "compression_target_ratio",
        "learning_capture_mode",
        "disable_final_only_round_capture_fallback",
        "enable_changedoc",
    ),
    **_each(
        _PROMPTS,
        "persona_generator",
        "evaluation_criteria_generator",
        "prompt_improver",
        "pre_collab_voting_threshold",
        "enable_evaluator_personas",
        "enable_quality_rethink_on_iteration",
        "enable_novelty_on_iteration",
        "novelty_injection",
        "improvements",
    ),
    **_each(
        _CRITERIA,
        "criteria_mode",
        "bootstrap_max_per_agent_per_round",
        "bootstrap_max_total",
        "evolving_criteria",
        "evolving_criteria_score_threshold",
        "evolving_criteria_max_evolutions",
        "evolving_criteria_min_high_score_count",
        "evolving_criteria_timeout",
        "checklist_criteria_preset",
        "checklist_criteria_inline",
    ),
    **_each(
        _CHECKPOINT,
        "checkpoint_enabled",
        "checkpoint_mode",
        "checkpoint_guidance",
        "checkpoint_gated_patterns",
        "standalone_checkpoint",
        "standalone_checkpoint_enabled",
        "standalone_checkpoint_team_config",
        "standalone_checkpoint_mode",
        "standalone_checkpoint_single",
        "standalone_checkpoint_include_workspace_context",
    ),
    **_each(_WRITES, "write_mode", "drift_conflict_policy", "use_two_tier_workspace"),
    **_each(_TERMINAL, "web_review"),
    **_each("MassGen's log files; here continue_run does that", "resume_from_log"),
}

_ORCHESTRATOR = {
    **_each(
        _CHECKLIST,
        "checklist_require_gap_report",
        "checklist_first_answer",
        "gap_report_mode",
        "max_checklist_calls_per_round",
        "allow_midstream_peer_updates_before_checklist_submit",
    ),
    **_each(_NLIP, "enable_nlip", "nlip_config", "nlip"),
    **_each("MassGen's DSPy paraphrasing", "dspy"),
    **_each(_DEBUG, "debug_final_answer", "skip_coordination_rounds"),
    **_each(_TERMINAL, "interactive_mode", "max_turns", "session_storage"),
    **_each("accepted and never read by MassGen either", "timeout", "type"),
    **_each(_SKILLS, "skills_directory"),
    **_each("MassGen's container settings", "docker"),
    **_each("here peers' answers always come with the next tool result", "defer_peer_updates_until_restart"),
    **_each("MassGen's media settings for all agents", "multimodal_config"),
    **_each(_INSIDE, "vote_only"),
}

_BACKEND = {
    **_COORDINATION,
    **_ORCHESTRATOR,
    **_each(
        _INSIDE,
        "agent_id",
        "session_id",
        "instance_id",
        "filesystem_session_id",
        "session_storage_base",
        "agent_temporary_workspace_parent",
        "context_write_access_enabled",
        "main_agent",
    ),
    **_each(_LIMITS, "enable_rate_limit", "max_retries", "circuit_breaker", "circuit_breaker_config"),
    **_each(_HOOKS, "hooks"),
    **_each(
        _CODE_TOOLS,
        "enable_code_based_tools",
        "custom_tools_path",
        "direct_mcp_servers",
        "shared_tools_directory",
        "use_mcpwrapped_for_tool_filtering",
        "use_no_roots_wrapper",
    ),
    **_each("here a file is always read before it is deleted", "enforce_read_before_delete"),
    **_each(_DEBUG, "debug_delay_seconds", "debug_delay_after_n_tools"),
    **_each("a transport of MassGen's", "websocket_mode"),
    **_each("set from what the agent uses", "betas"),
    **_each("the agent's own key one level up", "agent_temporary_workspace"),
}
for _key in ("type", "timeout", "max_turns"):
    _BACKEND.pop(_key, None)

_AGENT = {
    **_each(_SUBAGENTS, "subagent_agents"),
    **_each(_CHECKPOINT, "main_agent"),
    **_each(_MEMORY, "memory"),
    **_each(_NLIP, "nlip", "enable_nlip", "nlip_config"),
    **_each(_HOOKS, "hooks"),
}

_TEAM = {
    **_each(_TERMINAL, "ui", "display", "session"),
    **_each(_MEMORY, "memory"),
    **_each(_SKILLS, "skills"),
    **_each(_HOOKS, "hooks"),
    **_each(_CHECKPOINT, "checkpoint"),
    **_each(_NLIP, "nlip", "enable_nlip", "nlip_config"),
    **_each("read by nothing in MassGen", "gemini"),
}

IGNORED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "team": MappingProxyType(_TEAM),
        "agent": MappingProxyType(_AGENT),
        "backend": MappingProxyType(_BACKEND),
        "orchestrator": MappingProxyType(_ORCHESTRATOR),
        "coordination": MappingProxyType(_COORDINATION),
        "timeout_settings": MappingProxyType(dict[str, str]()),
        "mcp_server": MappingProxyType(
            _each(_LIMITS, "circuit_breaker", "max_retries")
            | _each("here a server's tools are listed when it starts", "auto_connect")
        ),
        "custom_tool": MappingProxyType(dict[str, str]()),
    }
)
"""Section of the file -> key -> why it has no meaning here."""

MOVED: Mapping[str, str] = MappingProxyType(
    {
        "system_message": "beside `backend`, in the agent",
        "append_system_prompt": "beside `backend`, in the agent",
        "system_prompt": "beside `backend`, in the agent, as system_message",
        "subtask": "beside `backend`, in the agent",
        "voting_sensitivity": "in `orchestrator`, or beside `backend` in the agent",
    }
)
"""Keys of a backend block that belong elsewhere, with where."""

V1: Mapping[str, str] = MappingProxyType(
    {
        "models": "list each model as an agent, in `agents`",
        "model_configs": "list each model as an agent, in `agents`",
        "num_agents": "list each agent, in `agents`",
        "consensus_threshold": "use orchestrator.quorum",
        "voting_enabled": "use orchestrator.skip_voting",
        "enable_voting": "use orchestrator.skip_voting",
        "max_rounds": "use orchestrator.max_rounds",
    }
)
"""Top-level keys of MassGen's first format, with what to write."""

_TEAM_HONOURED = {
    "name": "what it is called in listings and results",
    "description": "for people who read the file",
    "orchestrator": "how its agents work together",
    "timeout_settings": "deadlines",
    "budget": "what a run may use",
    "private": "nothing leaves this machine",
    "permissions": "which tools may be called",
    "journal": "off: nothing is kept of its runs",
}
_AGENT_HONOURED = {
    "id": "its name in results",
    "system_message": "the agent's instructions",
    "append_system_prompt": "added after them",
    "weight": "of its vote",
    "optional": "it sits out when it can't work",
    "fallbacks": "models to try when its own can't answer",
    "subtask": "its part in strategy: decompose",
    "voting_sensitivity": "over the team's",
    "voting_threshold": "over the team's",
}
_ORCHESTRATOR_HONOURED = {
    "strategy": "how answers become one",
    "quorum": "so many equal answers end the first round",
    "exclude_self": "nobody votes for its own answer",
    "merge_equal": "equal conclusions are one choice",
    "shuffle_seed": "makes orders and labels the same again",
    "min_agents": "with fewer the run does not start",
    "max_agents": "of those that are ready",
    "samples": "answers of one model, for strategy: best_of",
    "presentation": "who writes the final text",
    "coordination": "planning mode, restarts, questions between agents",
    "voting_sensitivity": "how hard an agent looks before it votes",
    "voting_threshold": "for checklist the score to reach, for roi the gain in tenths",
    "max_new_answers_per_agent": "answers one agent may give in all",
    "max_new_answers_global": "answers of all agents together",
    "answer_novelty_requirement": "how different a new answer must be",
    "defer_voting_until_all_answered": "always so here",
    "skip_voting": "no vote: the first group of equal answers",
    "skip_final_presentation": "presentation: reuse",
    "final_answer_strategy": "presentation: winner, reuse or synthesize",
    "coordination_mode": "voting is strategy: vote, decomposition is strategy: decompose",
    "presenter_agent": "the agent that writes the final text",
    "disable_injection": "agents inside a tool loop are not told of new answers",
    "max_midstream_injections_per_round": "how many new answers they are told of",
    "fairness_enabled": "nobody runs ahead of the slowest",
    "fairness_lead_cap_answers": "by more than this many answers",
    "max_rounds": "of answers and votes; in the last one nobody answers again",
    "dissent": "whether the result names who differs",
    "snapshot_storage": "where snapshots lie in the run's folder",
    "agent_temporary_workspace": "where peers' snapshots are shown in the run's folder",
    "context_paths": "files of the project that agents see, and the presenter may write",
    **_each("for every agent that does not say itself", "enable_multimodal_tools", *_MEDIA_KEYS),
}
_COORDINATION_HONOURED = {
    "enable_planning_mode": "tools that act are held back until the presentation",
    "planning_mode_instruction": "what agents are told then",
    "max_orchestration_restarts": "new rounds when the winner finds its own answer wanting",
    "broadcast": "agents may ask each other",
    "broadcast_sensitivity": "how readily",
    "broadcast_timeout": "seconds for the reply",
    "broadcast_wait_by_default": "whether the asking agent waits",
    "max_broadcasts_per_agent": "how often",
    "response_depth": "how long the replies are",
}
_TIMEOUTS_HONOURED = {
    "orchestrator_timeout_seconds": "the run's deadline; the best answer so far comes back",
    "initial_round_timeout_seconds": "the deadline of the first round",
    "subsequent_round_timeout_seconds": "the deadline of each later round",
    "round_timeout_grace_seconds": "time to hand in after a round's deadline",
}
_TOOLS_HONOURED = {
    "cwd": "the name of the agent's workspace, a fresh folder of the run",
    "context_paths": "as the team's, for this agent",
    "mcp_servers": "downstream servers",
    "custom_tools": "functions of the operator's",
    "allowed_tools": "these tools alone",
    "optional_filters": "a filter that matches nothing is no error",
    "exclude_custom_tools": "functions that are left out",
    "auto_discover_custom_tools": "functions are found without being named",
    "exclude_file_operation_mcps": "no file tools although there is a workspace",
    "concurrent_tool_execution": "several tool calls of one reply at once",
    "max_concurrent_tools": "so many at once",
    "defer_loading": "tools are described when they are asked for",
    "permissions": "which tools may be called",
    "sandbox": "off: its programs run with all rights of the operator",
    "enable_mcp_command_line": "a shell in the workspace",
    "enable_multimodal_tools": "all media tools",
    "multimodal_config": "settings of the media tools",
    "enable_file_generation": "the agent's file tools do it",
    "upload_files": "files that go with the question",
    **_each("these tools not", "disallowed_tools", "exclude_tools"),
    **_each("who makes pictures, speech and video, and with which model", *_MEDIA_KEYS),
    **_each("a media tool", *(f"enable_{kind}_generation" for kind in _MEDIA)),
    **_each(
        "of the shell",
        *(
            f"command_line_{key}"
            for key in ("execution_mode", "timeout", "allowed_commands", "blocked_commands")
        ),
    ),
    **_each(
        "of the shell's container",
        "command_line_docker_image",
        "command_line_docker_memory_limit",
        "command_line_docker_cpu_limit",
        "command_line_docker_network_mode",
        "command_line_docker_enable_sudo",
        "command_line_docker_credentials",
        "command_line_docker_packages",
    ),
    **_each(
        "of the shell's sandbox of Anthropic's",
        "command_line_srt_network_allowed_domains",
        "command_line_srt_deny_read",
        "command_line_srt_allow_unix_sockets",
        "command_line_srt_read_mode",
        "command_line_srt_allow_read",
    ),
}
_SERVER_HONOURED = {
    "name": "in the names of its tools",
    "type": "stdio, or streamable-http; http means that",
    "cwd": "where it starts, beside the team file",
    "timeout": "seconds for one call",
    "allowed_tools": "these of its tools alone",
    "defer_loading": "its tools are described when they are asked for",
    "optional": "always so here: one that does not start is off for the run, and named",
    "sandbox": "off: it runs with all rights of the operator",
    "stateless": "one connection serves all agents of a run",
    "side_effects": "which of its tools act, where it does not say so rightly",
    "security": "can only tighten",
    "description": "for people who read the file",
    **_each("the program", "command", "args", "env"),
    **_each("the address", "url", "headers"),
    **_each("these of its tools not", "disallowed_tools", "exclude_tools"),
}
_CUSTOM_TOOL_HONOURED = {
    "path": "the file, beside the team file",
    "function": "its function, or several",
    "category": "for people who read the file",
    **_each("what the model is told", "name", "description"),
    **_each("arguments that the model is not asked for", "preset_args", "default_params"),
}

HONOURED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        section: MappingProxyType(keys)
        for section, keys in {
            "team": _TEAM_HONOURED,
            "agent": _AGENT_HONOURED,
            "backend": _TOOLS_HONOURED,
            "orchestrator": _ORCHESTRATOR_HONOURED,
            "coordination": _COORDINATION_HONOURED,
            "timeout_settings": _TIMEOUTS_HONOURED,
            "mcp_server": _SERVER_HONOURED,
            "custom_tool": _CUSTOM_TOOL_HONOURED,
        }.items()
    }
)
"""Section -> key -> what it means here. What this version does not do of it: `available.py`."""
