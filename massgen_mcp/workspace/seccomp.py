"""The system call filters of confined processes: a small assembler for classic BPF, and what is denied.

The filters are kept as files beside this module, because bubblewrap reads them from a descriptor, and a
command line that needs nothing passed to it has to open them by name. Running this module writes them; a test
compares.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from massgen_mcp.workspace.syscalls import ARCHITECTURES, Architecture

__all__ = ["FilterName", "all_filters", "filter_bytes", "filter_file", "supported"]

FilterName: TypeAlias = Literal["bwrap", "nested", "landlock", "landlock-network"]
"""Inside bubblewrap; the same, for programs that bring a sandbox; under Landlock without and with network."""

_DENIED = tuple(
    """
    acct add_key adjtimex bpf clock_adjtime clock_settime create_module delete_module fanotify_init
    finit_module get_kernel_syms init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie
    migrate_pages move_pages name_to_handle_at nfsservctl open_by_handle_at perf_event_open pidfd_getfd
    process_madvise process_vm_readv process_vm_writev ptrace query_module quotactl quotactl_fd reboot
    request_key setdomainname sethostname settimeofday swapoff swapon syslog uselib userfaultfd vhangup
    """.split()  # noqa: SIM905 - a table of words
)
_MOUNTS = tuple(
    """
    chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr pivot_root
    setns umount2 unshare
    """.split()  # noqa: SIM905 - a table of words
)
_SHARED = tuple(
    """
    mq_open mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmget
    """.split()  # noqa: SIM905 - a table of words
)
"""Memory and queues of all the user's programs, where no namespace hides them and Landlock does not look."""
_OF_OTHERS: Mapping[str, int] = {
    "ioprio_set": 1,
    "prlimit64": 0,
    "sched_setaffinity": 0,
    "sched_setattr": 0,
    "sched_setparam": 0,
    "sched_setscheduler": 0,
    "setpriority": 1,
}
"""Calls that hold back or end another program of the user's, and which of their arguments names it. Without a
process namespace, a child may mean itself alone, by a zero."""
_ABSENT = ("io_uring_setup", "io_uring_enter", "io_uring_register", "openat2")
"""One opens sockets past a filter, the other hides in memory what it makes. Programs take the answer for that
of an old kernel."""
_NAMESPACES = 0x7E020080
"""The flags of clone that make namespaces. clone3 hides them in memory, so it is absent too."""
_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: typing into the terminal that one was started from."""
_MODES: Mapping[str, int] = {
    "chmod": 1,
    "creat": 1,
    "fchmod": 1,
    "fchmodat": 2,
    "fchmodat2": 2,
    "mknod": 1,
    "mknodat": 2,
}
"""Calls that set a file's mode, and which of their arguments it is."""
_OPENS: Mapping[str, int] = {"open": 1, "openat": 2}
"""Calls that set it where they make the file, and which of their arguments says so: the mode is the next."""
_MAKES = 0o100 | 0o20000000
_OTHERS_RIGHTS = 0o6000
"""Set-user-ID and set-group-ID: left in a folder of the user's, such a program lends out rights."""
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_FAMILIES: Mapping[FilterName, tuple[int, ...]] = {
    "bwrap": (_UNIX, _INET, _INET6),
    "nested": (_UNIX, _INET, _INET6),
    "landlock": (),
    "landlock-network": (_INET, _INET6),
}
"""Besides routing netlink. Landlock knows neither UDP nor sockets in the file system, which other programs
listen on: there, sockets of these kinds are not made."""
_SOCKET_TYPE, _STREAM, _SEQUENCED = 0xF, 1, 5

