"""The system call filters, run by an interpreter: also those for processors that no test runs on."""

from __future__ import annotations

import struct
from typing import get_args

import pytest

from massgen_mcp.workspace.seccomp import FilterName, all_filters, filter_bytes, filter_file, supported
from massgen_mcp.workspace.syscalls import ARCHITECTURES

_VERDICTS = {0x7FFF0000: "allow", 0x00050001: "refuse", 0x00050026: "absent", 0x80000000: "kill"}
_BOTH = sorted(ARCHITECTURES)


def _verdict(name: FilterName, machine: str, number: int, *arguments: int, audit: int | None = None) -> str:
    """What the filter says to this call, by the kernel's rules for classic BPF."""
    program = list(struct.iter_unpack("<HBBI", filter_bytes(name, machine)))
    own = ARCHITECTURES[machine].audit if audit is None else audit
    data = struct.pack("<iIQ6Q", number, own, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    loaded = at = 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        match code:
            case 0x20:
                (loaded,) = struct.unpack_from("<I", data, operand)
            case 0x54:
                loaded &= operand
            case 0x06:
                return _VERDICTS[operand]
            case _:
                holds = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[code]
                at += yes if holds else no


def _number(machine: str, name: str) -> int:
    return ARCHITECTURES[machine].numbers[name]


def test_the_files_hold_what_the_module_says() -> None:
    found = {path: path.read_bytes() for path in filter_file("bwrap").parent.iterdir()}

    assert found == dict(all_filters()), "run python -m massgen_mcp.workspace.seccomp"


@pytest.mark.parametrize("machine", _BOTH)
@pytest.mark.parametrize("name", get_args(FilterName))
def test_calls_that_reach_beyond_the_sandbox_are_refused(machine: str, name: FilterName) -> None:
    for call in (
        "ptrace",
        "bpf",
        "keyctl",
        "perf_event_open",
        "kexec_load",
        "process_vm_readv",
        "userfaultfd",
    ):
        assert _verdict(name, machine, _number(machine, call)) == "refuse"
    assert _verdict(name, machine, _number(machine, "io_uring_setup")) == "absent"
    for request in (0x5412, 0x541C, 0x5412 | 1 << 32):
        assert _verdict(name, machine, _number(machine, "ioctl"), 0, request) == "refuse"
    assert _verdict(name, machine, _number(machine, "ioctl"), 0, 0x5401) == "allow"
    for call, place in (("fchmod", 1), ("fchmodat", 2), ("fchmodat2", 2)):
        for mode, verdict in ((0o4755, "refuse"), (0o2755, "refuse"), (0o1777, "allow")):
            arguments = [0o7777] * place + [mode]
            assert _verdict(name, machine, _number(machine, call), *arguments) == verdict
    assert _verdict(name, machine, 0) == "allow"


@pytest.mark.parametrize("machine", _BOTH)
def test_only_a_child_that_brings_a_sandbox_may_make_namespaces(machine: str) -> None:
    numbers = ARCHITECTURES[machine].numbers
    for name in get_args(FilterName):
        expected = "allow" if name == "nested" else "refuse"
        for call in ("mount", "unshare", "setns", "pivot_root", "open_tree", "move_mount"):
            assert _verdict(name, machine, numbers[call]) == expected
        assert _verdict(name, machine, numbers["clone"], 0x10000000 | 17) == expected
        assert _verdict(name, machine, numbers["clone"], 0x00010F00 | 17) == "allow"
        assert _verdict(name, machine, numbers["clone3"]) == ("allow" if name == "nested" else "absent")


@pytest.mark.parametrize("machine", _BOTH)
def test_sockets_are_of_known_kinds_and_under_landlock_none_that_it_can_not_hold(machine: str) -> None:
    socket = _number(machine, "socket")
    unix, inet, inet6, netlink, alg, vsock = 1, 2, 10, 16, 38, 40
    allowed = {
        name: {
            family
            for family in (unix, inet, inet6, netlink, alg, vsock)
            if _verdict(name, machine, socket, family, 2, 0) == "allow"
        }
        for name in get_args(FilterName)
    }

    assert allowed == {
        "bwrap": {unix, inet, inet6, netlink},
        "nested": {unix, inet, inet6, netlink},
        "landlock": {netlink},
        "landlock-network": {inet, inet6, netlink},
    }
    assert _verdict("bwrap", machine, socket, netlink, 2, 9) == "refuse"


@pytest.mark.parametrize("machine", _BOTH)
def test_under_landlock_pairs_of_sockets_are_connected_streams(machine: str) -> None:
    pair = _number(machine, "socketpair")
    close_on_exec = 0o2000000

    assert _verdict("landlock", machine, pair, 1, 1 | close_on_exec) == "allow"
    assert _verdict("landlock", machine, pair, 1, 5) == "allow"
    assert _verdict("landlock", machine, pair, 1, 2 | close_on_exec) == "refuse"
    assert _verdict("bwrap", machine, pair, 1, 2) == "allow"


def test_calls_by_another_convention_do_not_pass() -> None:
    i386 = 0x40000003

    assert _verdict("bwrap", "x86_64", 26, audit=i386) == "kill"
    assert _verdict("bwrap", "x86_64", 0x40000000 | 101) == "refuse"
    assert supported("aarch64")
    assert not supported("riscv64")


@pytest.mark.parametrize("machine", _BOTH)
@pytest.mark.parametrize("name", get_args(FilterName))
def test_no_file_is_made_with_rights_to_lend(machine: str, name: FilterName) -> None:
    create, temporary = 0o101, 0o20200002
    opening = _number(machine, "openat")

    assert _verdict(name, machine, opening, 0, 0, create, 0o4755) == "refuse"
    assert _verdict(name, machine, opening, 0, 0, temporary, 0o2755) == "refuse"
    assert _verdict(name, machine, opening, 0, 0, create, 0o1777) == "allow"
    assert _verdict(name, machine, opening, 0, 0, 0, 0o4755) == "allow", "no file is made, so it has no mode"
    assert _verdict(name, machine, _number(machine, "mknodat"), 0, 0, 0o104755) == "refuse"
    assert _verdict(name, machine, _number(machine, "openat2")) == "absent"


@pytest.mark.parametrize("machine", _BOTH)
def test_under_landlock_nothing_of_the_users_other_programs_is_shared_or_limited(machine: str) -> None:
    for call in ("shmget", "shmat", "semget", "msgget", "mq_open"):
        assert _verdict("landlock", machine, _number(machine, call)) == "refuse"
        assert _verdict("landlock-network", machine, _number(machine, call)) == "refuse"
        assert _verdict("bwrap", machine, _number(machine, call)) == "allow", "it has a namespace of its own"
    for call, place in (("prlimit64", 0), ("sched_setaffinity", 0), ("setpriority", 1)):
        arguments = [0] * place
        assert _verdict("landlock", machine, _number(machine, call), *arguments, 4711) == "refuse"
        assert _verdict("landlock", machine, _number(machine, call), *arguments, 0) == "allow"
        assert _verdict("bwrap", machine, _number(machine, call), *arguments, 4711) == "allow"
