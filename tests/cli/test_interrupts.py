"""Ctrl-C, once or twice, ends a command with its own exit code and no traceback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import pytest
from anyio.abc import TaskGroup

from massgen_mcp.cli import main
from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.runs import Runs


def interrupted(*errors: BaseException) -> Callable[..., AbstractAsyncContextManager[Runs]]:
    """A world in which tasks end so."""

    @asynccontextmanager
    async def make(
        tasks: TaskGroup,
        *,
        place: Literal["terminal", "server"],
        config_dirs: Sequence[Path] = (),
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> AsyncGenerator[Runs]:
        del tasks, place, config_dirs, environ
        raise BaseExceptionGroup("tasks", errors)
        yield

    return make


@pytest.mark.parametrize(
    "errors",
    [
        [KeyboardInterrupt()],
        [KeyboardInterrupt(), asyncio.CancelledError()],
        [BaseExceptionGroup("more", [KeyboardInterrupt(), KeyboardInterrupt()])],
    ],
)
def test_a_second_interrupt_is_just_an_interrupt(
    errors: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "?"], make_runs=interrupted(*errors), environ={}) == ExitCode.INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "errors", [[KeyboardInterrupt(), RuntimeError("a defect")], [asyncio.CancelledError()]]
)
def test_a_defect_beside_an_interrupt_is_not_hidden(errors: list[BaseException]) -> None:
    with pytest.raises(BaseExceptionGroup):
        main(["ask", "?"], make_runs=interrupted(*errors), environ={})