_Statement: TypeAlias = tuple[int, int] | tuple[int, int, str] | str
"""An operation and its operand, a jump to a label if it holds, or a label."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_VERDICTS: Mapping[str, int] = {
    "allow": 0x7FFF0000,
    "refuse": 0x00050001,  # EPERM
    "absent": 0x00050026,  # ENOSYS
    "kill": 0x80000000,
}


def supported(machine: str | None = None) -> bool:
    """Whether there are filters for this processor."""
    return (machine or platform.machine()) in ARCHITECTURES


def filter_file(name: FilterName, machine: str | None = None) -> Path:
    """The file of that filter, for this processor where none is named."""
    return Path(__file__).with_name("filters") / f"{machine or platform.machine()}-{name}.bpf"


def filter_bytes(name: FilterName, machine: str) -> bytes:
    """The filter as the kernel takes it: an array of `struct sock_filter`."""
    return _assemble([*_program(name, ARCHITECTURES[machine])])


def all_filters() -> Mapping[Path, bytes]:
    """Every filter file, and what it holds."""
    return {
        filter_file(name, machine): filter_bytes(name, machine)
        for machine in ARCHITECTURES
        for name in get_args(FilterName)
    }


def _program(name: FilterName, architecture: Architecture) -> Iterator[_Statement]:
    """From the most to the least certain: the processor, the number, the arguments."""
    numbers = architecture.numbers
    yield (_LOAD, _ARCHITECTURE)
    yield (_EQUAL, architecture.audit, "ours")
    yield (_RETURN, _VERDICTS["kill"])
    yield "ours"
    yield (_LOAD, _NUMBER)
    if architecture.foreign is not None:
        yield (_AT_LEAST, architecture.foreign, "refuse")
    denied = _DENIED if name == "nested" else (*_DENIED, *_MOUNTS)
    if name.startswith("landlock"):
        denied = (*denied, *_SHARED)
        for call, index in _OF_OTHERS.items():
            yield from _each((call,), f"other {index}", numbers)
    yield from _each(denied, "refuse", numbers)
    yield from _each(_ABSENT if name == "nested" else (*_ABSENT, "clone3"), "absent", numbers)
    for call, index in _MODES.items():
        yield from _each((call,), f"mode {index}", numbers)
    for call, index in _OPENS.items():
        yield from _each((call,), f"open {index}", numbers)
    yield (_EQUAL, numbers["ioctl"], "ioctl")
    yield (_EQUAL, numbers["socket"], "socket")
    if name != "nested":
        yield (_EQUAL, numbers["clone"], "clone")
    if name.startswith("landlock"):
        yield (_EQUAL, numbers["socketpair"], "socketpair")
    yield (_RETURN, _VERDICTS["allow"])
    yield from _arguments(name)
    for verdict in ("allow", "refuse", "absent"):
        yield verdict
        yield (_RETURN, _VERDICTS[verdict])


def _arguments(name: FilterName) -> Iterator[_Statement]:
    yield "ioctl"
    yield _argument(1)
    yield from ((_EQUAL, request, "refuse") for request in _TERMINAL_INPUT)
    yield (_RETURN, _VERDICTS["allow"])
    for index in _OPENS.values():
        yield f"open {index}"
        yield _argument(index)
        yield (_ANY_BIT, _MAKES, f"mode {index + 1}")
        yield (_RETURN, _VERDICTS["allow"])
    for index in sorted({*_MODES.values(), *(flags + 1 for flags in _OPENS.values())}):
        yield f"mode {index}"
        yield _argument(index)
        yield (_ANY_BIT, _OTHERS_RIGHTS, "refuse")
        yield (_RETURN, _VERDICTS["allow"])
    yield "socket"
    yield _argument(0)
    yield from ((_EQUAL, family, "allow") for family in _FAMILIES[name])
    yield (_EQUAL, _NETLINK, "netlink")
    yield (_RETURN, _VERDICTS["refuse"])
    yield "netlink"
    yield _argument(2)
    yield (_EQUAL, 0, "allow")
    yield (_RETURN, _VERDICTS["refuse"])
    for index in sorted(set(_OF_OTHERS.values())):
        yield f"other {index}"
        yield _argument(index)
        yield (_EQUAL, 0, "allow")
        yield (_RETURN, _VERDICTS["refuse"])
    yield "clone"
    yield _argument(0)
    yield (_ANY_BIT, _NAMESPACES, "refuse")
    yield (_RETURN, _VERDICTS["allow"])
    # A pair of datagram sockets could still be sent elsewhere; connected streams can't.
    yield "socketpair"
    yield _argument(1)
    yield (_AND, _SOCKET_TYPE)
    yield from ((_EQUAL, kind, "allow") for kind in (_STREAM, _SEQUENCED))
    yield (_RETURN, _VERDICTS["refuse"])


def _argument(index: int) -> _Statement:
    """Load the low half of an argument: all of them are ints or flags below 2**32."""
    return (_LOAD, 16 + 8 * index)


def _each(names: Iterable[str], verdict: str, numbers: Mapping[str, int]) -> Iterator[_Statement]:
    return ((_EQUAL, numbers[name], verdict) for name in names if name in numbers)


def _assemble(program: list[_Statement]) -> bytes:
    places: dict[str, int] = {}
    instructions: list[tuple[int, ...] | tuple[int, int, str]] = []
    for statement in program:
        if isinstance(statement, str):
            places[statement] = len(instructions)
        else:
            instructions.append(statement)
    return b"".join(_encode(at, instruction, places) for at, instruction in enumerate(instructions))


def _encode(at: int, instruction: tuple[int, ...] | tuple[int, int, str], places: Mapping[str, int]) -> bytes:
    match instruction:
        case (operation, operand, str(label)):
            return struct.pack("<HBBI", operation, places[label] - at - 1, 0, operand)
        case (operation, operand):
            return struct.pack("<HBBI", operation, 0, 0, operand)
        case _:
            raise AssertionError(instruction)


if __name__ == "__main__":
    for path, content in all_filters().items():
        path.write_bytes(content)
