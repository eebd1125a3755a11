"""The last steps before bubblewrap, and its guardian: run as a script, imports nothing of ours.

The process that the server starts reads its orders from standard input, a line of JSON, and becomes the guardian. The
server holds the other end of that pipe and says no more: when it ends the pipe, or is gone, the guardian ends the
sandbox. It is a subreaper, so whatever comes of its child is its own to end, in whatever moment of a start this is.

Its child makes a mount namespace with the folders that the sandbox will bind, limits itself, gives root away and
becomes bwrap. A server that is not root makes a user namespace to be able to mount. Binding from open descriptors lets
an interpreter stand in a folder that the sandbox's own user could not enter.
"""

import base64
import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import sys
import traceback
from typing import Any

STAGE = "/mnt"
"""Hidden behind a file system in memory, in this process' namespace only."""

_NEWNS, _NEWUSER = 0x20000, 0x10000000
_RDONLY, _NOSUID, _NODEV, _BIND, _REC, _PRIVATE = 1, 2, 4, 0x1000, 0x4000, 0x40000
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_HEEDED_BY_SERVER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DIED_BY_SIGNAL = 128

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise SystemExit(f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    done = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _checked(done, f"cannot mount {target}")


def _die_with(parent: int) -> None:
    """Whoever started this may be gone already, and a change of user forgets the wish."""
    _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the guardian is gone")


def _new_namespaces() -> None:
    user, group = os.getuid(), os.getgid()
    if user == 0:
        _checked(_libc.unshare(_NEWNS), "cannot make a mount namespace")
        return
    _checked(_libc.unshare(_NEWNS | _NEWUSER), "cannot make a user namespace")
    for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{file}", "w") as sink:
            sink.write(text)


def _stage(orders: dict[str, Any]) -> None:
    """STAGE/0, 1, …: the trees to be read; STAGE/own: all that the sandbox may write, one size over everything."""
    _new_namespaces()
    _mount("none", "/", "", _REC | _PRIVATE)
    trees = [os.open(path, os.O_PATH) for path in orders["trees"]]  # Some may stand where STAGE hides them.
    _mount("tmpfs", STAGE, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=1m")
    for number, tree in enumerate(trees):
        place = f"{STAGE}/{number}"
        if os.path.isdir(f"/proc/self/fd/{tree}"):
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY))
        _mount(f"/proc/self/fd/{tree}", place, "", _BIND | _REC)
        os.close(tree)
    own, user = f"{STAGE}/own", orders["user"]
    os.mkdir(own)
    size = f"size={orders['disk']},nr_inodes={orders['entries']}"
    _mount("tmpfs", own, "tmpfs", _NOSUID | _NODEV, f"mode=0755,uid={user},gid={orders['group']},{size}")
    for name in orders["own"]:
        os.mkdir(f"{own}/{name}", 0o700)
        os.chown(f"{own}/{name}", user, orders["group"])


def _limit(orders: dict[str, Any]) -> None:
    for name, value in orders["rlimits"].items():
        number = getattr(resource, f"RLIMIT_{name}")
        most = resource.getrlimit(number)[1]
        if most != resource.RLIM_INFINITY:
            value = min(value, most)
        resource.setrlimit(number, (value, value))
    os.nice(5)  # The server comes first,
    with open("/proc/self/oom_score_adj", "w") as sink:
        sink.write("1000")  # and the sandbox goes first when memory is out.


def _give_root_away(orders: dict[str, Any]) -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(*[orders["group"]] * 3)
        os.setresuid(*[orders["user"]] * 3)


def _descriptor(data: bytes) -> str:
    file = os.memfd_create("orders", 0)
    os.write(file, data)
    os.lseek(file, 0, os.SEEK_SET)
    return str(file)


def _launch(orders: dict[str, Any], guardian: int, record: int) -> None:
    """Become bwrap. A session of its own is what those who are left after a guardian's death are known by."""
    _die_with(guardian)
    os.setsid()
    if record >= 0:
        _note(record, orders["user"])
    os.umask(0o022)
    _stage(orders)
    _limit(orders)
    _give_root_away(orders)
    _die_with(guardian)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    if nothing > 2:
        os.close(nothing)
    arguments = [*orders["arguments"], "--seccomp", _descriptor(base64.b64decode(orders["filter"]))]
    for path, text in orders["files"].items():
        arguments += ["--perms", "0444", "--ro-bind-data", _descriptor(text.encode()), path]
    arguments += orders["last"]
    blob = b"".join(argument.encode() + b"\0" for argument in arguments)
    os.execve(orders["bwrap"], ["bwrap", "--args", _descriptor(blob), "--", *orders["command"]], {})


def _orders() -> dict[str, Any] | None:
    """What to start; None when the server is gone before it has said so."""
    told = b""
    while not told.endswith(b"\n"):
        if not (block := os.read(0, 1 << 16)):
            return None
        told += block
    orders: dict[str, Any] = json.loads(told)
    return orders


def _open_record(path: str) -> int:
    """A file that says which sandbox this is, locked as long as it has a guardian; see orphans.py."""
    if not path:
        return -1
    # Nobody may find it before it is locked.
    interim = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    file = os.open(interim, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)
    os.rename(interim, path)
    return file


def _note(record: int, user: int) -> None:
    """Write down who this process is: its number alone may be another's later."""
    with open("/proc/self/stat") as file:
        start = int(file.read().rpartition(")")[2].split()[19])
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    os.write(record, json.dumps({"boot": boot, "pid": os.getpid(), "start": start, "user": user}).encode())


def _guard(orders: dict[str, Any]) -> int:
    """Start the sandbox; end it with the server. How it ended, as a process tells it."""
    for number in _HEEDED_BY_SERVER:  # The server ends in its own time, and this behind it.
        signal.signal(number, signal.SIG_IGN)
    _checked(_libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "cannot be a subreaper")
    record, guardian = _open_record(orders["record"]), os.getpid()
    try:
        child = os.fork()
        if child == 0:
            try:
                for number in _HEEDED_BY_SERVER:
                    signal.signal(number, signal.SIG_DFL)
                _launch(orders, guardian, record)
            except SystemExit as error:
                os.write(2, f"{error}\n".encode())
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        for number in orders["inherited"]:
            os.close(number)
        return _outlive(child)
    finally:
        if record >= 0:
            with contextlib.suppress(OSError):
                os.unlink(orders["record"])


def _outlive(child: int) -> int:
    """Wait for the end of the child, or of the server; then see to it that nothing is left."""
    waking, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    status, over = _DIED_BY_SIGNAL, False
    poll = select.poll()
    for descriptor in (0, waking):
        poll.register(descriptor, select.POLLIN)
    while not over:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    status, over = ended[1], True
        if not over:
            ready = [descriptor for descriptor, _ in poll.poll()]
            over = 0 in ready and not os.read(0, 1 << 16)
            if waking in ready:
                os.read(waking, 1 << 10)
    _end_all()
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else _DIED_BY_SIGNAL


def _end_all() -> None:
    """Kill all children. Theirs become ours with their end; none can be another's, before we have waited for it."""
    with contextlib.suppress(ChildProcessError):
        while True:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                for child in file.read().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(child), signal.SIGKILL)
            os.waitpid(-1, 0)


if __name__ == "__main__":
    if (orders := _orders()) is not None:
        sys.exit(_guard(orders))
