"""Spans of a run, a turn, a model request and a tool call, under OpenTelemetry's names for generative AI.

Only the API is used: without an SDK in the process nothing is recorded and nothing is spent. Prompts and
answers are never attributes.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from massgen_mcp.usage import Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

__all__ = [
    "record_failure",
    "record_usage",
    "request_span",
    "run_span",
    "tool_span",
    "turn_span",
]

Attribute: TypeAlias = str | int | float | bool

_OPERATION = "gen_ai.operation.name"
_SCOPE = "massgen_mcp"


def _tracer() -> Tracer:
    # The API costs 80 ms to import, and nothing before the first run needs it.
    from opentelemetry import trace  # noqa: PLC0415

    return trace.get_tracer(_SCOPE)


@contextmanager
def _span(name: str, attributes: Mapping[str, Attribute], *, remote: bool = False) -> Generator[Span]:
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - see above

    kind = SpanKind.CLIENT if remote else SpanKind.INTERNAL
    # A failure is recorded as its kind: an exception's text may hold what a provider or a tool said.
    with _tracer().start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except Exception as error:
            record_failure(span, str(getattr(error, "kind", "") or type(error).__name__))
            raise


@contextmanager
def run_span(*, run_id: str, team: str, strategy: str) -> Generator[Span]:
    """The span of a whole run: `invoke_workflow TEAM`."""
    attributes: dict[str, Attribute] = {
        _OPERATION: "invoke_workflow",
        "gen_ai.workflow.name": team,
        "massgen.run.id": run_id,
        "massgen.strategy": strategy,
    }
    with _span(f"invoke_workflow {team}", attributes) as span:
        yield span


@contextmanager
def turn_span(*, agent: str, kind: str, turn: int, ballot: int = 0) -> Generator[Span]:
    """The span of one agent's turn: `invoke_agent AGENT`."""
    attributes: dict[str, Attribute] = {
        _OPERATION: "invoke_agent",
        "gen_ai.agent.name": agent,
        "massgen.turn.id": turn,
        "massgen.turn.kind": kind,
        "massgen.ballot": ballot,
    }
    with _span(f"invoke_agent {agent}", attributes) as span:
        yield span


@contextmanager
def request_span(*, provider: str, model: str) -> Generator[Span]:
    """The span of one model request, retries included: `chat MODEL`."""
    attributes: dict[str, Attribute] = {
        _OPERATION: "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
    }
    with _span(f"chat {model}", attributes, remote=True) as span:
        yield span


@contextmanager
def tool_span(*, name: str, call_id: str) -> Generator[Span]:
    """The span of one tool call: `execute_tool NAME`."""
    attributes: dict[str, Attribute] = {
        _OPERATION: "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": call_id,
    }
    with _span(f"execute_tool {name}", attributes) as span:
        yield span


def record_usage(span: Span, usage: Usage, *, served: str = "", finish: str = "", attempts: int = 1) -> None:
    """Put what a request used on its span."""
    attributes: dict[str, str | int | float | list[str]] = {
        "gen_ai.usage.input_tokens": usage.input,
        "gen_ai.usage.output_tokens": usage.output,
        "massgen.attempts": attempts,
    }
    if usage.cached:
        attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached
    if served:
        attributes["gen_ai.response.model"] = served
    if finish:
        attributes["gen_ai.response.finish_reasons"] = [finish]
    if usage.cost_usd is not None:
        attributes["massgen.cost_usd"] = usage.cost_usd
    span.set_attributes(attributes)


def record_failure(span: Span, kind: str) -> None:
    """Mark a span as failed, with the kind of failure."""
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - see above

    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))
