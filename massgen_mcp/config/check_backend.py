"""What can be wrong with a backend block although each of its values is of the right form."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import date
from pathlib import PurePosixPath

from massgen_mcp.backends.ag2 import Options as Ag2Options
from massgen_mcp.backends.azure_openai import Options as AzureOptions
from massgen_mcp.backends.claude_code import Options as ClaudeCodeOptions
from massgen_mcp.backends.gemini import Options as GeminiOptions
from massgen_mcp.backends.info import Capability, ModelInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.reasoning import Reasoning
from massgen_mcp.backends.registry import runs_elsewhere
from massgen_mcp.backends.responses_options import ResponsesOptions
from massgen_mcp.backends.urls import host_of, is_loopback
from massgen_mcp.config.folders import outside
from massgen_mcp.config.paths import KeyPath
from massgen_mcp.config.readiness import address_of, foreign_host, key_for, missing_program, readiness
from massgen_mcp.config.seat import Seat
from massgen_mcp.config.tree import Value
from massgen_mcp.config.variables import AZURE_ENDPOINT, AZURE_VERSION
from massgen_mcp.errors import Problem

__all__ = ["check_backend"]

_FLAGS = {
    "enable_web_search": Capability.WEB_SEARCH,
    "enable_code_execution": Capability.CODE_EXECUTION,
    "enable_code_interpreter": Capability.CODE_EXECUTION,
}
_WORDS = {Capability.WEB_SEARCH: "web search", Capability.CODE_EXECUTION: "code execution of its own"}
_NO_MODEL_NEEDED = frozenset({"local", "scripted", "ag2"})
_PLACEHOLDERS = frozenset({"empty", "none", "not-needed", "lm-studio", ""})
_SOON_DAYS = 60
_ONE_MODEL = frozenset({"local"})
_SAMPLING = ("temperature", "top_p")
_EFFORT = frozenset({"effort"})
_GEMINI_REASONING = frozenset({"effort", "max_tokens", "summary"})


def check_backend(seat: Seat, *, today: date) -> Iterator[Problem]:
    """Problems of one agent's backend: address, key, model and built-in tools."""
    yield from _address(seat)
    yield from _key(seat)
    yield from _programs(seat)
    yield from _literal_keys(seat)
    yield from _model(seat, today)
    yield from _fallbacks(seat, today)
    yield from _flags(seat)
    yield from _sampling(seat)
    yield from _reasoning(seat)
    yield from _extras(seat)
    yield from _claude_code(seat)
    yield from _ag2(seat)


def _address(seat: Seat) -> Iterator[Problem]:
    options = seat.agent.backend
    if seat.agent.unset:
        return
    if seat.info.type in ("chatcompletion", "inference") and address_of(options, seat.environment) is None:
        more = " (or port)" if seat.info.type == "inference" else ""
        yield seat.problem(
            "base_url", message=f"required{more}: {seat.info.type!r} has no server of its own."
        )
    if isinstance(options, AzureOptions) and address_of(options, seat.environment) is None:
        yield seat.problem(
            "base_url",
            message=f"no endpoint: {AZURE_ENDPOINT} is not set ({seat.environment.where()}).",
            severity="warning",
            hint=f"Set {AZURE_ENDPOINT}, or give base_url.",
        )
    if options.base_url is None:
        return
    host = host_of(options.base_url)
    if host and options.base_url.lower().startswith("http:") and not is_loopback(host):
        yield seat.problem(
            "base_url",
            message="plain http to another machine: questions and keys can be read on the way.",
            severity="warning",
            hint="Use https where the server has it.",
        )


def _key(seat: Seat) -> Iterator[Problem]:
    options = seat.agent.backend
    if seat.agent.unset or seat.broken:
        return
    if options.api_key is None and (host := foreign_host(options, seat.environment)):
        key = (
            "azure_endpoint" if isinstance(options, AzureOptions) and options.base_url is None else "base_url"
        )
        yield seat.problem(
            key,
            message=f"the host {host} is not one that the key of {seat.info.title} may be sent to.",
            hint="Give api_key in the same block (api_key: EMPTY where the server wants none).",
        )
        return
    key = key_for(options, seat.environment)
    if seat.inline:
        for name in key.variables:
            state = "is set" if seat.environment.get(name) is not None else "is not set"
            yield seat.problem("type", message=f"{name} {state}.", severity="notice")
        return
    if key.source == "missing":
        found = readiness(options.model_copy(), seat.environment)
        names = " or ".join(key.variables) or "api_key"
        places = "" if seat.agent.optional else f" ({seat.environment.where()})"
        message = f"no key: {names} is not set{places}."
        remedy = "It sits out until then." if seat.agent.optional else "A run is refused until then."
        near = found.remedy.rpartition(". ")[2] if "was that meant" in found.remedy else ""
        severity = "notice" if seat.agent.optional else "warning"
        yield seat.problem("type", message=message, severity=severity, hint=f"{near} {remedy}".strip())


