"""Numbers of the system calls that filters name, by processor, as Linux defines them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ARCHITECTURES", "Architecture"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a filter has to know of a processor."""

    audit: int
    """Its AUDIT_ARCH, which the kernel tells the filter."""
    numbers: Mapping[str, int]
    foreign: int | None = None
    """Numbers from here on belong to another calling convention of the same AUDIT_ARCH."""


def _numbers(text: str) -> Mapping[str, int]:
    pairs = (word.split("=") for word in text.split())
    return {name: int(number) for name, number in pairs}


ARCHITECTURES: Mapping[str, Architecture] = {
    "x86_64": Architecture(
        0xC000003E,
        _numbers(
            """
            acct=163 add_key=248 adjtimex=159 bpf=321 chmod=90 chroot=161 clock_adjtime=305
            clock_settime=227 clone3=435 clone=56 creat=85 create_module=174 delete_module=176
            fanotify_init=300 fchmod=91 fchmodat2=452 fchmodat=268 finit_module=313 fsconfig=431
            fsmount=432 fsopen=430 fspick=433 get_kernel_syms=177 get_mempolicy=239 init_module=175
            io_uring_enter=426 io_uring_register=427 io_uring_setup=425 ioctl=16 ioperm=173 iopl=172
            ioprio_set=251 kcmp=312 kexec_file_load=320 kexec_load=246 keyctl=250 lookup_dcookie=212
            migrate_pages=256 mknod=133 mknodat=259 mount=165 mount_setattr=442 move_mount=429
            move_pages=279 mq_open=240 mq_unlink=241 msgctl=71 msgget=68 msgrcv=70 msgsnd=69
            name_to_handle_at=303 nfsservctl=180 open=2 open_by_handle_at=304 open_tree=428
            open_tree_attr=467 openat2=437 openat=257 perf_event_open=298 pidfd_getfd=438 pivot_root=155
            prlimit64=302 process_madvise=440 process_vm_readv=310 process_vm_writev=311 ptrace=101
            query_module=178 quotactl=179 quotactl_fd=443 reboot=169 request_key=249
            sched_setaffinity=203 sched_setattr=314 sched_setparam=142 sched_setscheduler=144 semctl=66
            semget=64 semop=65 semtimedop=220 setdomainname=171 sethostname=170 setns=308
            setpriority=141 settimeofday=164 shmat=30 shmctl=31 shmget=29 socket=41 socketpair=53
            swapoff=168 swapon=167 sysfs=139 syslog=103 umount2=166 unshare=272 uselib=134
            userfaultfd=323 ustat=136 vhangup=153
            """
        ),
        foreign=0x40000000,
    ),
    "aarch64": Architecture(
        0xC00000B7,
        _numbers(
            """
            acct=89 add_key=217 adjtimex=171 bpf=280 chroot=51 clock_adjtime=266 clock_settime=112
            clone3=435 clone=220 delete_module=106 fanotify_init=262 fchmod=52 fchmodat2=452 fchmodat=53
            finit_module=273 fsconfig=431 fsmount=432 fsopen=430 fspick=433 get_mempolicy=236
            init_module=105 io_uring_enter=426 io_uring_register=427 io_uring_setup=425 ioctl=29
            ioprio_set=30 kcmp=272 kexec_file_load=294 kexec_load=104 keyctl=219 lookup_dcookie=18
            migrate_pages=238 mknodat=33 mount=40 mount_setattr=442 move_mount=429 move_pages=239
            mq_open=180 mq_unlink=181 msgctl=187 msgget=186 msgrcv=188 msgsnd=189 name_to_handle_at=264
            nfsservctl=42 open_by_handle_at=265 open_tree=428 open_tree_attr=467 openat2=437 openat=56
            perf_event_open=241 pidfd_getfd=438 pivot_root=41 prlimit64=261 process_madvise=440
            process_vm_readv=270 process_vm_writev=271 ptrace=117 quotactl=60 quotactl_fd=443 reboot=142
            request_key=218 sched_setaffinity=122 sched_setattr=274 sched_setparam=118
            sched_setscheduler=119 semctl=191 semget=190 semop=193 semtimedop=192 setdomainname=162
            sethostname=161 setns=268 setpriority=140 settimeofday=170 shmat=196 shmctl=195 shmget=194
            socket=198 socketpair=199 swapoff=225 swapon=224 syslog=116 umount2=39 unshare=97
            userfaultfd=282 vhangup=58
            """
        ),
    ),
}
