from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.backends.local_gguf import NotGguf, read_head

Write = Callable[..., Path]


def test_the_head_tells_name_context_and_template(gguf: Write) -> None:
    path = gguf(
        {
            "general.architecture": "llama",
            "tokenizer.ggml.tokens": ["a", "longer", ""],
            "tokenizer.ggml.scores": [0.5, 1.5],
            "llama.context_length": 8192,
            "general.name": "Small",
            "tokenizer.chat_template": "{{ messages }}",
            "tokenizer.ggml.add_bos_token": True,
        }
    )

    head = read_head(path)

    assert (head.name, head.context, head.template) == ("Small", 8192, True)


def test_a_model_that_says_nothing_of_itself_is_a_base_model(gguf: Write) -> None:
    head = read_head(gguf({}))

    assert (head.name, head.context, head.template) == ("", None, False)


def test_values_of_an_unexpected_type_are_as_good_as_absent(gguf: Write) -> None:
    path = gguf({"general.architecture": "llama", "llama.context_length": "many", "general.name": 7})

    head = read_head(path)

    assert (head.name, head.context) == ("", None)


def test_every_cut_of_a_head_is_refused(gguf: Write, tmp_path: Path) -> None:
    whole = gguf({"general.name": "Small", "words": ["a", "b"], "numbers": [1, 2]}).read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(NotGguf):
            read_head(cut)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"PK\3\4" + bytes(40), "does not begin with GGUF"),
        (b"GGUF" + (1).to_bytes(4, "little") + bytes(16), "version is 1"),
        (b"GGUF" + (3).to_bytes(4, "little") + bytes(8) + b"\xff" * 8, "damaged"),
        (b"GGUF" + (3).to_bytes(4, "little") + bytes(8) + (1).to_bytes(8, "little") + b"\xff" * 8, "damaged"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)

    with pytest.raises(NotGguf, match=why):
        read_head(path)


@pytest.mark.parametrize("place", ["value", "array"])
def test_a_type_from_the_future_is_refused(place: str, gguf: Write) -> None:
    value: Any = [1] if place == "array" else 1
    path = gguf({"k": value})
    data = bytearray(path.read_bytes())
    at = 24 + 8 + 1 + (4 if place == "array" else 0)
    data[at] = 99
    path.write_bytes(data)

    with pytest.raises(NotGguf, match="unknown type 99"):
        read_head(path)


def test_a_name_that_is_not_utf8_is_damage(gguf: Write) -> None:
    path = gguf({"general.name": "abc"})
    path.write_bytes(path.read_bytes().replace(b"abc", b"\xff\xfe\xfd"))

    with pytest.raises(NotGguf, match="damaged"):
        read_head(path)