def _programs(seat: Seat) -> Iterator[Problem]:
    if not seat.inline and (absent := missing_program(seat.agent.backend, seat.environment)):
        remedy = "It sits out until then." if seat.agent.optional else "A run is refused until then."
        yield seat.problem(
            "type",
            message=f"the program `{absent}` is not installed.",
            severity="notice" if seat.agent.optional else "warning",
            hint=f"{seat.info.setup} {remedy}",
        )


def _literal_keys(seat: Seat) -> Iterator[Problem]:
    block = seat.raw.get("backend")
    for path, text in _keys(block if block is not None else {}, (*seat.path, "backend")):
        if path not in seat.references and text.strip().lower() not in _PLACEHOLDERS:
            yield seat.places.problem(
                path,
                "a key stands in the file itself.",
                severity="warning",
                hint='Put it in a variable and write api_key: "${NAME}".',
            )


def _keys(value: Value, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "api_key" and isinstance(item, str):
                yield (*path, key), item
            else:
                yield from _keys(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _keys(item, (*path, index))


def _model(seat: Seat, today: date) -> Iterator[Problem]:
    options, info = seat.agent.backend, seat.info
    name = options.model
    if name is None:
        deployed = isinstance(options, AzureOptions) and options.deployment is not None
        if info.default_model is None and info.type not in _NO_MODEL_NEEDED and not deployed:
            what = "model or deployment_name" if isinstance(options, AzureOptions) else "model"
            yield seat.problem("model", message=f"{what} is required: {info.type!r} has no default.")
        return
    known = _known_model(seat, name)
    yield from _elsewhere(seat, name, (*seat.path, "backend", "model"))
    if known is not None:
        yield from _retirement(seat, name, known, today)
    elif info.patterns and not any(model.name.lower() == name.lower() for model in info.models):
        names = [*(model.name for model in info.models), *info.aliases]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
        hint = f"Did you mean {close[0]!r}?" if close else ""
        if info.vendor in _CATALOGUED:
            yield seat.problem(
                "model",
                message=f"{name!r} is not a model of {info.title} known here; it is sent as it is",
                severity="warning",
                hint=hint,
            )


def _elsewhere(seat: Seat, name: str, path: KeyPath) -> Iterator[Problem]:
    """A model that a local server would have its vendor run."""
    if runs_elsewhere(seat.info, name):
        yield seat.places.problem(
            path,
            f"{name!r} runs on machines of {seat.info.title}'s own, and is not asked there.",
            severity="warning",
            hint="Name a model that runs here.",
        )


def _fallbacks(seat: Seat, today: date) -> Iterator[Problem]:
    at = (*seat.path, "fallbacks")
    if seat.agent.fallbacks and (seat.info.kind == "runtime" or seat.info.type in _ONE_MODEL):
        what = (
            "an agent that owns its loop keeps its model" if seat.info.kind == "runtime" else "has one model"
        )
        yield seat.places.problem(at, f"{seat.info.type!r}: {what}, so none can take over.")
        return
    for number, name in enumerate(seat.agent.fallbacks):
        yield from _elsewhere(seat, name, (*at, number))
        known = _known_model(seat, name)
        if known is not None:
            yield from _retirement(seat, name, known, today, path=(*at, number))


_CATALOGUED = frozenset({"openai", "anthropic", "google", "xai", "zai"})
"""Vendors whose models are all their own, so that an unknown name is probably a slip."""


def _known_model(seat: Seat, name: str) -> ModelInfo | None:
    exact = seat.info.aliases.get(name, name)
    return next((model for model in seat.info.models if model.name == exact), None)


def _retirement(
    seat: Seat, name: str, model: ModelInfo, today: date, *, path: KeyPath | None = None
) -> Iterator[Problem]:
    if model.retires is None or (days := (model.retires - today).days) > _SOON_DAYS:
        return
    state = "was" if days <= 0 else "will be"
    hint = f"Use {model.successor!r}." if model.successor else ""
    yield seat.places.problem(
        path or (*seat.path, "backend", "model"),
        f"{name!r} {state} retired on {model.retires:%Y-%m-%d}.",
        severity="warning",
        hint=hint,
    )


def _flags(seat: Seat) -> Iterator[Problem]:
    options, row = seat.agent.backend, seat.provider
    for flag, capability in _FLAGS.items():
        if not getattr(options, flag):
            continue
        if isinstance(options, AzureOptions) and not options.is_v1(seat.environment.get(AZURE_VERSION)):
            yield seat.problem(
                flag,
                message="deployments' chat completions have no built-in tools.",
                hint=f"Use api_version: v1, or remove {flag}.",
            )
        elif flag in row.flag_aliases:
            yield seat.problem(
                flag,
                message=f"taken as {row.flag_aliases[flag]}, the name that {row.title} has for it.",
                severity="notice",
            )
        elif flag not in row.flags:
            yield _no_flag(seat, flag, capability)


def _no_flag(seat: Seat, flag: str, capability: Capability) -> Problem:
    row = seat.provider
    reason = row.flag_reasons.get(flag)
    hint = f"Remove {flag}."
    if capability is Capability.CODE_EXECUTION and row.support[Capability.SHELL].support != "none":
        hint += " For commands in the agent's workspace use enable_mcp_command_line."
    message = f"{row.type!r} has no {_WORDS[capability]}" + (f": {reason}." if reason else ".")
    return seat.problem(flag, message=message, hint=hint)


def _sampling(seat: Seat) -> Iterator[Problem]:
    options: Options = seat.agent.backend
    model = _known_model(seat, options.model or seat.info.default_model or "")
    for key in (*_SAMPLING, "max_tokens"):
        if getattr(options, key) is None:
            continue
        if key not in seat.info.sampling:
            message = f"{seat.info.title} takes no {key}; it is not sent."
            yield seat.problem(key, message=message, severity="warning")
        elif key in _SAMPLING and model is not None and not model.sampling:
            message = f"{model.name} takes no {key}; it is left out when the provider refuses it."
            yield seat.problem(key, message=message, severity="notice")


def _reasoning(seat: Seat) -> Iterator[Problem]:
    """Parts of `reasoning` that its provider has no place for: they would be passed over without a word."""
    options = seat.agent.backend
    reasoning: object = getattr(options, "reasoning", None)
    if not isinstance(reasoning, Reasoning):
        return
    heard = _heard(seat)
    if heard is None:
        return
    if unheard := [key for key in reasoning.model_dump(exclude_none=True) if key not in heard]:
        title, hint = seat.provider.title, ""
        if isinstance(options, AzureOptions):
            title, hint = "A deployment's chat completion", "Use api_version: v1, which takes all of it."
        yield seat.problem(
            "reasoning",
            unheard[0],
            message=f"{title} takes {', '.join(sorted(heard))} alone of reasoning; "
            f"{', '.join(unheard)} is not sent.",
            severity="warning",
            hint=hint,
        )


def _heard(seat: Seat) -> frozenset[str] | None:
    """The parts of `reasoning` that reach the provider; None for all."""
    options = seat.agent.backend
    if isinstance(options, AzureOptions) and not options.is_v1(seat.environment.get(AZURE_VERSION)):
        return _EFFORT
    if isinstance(options, ResponsesOptions) or seat.provider.type == "openrouter":
        return None
    return _GEMINI_REASONING if isinstance(options, GeminiOptions) else _EFFORT


def _extras(seat: Seat) -> Iterator[Problem]:
    options = seat.agent.backend
    if seat.info.type == "grok" and "search_parameters" in options.extra_body:
        yield seat.problem(
            "extra_body",
            "search_parameters",
            message="xAI has ended Live Search and refuses this.",
            hint="Use enable_web_search or enable_x_search.",
        )
    for key in seat.info.untaken:
        if getattr(options, key):
            message = f"{seat.info.title} has no way to take {key}; it is not used."
            yield seat.problem(key, message=message, severity="warning")
    for key in ("extra_body", "extra_headers"):
        if getattr(options, key) and key not in seat.info.untaken:
            yield seat.problem(key, message="sent to the provider as it is, unchecked.", severity="notice")
    if seat.info.type == "claude" and seat.agent.tools.cwd and seat.agent.tools.enable_mcp_command_line:
        yield seat.problem(
            "type",
            message="for work in files and a shell there is also claude_code, with tools of its own.",
            severity="notice",
        )


def _claude_code(seat: Seat) -> Iterator[Problem]:
    options = seat.agent.backend
    if not isinstance(options, ClaudeCodeOptions):
        return
    if options.allow_dangerous_tools and seat.inline:
        yield seat.problem("allow_dangerous_tools", message="only in the operator's own file.")
    if options.system_prompt and options.append_system_prompt:
        yield seat.problem(
            "append_system_prompt", message="the same as system_prompt, which is there too.", hint="Keep one."
        )


def _ag2(seat: Seat) -> Iterator[Problem]:
    options = seat.agent.backend
    if not isinstance(options, Ag2Options):
        return
    for path in _named("cache_seed", seat.raw.get("backend"), (*seat.path, "backend")):
        yield seat.places.problem(path, "AG2 1.x keeps no cache of replies; not used here", severity="notice")
    code = options.code_execution_config
    if code is None:
        return
    for path in _named("work_dir", seat.raw.get("backend"), (*seat.path, "backend")):
        if code.executor != "local":
            message = f"executor: {code.executor} has no work_dir here; not used"
            yield seat.places.problem(path, message, severity="warning")
        elif outside(code.work_dir or "") or PurePosixPath(code.work_dir or "").is_absolute():
            yield seat.places.problem(path, "must not lead out of the agent's workspace.")
    for path in _named("image", seat.raw.get("backend"), (*seat.path, "backend")):
        if code.executor == "local":
            message = "executor: local runs without an image; not used here"
            yield seat.places.problem(path, message, severity="warning")


def _named(name: str, value: Value, path: KeyPath) -> Iterator[KeyPath]:
    """The places of a key of that name, however deep: AG2's blocks are written in several forms."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == name and item is not None:
                yield (*path, key)
            else:
                yield from _named(name, item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _named(name, item, (*path, index))
