"""Spans over the OpenTelemetry API, seen by a provider that remembers them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from massgen_mcp.telemetry import record_usage, request_span, run_span, tool_span, turn_span
from massgen_mcp.usage import Usage

PROGRAM = """
from contextlib import contextmanager
from opentelemetry import trace

class Span(trace.NonRecordingSpan):
    def __init__(self, name, kind, attributes):
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self.name, self.kind, self.attributes, self.status = name, kind, dict(attributes or {}), None
    def set_attribute(self, key, value): self.attributes[key] = value
    def set_attributes(self, values): self.attributes.update(values)
    def set_status(self, status, description=None): self.status = status

seen = []

class Tracer(trace.NoOpTracer):
    @contextmanager
    def start_as_current_span(self, name, context=None, kind=None, attributes=None, **rest):
        assert rest == {"record_exception": False, "set_status_on_exception": False}
        seen.append(Span(name, kind, attributes))
        yield seen[-1]

class Provider(trace.NoOpTracerProvider):
    def get_tracer(self, *args, **kwargs): return Tracer()

trace.set_tracer_provider(Provider())

from massgen_mcp.errors import BackendError
from massgen_mcp.telemetry import record_usage, request_span, run_span, tool_span, turn_span
from massgen_mcp.usage import Usage

with run_span(run_id="r1", team="fast", strategy="auto"):
    with turn_span(agent="a", kind="answer", turn=1):
        with request_span(provider="groq", model="m") as span:
            usage = Usage(input=5, output=3, cached=2, cost_usd=0.5)
            record_usage(span, usage, served="m-1", finish="stop", attempts=2)
        with tool_span(name="vote", call_id="c1"): pass
        try:
            with request_span(provider="groq", model="m"):
                raise BackendError("secret words", kind="auth")
        except BackendError: pass
        try:
            with tool_span(name="x", call_id="c2"):
                raise ValueError("secret words")
        except ValueError: pass

for span in seen:
    status = span.status and span.status.status_code.name
    print(span.name, span.kind.name, status, sorted(span.attributes.items()))
"""


def test_spans_carry_the_names_of_the_conventions_and_no_texts() -> None:
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    run, turn, request, tool, failed, broken = done.stdout.splitlines()
    assert run.startswith("invoke_workflow fast INTERNAL None")
    assert turn.startswith("invoke_agent a INTERNAL None")
    assert request.startswith("chat m CLIENT None")
    for part in (
        "('gen_ai.operation.name', 'chat')",
        "('gen_ai.provider.name', 'groq')",
        "('gen_ai.request.model', 'm')",
        "('gen_ai.response.finish_reasons', ['stop'])",
        "('gen_ai.response.model', 'm-1')",
        "('gen_ai.usage.cache_read.input_tokens', 2)",
        "('gen_ai.usage.input_tokens', 5)",
        "('gen_ai.usage.output_tokens', 3)",
        "('massgen.attempts', 2)",
        "('massgen.cost_usd', 0.5)",
    ):
        assert part in request
    assert tool.startswith("execute_tool vote INTERNAL None")
    assert "('error.type', 'auth')" in failed
    assert "chat m CLIENT ERROR" in failed
    assert "('error.type', 'ValueError')" in broken
    assert "secret" not in done.stdout


def test_without_a_telemetry_sdk_spans_do_nothing_and_failures_pass_through() -> None:
    with run_span(run_id="r", team="t", strategy="auto"), turn_span(agent="a", kind="vote", turn=2, ballot=1):
        with request_span(provider="p", model="m") as span:
            record_usage(span, Usage(cached=1, cost_usd=0.0), served="m", finish="stop")
            record_usage(span, Usage())
        with pytest.raises(LookupError), tool_span(name="x", call_id="1"):
            raise LookupError
