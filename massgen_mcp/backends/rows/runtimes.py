"""Backends that bring their own agent loop."""

from __future__ import annotations

from massgen_mcp.backends.info import BackendInfo, Cell, Direction, Support, TimeLimits
from massgen_mcp.backends.rows.cells import BUILT_IN, NONE, SEES, matrix, model, names

__all__ = ["RUNTIMES"]

_CLAUDE_CODE = BackendInfo(
    type="claude_code",
    title="Claude Code",
    vendor="anthropic",
    module="claude_code",
    kind="runtime",
    memory=220,
    env=("CLAUDE_CODE_API_KEY", "ANTHROPIC_API_KEY"),
    key_optional=True,
    hosts=("api.anthropic.com",),
    default_model="claude-sonnet-5-5",
    models=(
        model("claude-sonnet-5-5", coding=1),
        model("claude-opus-5-5"),
        model("claude-haiku-5-5"),
        model("claude-sonnet-5"),
        model("claude-opus-5"),
        model("claude-sonnet-4-6"),
        model("claude-opus-4-8"),
        model("claude-opus-4-7"),
        model("claude-opus-4-6"),
        model("claude-haiku-4-5"),
        model("claude-sonnet-4-5", retires="2026-11-30", successor="claude-sonnet-5-5"),
        model("claude-sonnet-4-5-20250929", retires="2026-11-30", successor="claude-sonnet-5-5"),
        model("claude-opus-4-1-20250805"),
        model("claude-sonnet-4-20250514", retires="2026-06-15", successor="claude-sonnet-5-5", coding=1),
        model("claude-opus-4-20250514", retires="2026-06-15", successor="claude-opus-5-5"),
        # The command line's own names for the newest of a family.
        model("sonnet"),
        model("opus"),
        model("haiku"),
    ),
    synonyms=("claude-code", "claudecode", "cc"),
    aliases=names(
        {
            "claude-sonnet-4": "claude-sonnet-4-20250514",
            "claude-opus-4": "claude-opus-4-20250514",
            "claude-opus-4-1": "claude-opus-4-1-20250805",
        }
    ),
    price_provider="anthropic",
    image_input=True,
    support=matrix(web=BUILT_IN, code=BUILT_IN, shell=BUILT_IN, image=SEES, filesystem=BUILT_IN),
    flags=("enable_web_search", "enable_code_execution"),
    flag_aliases=names({"enable_code_interpreter": "enable_code_execution"}),
    sampling=("max_tokens",),
    limits=TimeLimits(first_byte=600.0, idle=600.0, deep_idle=600.0),
    extra="claude-code",
    package="claude_agent_sdk",
    setup="Log in with `claude`, or set CLAUDE_CODE_API_KEY or ANTHROPIC_API_KEY.",
    rank=7,
)

_AG2_TOOLS = "AG2 runs code by its own code_execution_config"

_AG2 = BackendInfo(
    type="ag2",
    title="AG2",
    vendor="ag2",
    module="ag2",
    executes=True,
    kind="runtime",
    env=("OPENAI_API_KEY",),
    key_optional=True,
    hosts=("api.openai.com",),
    synonyms=("autogen", "ag_2"),
    support=matrix(
        code=BUILT_IN,
        shell=NONE,
        image=NONE,
        audio=NONE,
        video=NONE,
        mcp=NONE,
        filesystem=NONE,
        custom_tools=NONE,
    ),
    flag_reasons=names({"enable_code_execution": _AG2_TOOLS, "enable_code_interpreter": _AG2_TOOLS}),
    limits=TimeLimits(first_byte=600.0, idle=600.0, deep_idle=600.0),
    extra="ag2",
    package="ag2",
    setup="Install massgen-mcp[ag2] and give llm_config with a model and its key.",
    rank=40,
)

_SHOWN = Cell(support=Support.BUILT_IN, direction=Direction.UNDERSTAND)

_CODEX = BackendInfo(
    type="codex",
    title="Codex",
    vendor="openai",
    module="codex",
    kind="runtime",
    memory=64,
    env=("CODEX_API_KEY", "OPENAI_API_KEY"),
    hosts=("api.openai.com",),
    default_model="gpt-6.1-sol",
    models=(
        model("gpt-6.1-sol"),
        model("gpt-6.1-terra"),
        model("gpt-6-sol"),
        model("gpt-6-luna"),
        model("gpt-5.6-sol"),
        model("gpt-5.5"),
    ),
    synonyms=("codex-cli", "codex_cli", "openai_codex"),
    price_provider="openai",
    image_input=True,
    support=matrix(
        web=BUILT_IN, code=BUILT_IN, shell=BUILT_IN, image=_SHOWN, audio=NONE, video=NONE, filesystem=BUILT_IN
    ),
    flags=("enable_web_search",),
    sampling=(),
    untaken=("extra_body", "extra_headers"),
    limits=TimeLimits(first_byte=600.0, idle=600.0, deep_idle=600.0),
    programs=("codex",),
    setup="Install it (npm install -g @openai/codex) and set CODEX_API_KEY or OPENAI_API_KEY.",
    rank=41,
)

_GEMINI_CLI = BackendInfo(
    type="gemini_cli",
    title="Gemini CLI",
    vendor="google",
    module="gemini_cli",
    kind="runtime",
    memory=256,
    env=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    hosts=("generativelanguage.googleapis.com",),
    default_model="gemini-3.8-flash",
    models=(
        model("gemini-3.8-flash"),
        model("gemini-4-argon"),
        model("gemini-2.5-flash", retires="2026-12-01", successor="gemini-3.8-flash"),
        model("gemini-2.5-pro", retires="2026-12-01", successor="gemini-4-argon"),
    ),
    synonyms=("gemini-cli", "geminicli"),
    price_provider="google",
    support=matrix(web=BUILT_IN, image=NONE, audio=NONE, video=NONE, filesystem=BUILT_IN),
    flags=("enable_web_search",),
    sampling=(),
    untaken=("extra_body", "extra_headers", "timeout"),
    limits=TimeLimits(first_byte=600.0, idle=600.0, deep_idle=600.0),
    programs=("gemini", "node"),
    setup="Install it (npm install -g @google/gemini-cli) and set GOOGLE_API_KEY or GEMINI_API_KEY.",
    rank=42,
)

RUNTIMES = (_CLAUDE_CODE, _AG2, _CODEX, _GEMINI_CLI)
