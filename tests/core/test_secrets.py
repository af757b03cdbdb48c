"""What `Secrets` promises: nothing secret passes, and nothing else is touched."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings, strategies as st

from massgen_mcp.secrets import Secrets

KEY = "zq9f84hA/Lk2+mmW30dk+sP1"
PLAIN = "The token bucket asks for 3 skills; sk- and Bearer are words. eyJ is one too. AKIA."


@pytest.fixture
def secrets() -> Secrets:
    secrets = Secrets()
    secrets.add(KEY, "XAI_API_KEY")
    return secrets


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        quote(KEY, safe=""),
        json.dumps(KEY),
        base64.b64encode(KEY.encode()).decode(),
        base64.b64encode(b"user:" + KEY.encode()).decode(),
        base64.b64encode(b"u:" + KEY.encode() + b"!").decode(),
        base64.urlsafe_b64encode(b"u:p:" + KEY.encode()).decode(),
    ],
)
def test_a_known_value_is_found_however_it_is_written(secrets: Secrets, form: str) -> None:
    shown = secrets.redact(f"failed with {form} in it")
    assert "[XAI_API_KEY]" in shown
    assert form not in shown
    assert KEY[:8] not in shown


@pytest.mark.parametrize("masked", [KEY[:8] + "…", KEY[:12] + "****", KEY[:9] + "***0dkP", KEY[:-1]])
def test_the_beginning_of_a_long_value_does_not_pass_either(secrets: Secrets, masked: str) -> None:
    assert secrets.redact(f"Incorrect key: {masked}.") == "Incorrect key: [XAI_API_KEY]."


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcDEF123456",
        "sk-ant-api03-abc_def-123",
        "sk-proj-****************wxyz",
        "xai-abcdefghijkl",
        "gsk_abcdefghijklmnopqrst",
        "ghp_abcdefghijklmnopqrstuvwxyz012345",
        "github_pat_11ABCDEFG0abcdefghij",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA-abcdefghijklmnopqrstuvwxyz01234",
        "xoxb-123456789-abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_keys_of_well_known_services_are_redacted_without_being_known(text: str) -> None:
    assert Secrets().redact(f'{{"key": "{text}"}}') == '{"key": "[redacted]"}'


def test_a_bearer_token_is_redacted_and_its_word_kept() -> None:
    assert Secrets().redact("authorization: Bearer abc.def-1234567=") == "authorization: Bearer [redacted]"


def test_ordinary_text_passes_as_the_same_object(secrets: Secrets) -> None:
    assert secrets.redact(PLAIN) is PLAIN


def test_short_values_and_placeholders_are_not_secrets() -> None:
    secrets = Secrets()
    for value in ("EMPTY", "abc", "lm-studio", "", "   "):
        secrets.add(value, "X")
    assert secrets.redact("EMPTY abc lm-studio") == "EMPTY abc lm-studio"
    assert repr(secrets) == "Secrets(0 values)"


def test_a_short_secret_is_found_whole_but_its_beginning_is_ordinary_text() -> None:
    secrets = Secrets()
    secrets.add("password-12", "DB")
    secrets.add("password-12", "OTHER")
    assert secrets.redact("password-12 is my password-1") == "[DB] is my password-1"


@pytest.mark.parametrize(
    "text",
    [
        "Use a password manager.",
        "the **password** in bold, your password... or passwordxyz",
        "A password-for-my-cat is no key.",
    ],
)
def test_words_that_a_password_happens_to_begin_with_stay(text: str) -> None:
    secrets = Secrets()
    secrets.add("password-for-my-vllm-box", "VLLM_KEY")
    assert secrets.redact(text) is text


@pytest.mark.parametrize(
    "form",
    ["password****", "password-for-m…", "password•••box", "password-for-my-vllm", "password-for-my-vllm-b"],
)
def test_a_beginning_that_is_masked_or_nearly_whole_gives_a_password_of_words_away(form: str) -> None:
    secrets = Secrets()
    secrets.add("password-for-my-vllm-box", "VLLM_KEY")
    assert secrets.redact(f"my password is {form}!") == "my password is [VLLM_KEY]!"


def test_a_beginning_without_a_mask_counts_from_twelve_characters_on(secrets: Secrets) -> None:
    assert secrets.redact(f"{KEY[:12]}, {KEY[:11]}.") == f"[XAI_API_KEY], {KEY[:11]}."


def test_a_value_that_contains_another_is_replaced_whole() -> None:
    secrets = Secrets()
    secrets.add("inner-value-123456", "INNER")
    secrets.add("outer-inner-value-123456-outer", "OUTER")
    assert secrets.redact("=outer-inner-value-123456-outer=") == "=[OUTER]="


def test_json_values_are_redacted_to_the_last_key(secrets: Secrets) -> None:
    value = {"a": [KEY, 1, None, {f"h {KEY}": True}], "b": ("x", 2.5)}
    assert secrets.redact_value(value) == {
        "a": ["[XAI_API_KEY]", 1, None, {"h [XAI_API_KEY]": True}],
        "b": ["x", 2.5],
    }


def test_neither_repr_nor_name_shows_a_value() -> None:
    secrets = Secrets()
    secrets.add(KEY, "")
    assert KEY not in repr(secrets)
    assert secrets.redact(KEY) == "[secret]"


@settings(max_examples=60, deadline=None)
@given(
    key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=60),
    before=st.binary(max_size=4),
    text=st.text(max_size=20),
)
def test_no_key_survives_in_any_text(key: str, before: bytes, text: str) -> None:
    secrets = Secrets()
    secrets.add(key, "K")
    assume(repr(secrets) == "Secrets(1 values)")
    encoded = base64.b64encode(before + key.encode()).decode()
    for form in (key, quote(key, safe=""), json.dumps({"k": key})):
        assert key not in secrets.redact(f"{text}{form}{text}").replace("[K]", "")
    assert encoded not in secrets.redact(encoded)
