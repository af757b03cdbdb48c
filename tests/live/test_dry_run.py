"""The dry mode of the live tests: it shows every backend's request, sends none, and tells no key."""

from __future__ import annotations

import pytest

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.registry import public_backends
from tests.live.asking import ROWS, NotReady, answer_of, dry_run

pytestmark = pytest.mark.anyio

KEY = "a-dummy-key-0123456789abcdef"


@pytest.mark.parametrize("info", ROWS, ids=lambda info: info.type)
async def test_what_would_be_sent_is_shown_without_the_key_and_is_not_sent(info: BackendInfo) -> None:
    """The network below the shared client keeps what it is given, and reaches nobody."""
    shown = await dry_run(info, dict.fromkeys(info.env, KEY))
    assert "What is 17 + 25?" in shown
    assert KEY not in shown
    if info.kind == "model":
        assert shown.startswith("POST http")
        assert shown.count("POST ") == 1, "one question, one request"
    if info.env and info.kind == "model":
        assert f"[{info.env[0]}]" in shown


@pytest.mark.parametrize("info", [info for info in ROWS if not info.local], ids=lambda info: info.type)
async def test_without_a_key_nobody_is_asked_and_the_variable_is_named(info: BackendInfo) -> None:
    with pytest.raises(NotReady, match=rf"no key: {info.env[0]}"):
        await answer_of(info, {})


async def test_an_azure_deployment_has_to_be_named() -> None:
    (azure,) = [info for info in ROWS if info.type == "azure_openai"]
    with pytest.raises(NotReady, match="AZURE_OPENAI_ENDPOINT is not set"):
        await answer_of(azure, {"AZURE_OPENAI_API_KEY": KEY})
    endpoint = {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}
    with pytest.raises(NotReady, match="no model: AZURE_OPENAI_DEPLOYMENT is not set"):
        await answer_of(azure, endpoint)


def test_every_backend_that_has_a_provider_of_its_own_is_among_them() -> None:
    missing = {info.type for info in public_backends() if info.executes} - {info.type for info in ROWS}
    assert missing <= {"chatcompletion", "inference", "local"}
