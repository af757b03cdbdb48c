"""`chatcompletion` and its presets: providers reached over OpenAI's chat completions."""

from __future__ import annotations

from massgen_mcp.backends.info import BackendInfo, Cell, Support
from massgen_mcp.backends.rows.cells import BUILT_IN, VARIES, matrix, model, names

__all__ = ["COMPATIBLE"]

_BY_PROVIDER = "chat completions have it with some providers only (OpenRouter has web search)"

_CHATCOMPLETION = BackendInfo(
    type="chatcompletion",
    title="Any OpenAI-compatible API",
    vendor="compatible",
    module="chat",
    key_optional=True,
    support=matrix(
        web=Cell(support=Support.VARIES, note="with OpenRouter"),
        code=Cell(support=Support.VARIES, note="through the shell"),
    ),
    flag_reasons=names(
        {
            "enable_web_search": _BY_PROVIDER,
            "enable_code_execution": _BY_PROVIDER,
            "enable_code_interpreter": _BY_PROVIDER,
        }
    ),
    synonyms=(
        "chat_completion",
        "chatcompletions",
        "chat",
        "openai_compatible",
        "openai-compatible",
        "custom",
    ),
    setup="Give base_url, and api_key where the provider wants one.",
    rank=20,
)

_CEREBRAS = BackendInfo(
    type="cerebras",
    title="Cerebras",
    vendor="cerebras",
    module="chat",
    env=("CEREBRAS_API_KEY",),
    base_url="https://api.cerebras.ai/v1",
    hosts=("api.cerebras.ai",),
    default_model="gpt-oss-120b",
    models=(model("gpt-oss-120b"), model("qwen-3.8-27b")),
    patterns=("gpt-oss-*",),
    price_provider="cerebras",
    support=matrix(),
    setup="Set CEREBRAS_API_KEY.",
    rank=12,
)

_TOGETHER = BackendInfo(
    type="together",
    title="Together AI",
    vendor="together",
    module="chat",
    env=("TOGETHER_API_KEY",),
    base_url="https://api.together.xyz/v1",
    hosts=("api.together.xyz", "api.together.ai"),
    default_model="zai-org/GLM-5.3",
    models=(
        model("zai-org/GLM-5.3"),
        model("openai/gpt-oss-120b"),
        model("deepseek-ai/DeepSeek-V4.1-Flash"),
        model("meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        model("meta-llama/Meta-Llama-3.1-405B-Instruct-Turbo"),
        model("mistralai/Mixtral-8x7B-Instruct-v0.1"),
    ),
    patterns=("meta-llama/*-Turbo", "zai-org/*"),
    synonyms=("together_ai", "togetherai", "together-ai"),
    price_provider="together",
    support=matrix(),
    setup="Set TOGETHER_API_KEY.",
    rank=13,
)

_FIREWORKS = BackendInfo(
    type="fireworks",
    title="Fireworks AI",
    vendor="fireworks",
    module="chat",
    env=("FIREWORKS_API_KEY",),
    base_url="https://api.fireworks.ai/inference/v1",
    hosts=("api.fireworks.ai",),
    default_model="accounts/fireworks/models/glm-5p3",
    models=(
        model("accounts/fireworks/models/glm-5p3"),
        model("accounts/fireworks/models/gpt-oss-120b"),
        model("accounts/fireworks/models/kimi-k2p6"),
        model("accounts/fireworks/models/llama-v3p1-405b-instruct"),
    ),
    patterns=("accounts/fireworks/*",),
    synonyms=("fireworks_ai", "fireworksai", "fireworks-ai"),
    price_provider="fireworks",
    support=matrix(),
    setup="Set FIREWORKS_API_KEY.",
    rank=14,
)

_GROQ = BackendInfo(
    type="groq",
    title="Groq",
    vendor="groq",
    module="chat",
    env=("GROQ_API_KEY",),
    base_url="https://api.groq.com/openai/v1",
    hosts=("api.groq.com",),
    default_model="openai/gpt-oss-120b",
    models=(
        model("openai/gpt-oss-120b"),
        model("openai/gpt-oss-20b"),
        model("qwen/qwen3.8-27b"),
        model("llama-3.3-70b-versatile"),
        model("llama-3.1-8b-instant"),
        model("llama-3.1-70b-versatile", retires="2025-01-24", successor="llama-3.3-70b-versatile"),
        model("mixtral-8x7b-32768", retires="2025-03-20", successor="openai/gpt-oss-120b"),
    ),
    patterns=("llama-3.*-versatile", "llama-3.*-instant"),
    price_provider="groq",
    support=matrix(),
    setup="Set GROQ_API_KEY.",
    rank=11,
)

_OPENROUTER = BackendInfo(
    type="openrouter",
    title="OpenRouter",
    vendor="openrouter",
    module="chat",
    env=("OPENROUTER_API_KEY",),
    base_url="https://openrouter.ai/api/v1",
    hosts=("openrouter.ai",),
    default_model="deepseek/deepseek-v4-pro",
    models=(
        model("deepseek/deepseek-v4-pro"),
        model("deepseek/deepseek-v4.1-flash"),
        model("openai/gpt-6.1-terra"),
        model("anthropic/claude-sonnet-5.5"),
        model("qwen/qwen3.8-flash"),
    ),
    patterns=("*/*:free",),
    synonyms=("open_router", "open-router"),
    price_provider="openrouter",
    support=matrix(web=BUILT_IN, image=VARIES),
    flags=("enable_web_search",),
    setup="Set OPENROUTER_API_KEY.",
    rank=10,
)

_MOONSHOT = BackendInfo(
    type="moonshot",
    title="Moonshot (Kimi)",
    vendor="moonshot",
    module="chat",
    env=("MOONSHOT_API_KEY", "KIMI_API_KEY"),
    base_url="https://api.moonshot.cn/v1",
    hosts=("api.moonshot.cn", "api.moonshot.ai"),
    default_model="kimi-k2.6",
    models=(
        model("kimi-k2.6"),
        model("kimi-k2.7-code"),
        model("kimi-k3"),
        model("kimi-k3.1-pro"),
    ),
    patterns=("kimi-*", "moonshot-*"),
    synonyms=("kimi", "moonshotai", "moonshot_ai"),
    price_provider="moonshotai",
    support=matrix(),
    setup="Set MOONSHOT_API_KEY; accounts outside China also give base_url: https://api.moonshot.ai/v1.",
    rank=9,
)

_NEBIUS = BackendInfo(
    type="nebius",
    title="Nebius AI Studio",
    vendor="nebius",
    module="chat",
    env=("NEBIUS_API_KEY",),
    base_url="https://api.studio.nebius.com/v1",
    hosts=("api.studio.nebius.com", "api.studio.nebius.ai", "api.tokenfactory.nebius.com"),
    synonyms=("nebius_ai", "nebius-ai"),
    price_provider="huggingface_nebius",
    support=matrix(),
    setup="Set NEBIUS_API_KEY and name a model.",
    rank=15,
)

_POE = BackendInfo(
    type="poe",
    title="Poe",
    vendor="poe",
    module="chat",
    env=("POE_API_KEY",),
    base_url="https://api.poe.com/v1",
    hosts=("api.poe.com",),
    support=matrix(),
    setup="Set POE_API_KEY and name a model.",
    rank=16,
)

COMPATIBLE = (
    _CHATCOMPLETION,
    _OPENROUTER,
    _GROQ,
    _CEREBRAS,
    _TOGETHER,
    _FIREWORKS,
    _MOONSHOT,
    _NEBIUS,
    _POE,
)
