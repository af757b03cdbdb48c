"""A record's body with its form, numbers, names and states, and without a word of what it is about.

What is kept is listed, by the kind of record and the place in it. Whatever a caller, a model or a tool has
put together, and whatever is not listed, keeps its shape alone: its keys may say as much as its texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias, cast

from massgen_mcp.config.schema import json_schema

__all__ = ["without_texts"]


@dataclass(frozen=True, slots=True)
class _Each:
    """An object whose keys are names."""

    form: Form


@dataclass(frozen=True, slots=True)
class _Leaf:
    """No object and no list; `name`: its text is a name, a kind or a state."""

    name: bool


class _Team:
    """A team as it was resolved: its keys are those of team files, and others' besides."""


Form: TypeAlias = "_Leaf | _Each | _Team | Mapping[str, Form] | tuple[Form] | None"
"""How a value is shown: an object by its keys, a list by what is in it; None: as its shape."""

_NAME: Final = _Leaf(name=True)
_VALUE: Final = _Leaf(name=False)
_NAMES: Final = (_NAME,)
_TEXTS: Final = (_VALUE,)
_SHOWN = re.compile(r"[A-Za-z0-9_./:@+-]{1,120}")
"""A name has no spaces: a sentence where one belongs is none."""


def _form(*names: str, **more: Form) -> Mapping[str, Form]:
    """The form of an object; those of `names` that begin with `-` are numbers, switches, or texts to hide."""
    return {name.lstrip("-"): _VALUE if name.startswith("-") else _NAME for name in names} | more


_USAGE = _form(
    "-requests",
    "-input",
    "-output",
    "-cached",
    "-cache_write",
    "-reasoning",
    "-searches",
    "-cost_usd",
    "cost_source",
    "-unpriced",
    "-saved",
    lost=_Each(_VALUE),
)
_CALL = _form("id", "name", arguments=None)
_TEAM_NAMES = frozenset({"id", "type", "model", "strategy", "name"})
_RESOLVED = frozenset({"address", "literal", "model_id", "needed", "set", "source", "tools", "workspace"})
"""Keys that a team has once it is resolved, beside those of its file."""
_FREE = frozenset(
    {
        "arguments",
        "chat_template_kwargs",
        "code_execution_config",
        "config_list",
        "default_params",
        "env",
        "extra_body",
        "extra_headers",
        "group_config",
        "headers",
        "hooks",
        "llm_config",
        "logit_bias",
        "multimodal_config",
        "options",
        "preset_args",
        "replies",
    }
)
"""What lies below these is not ours to know."""
_RESULT = _form(
    "-answer",
    "status",
    "stopped_by",
    "run_id",
    "winner",
    "-seconds",
    "-error",
    "phase",
    "-done",
    "-eta_seconds",
    "-spent",
    "-next",
    "-report",
    agreement=_form("rule", "-margin", votes=_Each(_VALUE), merged=(_NAMES,)),
    dissent=(_form("agent", "-conclusion"),),
    ballot=(_form("voter", "chose", "-reason", add=_NAMES),),
    agents=(
        _form(
            "id",
            "backend",
            "model",
            "state",
            "-requests",
            "-tokens",
            "-cost_usd",
            "-seconds",
            "-tool_calls",
            "-attempts",
            "-retries",
            "-error",
        ),
    ),
    usage=_USAGE,
    files=(_form("-path", "mime", "-bytes", "-local_path", "-uri"),),
    changes=(_form("-path", "-added", "-removed", "-diff_uri"),),
    team=_form("name", "-why"),
    warnings=_TEXTS,
)
_FORMS: Final[Mapping[str, Mapping[str, Form]]] = {
    "RunStarted": _form(
        "-question",
        "-context",
        "parent",
        "team",
        "-why",
        "strategy",
        "-seed",
        "-snapshots",
        "-tag",
        "prompts",
        "version",
        "-host",
        attached=None,
        config=_Team(),
        earlier={
            "exchanges": None,
            "own": _Each(_VALUE),
            "work": _form("run_id", "snapshot", "-storage"),
        },
        asked=_form("team", "strategy", agents=_NAMES),
        agents=(_form("id", "backend", "model"),),
        labels=_Each(_NAME),
        limits=_form("-seconds", "-usd", "-tokens", "-requests"),
        places=_Each(None),
    ),
    "TurnStarted": _form("agent", "kind", "-ballot", shown=_NAMES),
    "TurnEnded": _form("agent", "how", "-why", "kind"),
    "CallStarted": _form("agent", "-digest", "-reserved_tokens", "-reserved_usd", "-session", "snapshot"),
    "CallReplied": _form(
        "agent",
        reply=_form(
            "-text",
            "finish",
            "model",
            "-attempts",
            "-seconds",
            calls=(_CALL,),
            native=(_form("type", "role", "status"),),
            warnings=_TEXTS,
        ),
        usage=_USAGE,
    ),
    "CallFailed": _form("agent", "kind", "-error", "-attempts", "-requests", usage=_USAGE, handed_in=_CALL),
    "ToolStarted": _form("agent", "name", "-idempotent", arguments=None),
    "ToolFinished": _form(
        "agent", "-is_error", result=None, images=(_form("mime", "-base64"),), usage=_USAGE
    ),
    "AnswerGiven": _form("agent", "id", "label", "-revision", "-content", "-conclusion", "snapshot"),
    "VoteCast": _form("agent", "answer", "label", "-reason", "-ballot", add=_NAMES),
    "Notice": _form(
        "event",
        "agent",
        "-turn",
        "-round",
        "-late",
        "-content",
        "-conclusion",
        "snapshot",
        "answer",
        "-reason",
        "-why",
        "-error",
        "kind",
        "version",
        add=_NAMES,
    ),
    "Finished": _form(
        "status",
        "stopped_by",
        "winner",
        "-answer",
        "rule",
        "snapshot",
        warnings=_TEXTS,
        usage=_USAGE,
        result=_RESULT,
    ),
}


