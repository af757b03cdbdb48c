"""One question to each real provider whose key is set: `pytest -m live tests/live`.

`MASSGEN_MCP_LIVE=dry` prints what would be sent instead, and sends nothing. `MASSGEN_MCP_LIVE_MODEL_GROQ` and
the like name another model than the row's own.
"""

from __future__ import annotations

import os
import sys

import pytest

from massgen_mcp.backends.info import BackendInfo
from tests.live.asking import ANSWER, ROWS, NotReady, answer_of, dry_run

pytestmark = [pytest.mark.anyio, pytest.mark.live, pytest.mark.timeout(300)]


@pytest.mark.parametrize("info", ROWS, ids=lambda info: info.type)
async def test_a_real_provider_answers(info: BackendInfo, capsys: pytest.CaptureFixture[str]) -> None:
    if os.environ.get("MASSGEN_MCP_LIVE") == "dry":
        sent = await dry_run(info, os.environ)
        with capsys.disabled():
            sys.stdout.write(f"\n{sent}\n")
        return
    try:
        reply = await answer_of(info, os.environ)
    except NotReady as missing:
        pytest.skip(str(missing))
    assert ANSWER in reply.text
    assert reply.usage.requests >= 1
    assert reply.usage.tokens > 0
