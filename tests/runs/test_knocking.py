"""Which ports of this machine nobody listens on."""

from __future__ import annotations

import socket

import pytest

from massgen_mcp.runs.knocking import nobody_at
from tests.backends.wire import closed_port


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_that_somebody_listens_on_is_told_from_one_that_is_closed(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        server.listen()
        here, gone = server.getsockname()[1], closed_port()
        assert nobody_at([here, gone]) == {gone}


def test_no_ports_are_no_question() -> None:
    assert nobody_at([]) == frozenset()