def without_texts(kind: str, body: Mapping[str, Any]) -> Any:
    """The body of a record of that kind; texts as `<12 characters>`, keys that are not listed as `<3>`."""
    return _shown(body, _FORMS.get(kind))


def _shown(value: Any, form: Form) -> Any:
    if isinstance(form, _Team):
        return _config(value)
    if isinstance(value, Mapping):
        found = cast("Mapping[str, Any]", value)
        if isinstance(form, _Each):
            return {_key(key, number): _shown(item, form.form) for number, (key, item) in _numbered(found)}
        known = form if isinstance(form, Mapping) else cast("Mapping[str, Form]", {})
        return {
            key if key in known else f"<{number}>": _shown(item, known.get(key))
            for number, (key, item) in _numbered(found)
        }
    if isinstance(value, list | tuple):
        inner = form[0] if isinstance(form, tuple) else None
        return [_shown(item, inner) for item in cast("list[Any]", value)]
    return _scalar(value, form if isinstance(form, _Leaf) else None)


def _scalar(value: Any, form: _Leaf | None) -> Any:
    if isinstance(value, str):
        named = form is not None and form.name and _SHOWN.fullmatch(value)
        return value if named or not value else f"<{len(value)} characters>"
    if value is None or isinstance(value, bool) or form is not None:
        return value
    return "<number>"


def _numbered(found: Mapping[str, Any]) -> enumerate[tuple[str, Any]]:
    return enumerate(found.items())


def _key(key: str, number: int) -> str:
    return key if _SHOWN.fullmatch(key) else f"<{number}>"


def _config(value: Any, key: str = "") -> Any:
    """A team as it was resolved: its keys, switches and numbers, and which models it has."""
    if isinstance(value, Mapping):
        known, shown = _keys_of_teams(), dict[str, Any]()
        for number, (name, item) in _numbered(cast("Mapping[str, Any]", value)):
            ours = name in known and name not in _FREE
            shown[name if name in known else f"<{number}>"] = (
                _config(item, name) if ours else _shown(item, None)
            )
        return shown
    if isinstance(value, list | tuple):
        return [_config(item, key) for item in cast("list[Any]", value)]
    return _scalar(value, _NAME if key in _TEAM_NAMES else _VALUE)


@cache
def _keys_of_teams() -> frozenset[str]:
    """Every key that a team file may have."""

    def within(schema: Any) -> set[str]:
        if isinstance(schema, list):
            return set[str]().union(*(within(item) for item in cast("list[Any]", schema)))
        if not isinstance(schema, Mapping):
            return set()
        found = cast("Mapping[str, Any]", schema)
        own = found.get("properties")
        keys = set(cast("Mapping[str, Any]", own)) if isinstance(own, Mapping) else set[str]()
        return keys.union(*(within(item) for item in found.values()))

    return frozenset(within(json_schema()) | _RESOLVED)
