"""Where this process may talk to."""

from __future__ import annotations

import pytest

from massgen_mcp.address import is_loopback, refuse_address, refuse_url


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://10.1.2.3:8443/v1",
        "http://localhost:8000/v1",
        "http://LOCALHOST:1",
        "http://127.0.0.1:1234",
        "http://[::1]:80/",
        "https://münchen.example/",
    ],
)
def test_https_and_this_machine_are_allowed(url: str) -> None:
    assert refuse_url(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "//example.com",
        "https:///path",
        "",
        "https://user:word@example.com/",
        "https://user@example.com/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://127.1/",
        "https://0177.0.0.1/",
        "https://0/",
        "http://localhost./",
        "https://example.com./",
        "http://metadata.google.internal/",
        "https://metadata/",
        "https://169.254.169.254/latest",
        "https://[fe80::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[2002:a9fe:a9fe::]/",
        "https://[::a9fe:a9fe]/",
        "https://[2001:0:4136:e378:8000:63bf:5601:5601]/",
        "https://[fd00:ec2::254]/",
        "https://100.100.100.200/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::]/",
        "https://exam\0ple.com/",
        "https://example.com\r\nHost: x/",
        "https://example.com\\@evil.com/",
        "https://exa mple.com/",
        "https://127.0.0.1%00.example.com/",
        "https://example.com:99999/",
        "https://[::1",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    assert refuse_url(url)


def test_http_to_a_host_is_for_the_operator_to_allow() -> None:
    assert refuse_url("http://gpu-box:8000/v1", http_hosts={"gpu-box"}) is None
    assert "gpu-box" in (refuse_url("http://gpu-box:8000/v1") or "")
    assert refuse_url("http://169.254.169.254/", http_hosts={"169.254.169.254"})


def test_a_name_is_only_as_good_as_the_addresses_behind_it() -> None:
    assert refuse_address("93.184.216.34", host="example.com") is None
    assert refuse_address("192.168.1.5", host="gpu-box") is None
    assert refuse_address("127.0.0.1", host="localhost") is None
    assert refuse_address("10.0.0.1", host="localhost")
    assert refuse_address("169.254.169.254", host="innocent.example")
    assert refuse_address("nonsense")


@pytest.mark.parametrize("host", ["localhost", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"])
def test_these_hosts_are_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost.evil.com", ""])
def test_these_hosts_are_not(host: str) -> None:
    assert not is_loopback(host)
