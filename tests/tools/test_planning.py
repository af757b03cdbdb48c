from __future__ import annotations

import pytest

from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec
from massgen_mcp.tools.planning import PlannedCall, PlannedSource

pytestmark = pytest.mark.anyio


class Mail:
    """A source with one tool that reads and two that do not."""

    specs = tuple(
        ToolSpec(name=name, description="", parameters={"type": "object"})
        for name in ("read", "send", "mark")
    )

    def __init__(self) -> None:
        self.called: list[str] = []

    def idempotent(self, name: str) -> bool:
        return name == "read"

    def side_effects(self, name: str) -> bool:
        return name != "read"

    async def call(self, call: ToolCall) -> ToolResult:
        self.called.append(call.name)
        return ToolResult(call_id=call.id, content="done")


def asked(name: str, arguments: str = '{"to": "a"}') -> ToolCall:
    return ToolCall(id="1", name=name, arguments=arguments)


async def test_a_tool_with_effects_is_described_until_the_presenters_turn() -> None:
    mail = Mail()
    source = PlannedSource(mail)
    source.begin(presents=False)

    result = await source.call(asked("send"))

    assert mail.called == []
    assert not result.is_error
    assert result.content.startswith('Planned: send with {"to": "a"}. It was not run')
    assert "will run in the final turn" in result.content

    source.begin(presents=True)
    assert (await source.call(asked("send"))).content == "done"
    assert mail.called == ["send"]


async def test_a_tool_that_only_reads_runs_at_once() -> None:
    mail = Mail()
    assert (await PlannedSource(mail).call(asked("read"))).content == "done"
    assert mail.called == ["read"]


async def test_the_operator_has_the_last_word_on_what_waits() -> None:
    mail = Mail()
    source = PlannedSource(mail, harmless={"mark", "read"}, held={"read"})
    assert (await source.call(asked("mark"))).content == "done"
    assert (await source.call(asked("read"))).content.startswith("Planned: read")
    assert [source.side_effects(spec.name) for spec in source.specs] == [True, True, False]
    assert mail.called == ["mark"]


async def test_what_was_planned_is_kept_once_for_the_presenter() -> None:
    source = PlannedSource(Mail())
    for arguments in ('{"n": 1}', '{"n": 1}', '{"n": 2}', ""):
        await source.call(asked("send", arguments))
    assert source.planned == tuple(
        PlannedCall(name="send", arguments=text) for text in ('{"n": 1}', '{"n": 2}', "")
    )


async def test_a_tool_that_is_not_there_is_the_sources_to_refuse() -> None:
    mail = Mail()
    await PlannedSource(mail).call(asked("delete"))
    assert mail.called == ["delete"]


def test_a_described_call_may_be_repeated_and_a_made_one_as_its_source_says() -> None:
    source = PlannedSource(Mail())
    assert source.idempotent("send")
    source.begin(presents=True)
    assert not source.idempotent("send")
    assert source.idempotent("read")
