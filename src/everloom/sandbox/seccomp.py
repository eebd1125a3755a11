"""The system calls that code in a sandbox may make.

A list of what is allowed, so that a call which a later kernel adds is not. Everything else fails with ENOSYS, on which
libraries fall back. Left out on purpose, beside what only an administrator needs: ptrace and its kin, io_uring, bpf,
keyrings, userfaultfd, namespaces, mounts, and whatever holds memory that no process' size shows (memfd, System V memory
and queues). Sockets are Unix and Internet only: vsock reaches a virtual machine's host from any network namespace.
"""

import errno
import functools
import os

_ALLOWED = """
accept accept4 access alarm arch_prctl bind brk capget capset chdir chmod chown clock_getres clock_gettime
clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl
epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr
fsetxattr fstat fstatfs fsync ftruncate futex futex_waitv get_robust_list get_thread_area getcpu getcwd getdents
getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl kill lchown lgetxattr link linkat listen listxattr
llistxattr lremovexattr lseek lsetxattr lstat madvise membarrier mincore mkdir mkdirat mknod mknodat mlock mlock2
mlockall mmap mprotect mremap msync munlock munlockall munmap nanosleep newfstatat open openat openat2 pause pidfd_open
pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64
pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg removexattr rename
renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp select sendfile sendmmsg sendmsg sendto set_robust_list set_thread_area
set_tid_address setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid
setsockopt setuid setxattr shutdown sigaltstack signalfd signalfd4 splice stat statfs statx symlink symlinkat sync
sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime
timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat utime utimensat utimes
vfork vmsplice wait4 waitid write writev
"""

_SOCKET_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6."""

_NETLINK, _NETLINK_ROUTE = 16, 0
"""What ZeroMQ asks for the network's interfaces; those of the sandbox are its own."""

_NAMESPACES = 0x7E020000
"""The flags of clone(2) that make a new namespace: mount, cgroup, uts, ipc, user, pid, network."""


@functools.cache
def filter_program() -> bytes:
    """The filter as the kernel takes it, for this machine's processor. Errors: ``RuntimeError`` without libseccomp."""
    import pyseccomp as seccomp  # type: ignore[import-untyped]  # pyseccomp ships no types

    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.ENOSYS))
    for name in _ALLOWED.split():
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
        if number >= 0:  # Those below are of other processors, or later than this libseccomp.
            rules.add_rule(seccomp.ALLOW, number)
    for family in _SOCKET_FAMILIES:
        for call in ("socket", "socketpair"):
            rules.add_rule(seccomp.ALLOW, call, seccomp.Arg(0, seccomp.EQ, family))
    own = seccomp.Arg(0, seccomp.EQ, _NETLINK), seccomp.Arg(2, seccomp.EQ, _NETLINK_ROUTE)
    rules.add_rule(seccomp.ALLOW, "socket", *own)
    rules.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _NAMESPACES, 0))
    file = os.memfd_create("filter")
    try:
        with os.fdopen(file, "wb", closefd=False) as sink:
            rules.export_bpf(sink)
        return os.pread(file, 1 << 20, 0)
    finally:
        os.close(file)
