"""The tables of MassGen's two documents: its guide to backends (B), its list of supported models (S)."""

from __future__ import annotations

__all__ = ["FLAGS", "GUIDE", "KEYS", "PROVIDERS", "QUICK", "SELECTION", "SETUP_KEYS"]


def _rows(text: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
    return {row[0]: row[1:] for row in rows}


GUIDE = _rows("""
openai         | ⭐ | ⭐ | ✅ | ⭐ both | ⭐ both | ⭐ generate | ✅ | ✅ | ✅
claude         | ⭐ | ⭐ | ✅ | 🔧      | 🔧      | 🔧          | ✅ | ✅ | ✅
claude_code    | ⭐ | ❌ | ⭐ | 🔧      | 🔧      | 🔧          | ✅ | ⭐ | ✅
gemini         | ⭐ | ⭐ | ✅ | 🔧      | 🔧      | 🔧          | ✅ | ✅ | ✅
grok           | ⭐ | ❌ | ✅ | 🔧      | 🔧      | 🔧          | ✅ | ✅ | ✅
azure_openai   | ⭐ | ⭐ | ✅ | ⭐ both | ❌      | ❌          | ✅ | ✅ | ❌
chatcompletion | ❌ | ❌ | ✅ | 🔧      | 🔧      | 🔧          | ✅ | ✅ | ✅
lmstudio       | ❌ | ❌ | ✅ | 🔧      | 🔧      | 🔧          | ✅ | ✅ | ✅
inference      | ❌ | ❌ | ✅ | 🔧      | 🔧      | 🔧          | ✅ | ✅ | ✅
ag2            | ❌ | ⭐ | ❌ | ❌      | ❌      | ❌          | ❌ | ❌ | ❌
""")
"""B, "Backend Tool Support": web search to custom tools. Its one "Generation" is written as we do."""

QUICK = _rows("""
claude         | ⭐     | ⭐     | ✅     | ✅
claude_code    | ⭐     | ⭐     | ⭐     | ✅
gemini         | ⭐     | ⭐     | ✅     | ✅
openai         | ⭐     | ⭐     | ✅     | ✅
grok           | ⭐     | ✅     | ✅     | ✅
azure_openai   | ❌     | ❌     | ❌     | ❌
zai            | ❌     | ✅     | ✅     | ✅
chatcompletion | varies | varies | ✅     | ✅
lmstudio       | ❌     | ✅     | ✅     | limited
vllm           | ❌     | ✅     | ✅     | ✅
sglang         | ❌     | ✅     | ✅     | ✅
ag2            | varies | ⭐     | varies | ❌
""")
"""S, "Backend Support Matrix": web search, code execution, files, MCP. Its row "vLLM/SGLang" is two here."""

SETUP_KEYS = {
    "claude": "ANTHROPIC_API_KEY",
    "claude_code": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "openai": "OPENAI_API_KEY",
    "grok": "XAI_API_KEY",
    "zai": "ZAI_API_KEY",
}
"""S, the last column of the same table, where it names a variable."""

FLAGS = _rows("""
claude         | ✅     | ✅     | ❌
claude_code    | N/A    | N/A    | N/A
gemini         | ✅     | ✅     | ❌
openai         | ✅     | ❌     | ✅
grok           | ✅     | ❌     | ❌
azure_openai   | ❌     | ❌     | ❌
zai            | ❌     | ❌     | ❌
chatcompletion | Varies | Varies | Varies
lmstudio       | ❌     | ❌     | ❌
vllm           | ❌     | ❌     | ❌
sglang         | ❌     | ❌     | ❌
ag2            | N/A    | N/A    | N/A
""")
"""S, "Backend-Level Tool Parameters": enable_web_search, enable_code_execution, enable_code_interpreter."""

PROVIDERS = _rows("""
cerebras   | https://api.cerebras.ai/v1            | CEREBRAS_API_KEY
together   | https://api.together.xyz/v1           | TOGETHER_API_KEY
fireworks  | https://api.fireworks.ai/inference/v1 | FIREWORKS_API_KEY
groq       | https://api.groq.com/openai/v1        | GROQ_API_KEY
openrouter | https://openrouter.ai/api/v1          | OPENROUTER_API_KEY
moonshot   | https://api.moonshot.cn/v1            | MOONSHOT_API_KEY
nebius     | Provider-specific                     | NEBIUS_API_KEY
poe        | Platform-specific                     | Platform credentials
""")
"""S, "Supported Providers": address and variable."""

KEYS = {
    "openai": ["OPENAI_API_KEY"],
    "claude": ["ANTHROPIC_API_KEY"],
    "claude_code": ["CLAUDE_CODE_API_KEY", "ANTHROPIC_API_KEY"],
    "gemini": ["GOOGLE_API_KEY"],
    "grok": ["XAI_API_KEY"],
    "azure_openai": ["AZURE_OPENAI_API_KEY"],
}
"""B, "API key not found"."""

SELECTION = {
    "research": ["gemini", "openai", "grok"],
    "coding": ["claude_code", "openai", "gemini"],
    "analysis": ["openai", "claude", "gemini"],
    "cheap": ["openai", "grok", "gemini", "lmstudio"],
    "private": ["lmstudio", "azure_openai", "vllm"],
}
"""B, "Backend Selection Guide", by the backends of the models it names, best first."""
