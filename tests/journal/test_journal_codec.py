"""A record's text: what is looked at as a whole comes out as if each of its values had been."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from massgen_mcp.journal.codec import decode, encode
from massgen_mcp.secrets import Secrets

SECRETS = ('pass"word\\1\n', "C:\\new\\table", "plain-secret-77", "tab\tbed-secret")
_PIECES = st.lists(
    st.sampled_from([*SECRETS, "\\", '"', "\\n", "\n", "\t", "\r", "\x01", "n", "é", "word", "sk-", "[KEY]"]),
    max_size=6,
).map("".join)
_TEXTS = _PIECES | _PIECES.map(json.dumps) | _PIECES.map(lambda text: json.dumps(json.dumps({"a": text})))


@pytest.fixture(scope="module")
def secrets() -> Secrets:
    found = Secrets()
    for secret in SECRETS:
        found.add(secret, "KEY")
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.dictionaries(_TEXTS, _TEXTS | st.lists(_TEXTS, max_size=2), max_size=3))
def test_no_secret_of_any_value_is_written_and_nothing_else_is_changed(
    secrets: Secrets, body: dict[str, Any]
):
    redacted = secrets.redact_value(body)
    assert decode(encode(body, secrets.redact_value)) == redacted


def test_arguments_of_a_tool_are_looked_at_once(secrets: Secrets):
    looked: list[Any] = []

    def redact(value: Any) -> Any:
        looked.append(value)
        return secrets.redact_value(value)

    arguments = json.dumps({"content": 'Say "four".\n\tC:\\other', "conclusion": "4"})
    encode({"reply": {"calls": [{"name": "new_answer", "arguments": arguments}]}}, redact)
    assert [type(value) for value in looked] == [str]
