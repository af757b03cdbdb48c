"""The arguments of the five tools. Tool definitions are built from these models, calls are read by them.

Reading is strict: a value of another type is refused with words that its sender, a model, can act on.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from massgen_mcp.errors import RequestRefused
from massgen_mcp.text import shorten, visible

__all__ = [
    "Arguments",
    "AskTeam",
    "Budget",
    "CancelRun",
    "GetRun",
    "ListBackends",
    "RunDetail",
    "ValidateConfig",
    "read_arguments",
]

RunDetail: TypeAlias = Literal["summary", "answers", "votes", "files", "transcript"]

_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(gt=0)]
_RunId = Annotated[str, Field(min_length=1, max_length=100)]


class Arguments(BaseModel):
    """What all tools' arguments have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Budget(Arguments):
    """Limits for one question."""

    usd: _Positive | None = None
    tokens: _Count | None = None
    requests: _Count | None = None
    seconds: _Positive | None = None


class AskTeam(Arguments):
    """Of `ask_team`."""

    question: Annotated[str, Field(description="The whole question, complete in itself.")]
    team: Annotated[
        str | None,
        Field(description="Name from list_backends. Default: the operator's team, else one made up here."),
    ] = None
    agents: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            max_length=12,
            description='Models instead of a team: ["openai/gpt-5", "claude-sonnet-4-5"].',
        ),
    ] = None
    context: Annotated[
        str | None,
        Field(description="Material the answer needs: code, logs, data, your findings. Judged, not obeyed."),
    ] = None
    files: Annotated[
        list[str | dict[str, Any]] | None,
        Field(
            max_length=200,
            description="Paths, globs, path:10-80, folders, git:HEAD (diff) in the project; or {name, text}.",
        ),
    ] = None
    images: Annotated[
        list[str | dict[str, Any]] | None,
        Field(max_length=10, description="Paths, or {name, base64, mime}. PDF too."),
    ] = None
    strategy: Annotated[str | None, Field(description="How the team decides. Default: the team's own.")] = (
        None
    )
    continue_run: Annotated[
        str | None,
        Field(
            max_length=100,
            description="run_id: a follow-up of it. An interrupted run goes on if `question` is empty.",
        ),
    ] = None
    budget: Annotated[
        Budget | None, Field(description="Can only lower the configured limits ($1 and 600 s by default).")
    ] = None
    wait_seconds: Annotated[
        float | None,
        Field(
            ge=0,
            description="When to return `running` instead of waiting on. 0: at once. Default: by host.",
        ),
    ] = None
    detail: Annotated[
        Literal["answer", "summary", "votes"] | None,
        Field(description="How much beside the answer. Default: summary."),
    ] = None


class GetRun(Arguments):
    """Of `get_run`."""

    run_id: Annotated[_RunId | None, Field(description="Absent: the latest runs, a row each.")] = None
    wait_seconds: Annotated[
        float | None, Field(ge=0, le=50, description="Wait that long for it to end. Default: 0.")
    ] = None
    detail: Annotated[RunDetail | None, Field(description="Default: summary.")] = None
    path: Annotated[str | None, Field(max_length=1000, description="With files: one file's content.")] = None
    cursor: Annotated[
        str | None, Field(max_length=100, description="`cursor` of the last reply, for the next page.")
    ] = None


class CancelRun(Arguments):
    """Of `cancel_run`."""

    run_id: _RunId


class ListBackends(Arguments):
    """Of `list_backends`."""

    backend: Annotated[str | None, Field(description="One backend: its models, prices, what is loaded.")] = (
        None
    )
    task: Annotated[
        Literal["research", "coding", "analysis", "cheap", "private"] | None,
        Field(description="Order by suitability."),
    ] = None


class ValidateConfig(Arguments):
    """Of `validate_config`."""

    config: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1_048_576,
            description="A team's name, a path in an approved folder, or YAML.",
        ),
    ]


_ArgumentsT = TypeVar("_ArgumentsT", bound=Arguments)


def read_arguments(model: type[_ArgumentsT], given: Mapping[str, Any] | None) -> _ArgumentsT:
    """The arguments of a call.

    Raises:
        RequestRefused: they can't be taken; the text names every problem and what to do.
    """
    try:
        return model.model_validate(dict(given or {}))
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [_problem(model, detail) for detail in details]
        raise RequestRefused(" ".join([*problems, *_known(model, details), "Nothing was spent."])) from None


_MEANT: Mapping[str, str] = {
    "prompt": "question",
    "query": "question",
    "task": "question",
    "message": "question",
    "text": "question",
    "team_name": "team",
    "models": "agents",
    "backends": "agents",
    "background": "wait_seconds",
    "attachments": "files",
    "image": "images",
    "timeout": "wait_seconds",
    "max_cost_usd": "budget",
    "id": "run_id",
    "part": "detail",
    "page": "cursor",
    "yaml": "config",
    "path": "config",
    "file": "path",
    "name": "config",
}
"""Names that callers use -> the one that is meant, where the tool has it."""

_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "literal_error": "must be one of {expected}, not {found}",
    "greater_than": "must be above {gt:g}, not {found}",
    "greater_than_equal": "must be at least {ge:g}, not {found}",
    "less_than_equal": "must be at most {le:g}, not {found}",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_too_long": "is too long: at most {max_length} characters are taken",
    "too_long": "is too long: at most {max_length} are taken",
    "string_type": "must be a string, not {found}",
    "list_type": "must be a list of strings, not {found}",
    "model_type": "must be an object, not {found}",
    "float_type": "must be a number, not {found}",
    "int_type": "must be a whole number, not {found}",
    "int_from_float": "must be a whole number, not {found}",
}
"""What is wrong -> how it is said."""
_SHOWN = 60


def _problem(model: type[Arguments], detail: ErrorDetails) -> str:
    """One problem in words for a model."""
    path = ".".join(str(part) for part in detail["loc"])
    kind, limits = detail["type"], detail.get("ctx", {})
    found = _shown(detail["input"])
    if kind == "extra_forbidden":
        return _unknown(model, detail)
    if kind == "string_type" and detail["loc"][0] == "agents":
        return (
            f"`{path}` must be a string, not {found}: a model's name. Addresses and keys are the operator's."
        )
    words = _WORDS.get(kind, "must be valid, not {found}")
    return f"`{path}` {words.format(found=found, **limits)}."


def _unknown(model: type[Arguments], detail: ErrorDetails) -> str:
    *parents, name = (str(part) for part in detail["loc"])
    known = _fields(model, nested=bool(parents))
    meant = _MEANT.get(name, "")
    close = [meant] if meant in known else difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    path = visible(shorten(".".join([*parents, name]), _SHOWN))
    return f"Unknown argument `{path}`.{hint}"


def _known(model: type[Arguments], details: Sequence[ErrorDetails]) -> list[str]:
    """What there is where something is unknown, said once however much is."""
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    levels = sorted({len(path) > 1 for path in unknown})
    names = {False: "Known", True: "In `budget`" if False in levels else "Known"}
    return [f"{names[nested]}: {', '.join(_fields(model, nested=nested))}." for nested in levels]


def _fields(model: type[Arguments], *, nested: bool) -> list[str]:
    return list(Budget.model_fields if nested else model.model_fields)


def _shown(value: Any) -> str:
    """A value as its sender wrote it, short."""
    return visible(shorten(json.dumps(value, ensure_ascii=False, default=str), _SHOWN))
