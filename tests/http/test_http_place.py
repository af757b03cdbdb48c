"""Where it may listen, and by which names it answers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from massgen_mcp.errors import ConfigError
from massgen_mcp.server.http.place import Place


@pytest.mark.parametrize(
    "place",
    [
        Place(),
        Place(host="localhost"),
        Place(host="127.0.0.9"),
        Place(host="::1"),
        Place(host="10.1.2.3", tls_cert=Path("c"), tls_key=Path("k")),
        Place(host="0.0.0.0", behind_proxy=True, allowed_hosts=("massgen.example.com",)),  # noqa: S104 - what is asked
        Place(host="127.0.0.1", behind_proxy=True, allowed_hosts=("Massgen.example.com:8443", "[fe80::1]")),
    ],
    ids=["default", "name", "another loopback", "v6", "tls", "all", "proxy"],
)
def test_these_are_safe(place: Place):
    place.check()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place(host="10.1.2.3"), "in the open"),
        (Place(host="0.0.0.0"), "--allowed-host"),  # noqa: S104 - what is asked
        (Place(host="::"), "in the open"),
        (Place(host="massgen.example.com"), "is not an address"),
        (Place(host="0"), "is not an address"),
        (Place(host="10.1.2.3", tls_cert=Path("c")), "one without the other"),
        (Place(tls_key=Path("k")), "one without the other"),
        (Place(behind_proxy=True), "nobody has said by which name"),
        (Place(allowed_hosts=("https://x.example",)), "is not a host name"),
        (Place(allowed_hosts=("*.example",)), "is not a host name"),
        (Place(allowed_hosts=("x.example/mcp",)), "is not a host name"),
    ],
    ids=["ip", "all", "v6", "name", "short", "cert", "key", "proxy", "url", "star", "path"],
)
def test_these_are_refused_with_the_remedy(place: Place, words: str):
    with pytest.raises(ConfigError, match=words):
        place.check()


def test_it_answers_to_its_own_names_and_those_it_was_given():
    place = Place(host="10.1.2.3", tls_cert=Path("c"), tls_key=Path("k"), allowed_hosts=("M.example",))
    assert place.hosts(8765) == {
        "127.0.0.1:8765",
        "localhost:8765",
        "[::1]:8765",
        "10.1.2.3:8765",
        "m.example",
    }
    assert "localhost" in place.hosts(443)
    assert "localhost" not in place.hosts(80)
    assert "https://m.example" in place.origins(8765)
    assert place.url(8765) == "https://M.example/mcp"
    assert Place(host="::1").url(1) == "http://[::1]:1/mcp"


def test_a_port_that_is_taken_is_said_so():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match=r"another program listens there.*another --port"):
            Place(port=other.getsockname()[1]).open()
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:0"):
        Place(host="192.0.2.1", port=0).open()


def test_tls_files_that_cant_be_used_are_said_so(tmp_path: Path):
    cert = tmp_path / "cert.pem"
    with pytest.raises(ConfigError, match="No such file"):
        Place(tls_cert=cert, tls_key=cert).tls()
    cert.write_text("rubbish")
    with pytest.raises(ConfigError, match="PEM files"):
        Place(tls_cert=cert, tls_key=cert).tls()
    assert Place().tls() is None
