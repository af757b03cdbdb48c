"""What the deployment files start is what the command line takes, and safe."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from massgen_mcp.cli.arguments import parse
from massgen_mcp.cli.serve import place_of
from tests.docs.pages import DOCS, ROOT


def _unit() -> list[str]:
    text = (ROOT / "deploy" / "massgen-mcp.service").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    return shlex.split(line)[1:]


def _container() -> list[str]:
    text = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    (line,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    words: list[str] = json.loads(line)
    return words


def _page() -> list[str]:
    text = (DOCS / "deploy.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"massgen-mcp (serve --http --host.*)$", text, re.MULTILINE)
    return shlex.split(line)


@pytest.mark.parametrize("words", [_unit(), _container(), _page()], ids=["unit", "container", "page"])
def test_what_is_started_is_understood_and_safe(words: list[str]) -> None:
    args = parse(words)
    assert args.command == "serve"
    assert args.http
    assert args.tokens is not None
    place_of(args).check()


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    from massgen_mcp.server.http import body, connection  # noqa: PLC0415 - for this test alone

    text = (DOCS / "deploy.md").read_text(encoding="utf-8")
    assert f"| connections | {connection.CONNECTIONS};" in text
    assert f"| {connection.HEADER_SECONDS:g} s, {body.BODY_SECONDS:g} s |" in text
    assert f"| a body | {body.BODY_LIMIT // 1024**2} MiB;" in text
