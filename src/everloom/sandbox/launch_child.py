"""The last steps before bubblewrap, in a process of its own: run as a script, imports nothing of ours.

Reads its orders (JSON) from standard input, makes a mount namespace with the folders that the sandbox will bind, limits
itself, gives root away and becomes bwrap. A server that is not root makes a user namespace to be able to mount. Binding
from open descriptors lets an interpreter stand in a folder that the sandbox's own user could not enter.
"""

import base64
import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

STAGE = "/mnt"
"""Hidden behind a file system in memory, in this process' namespace only."""

_NEWNS, _NEWUSER = 0x20000, 0x10000000
_RDONLY, _NOSUID, _NODEV, _BIND, _REC, _PRIVATE = 1, 2, 4, 0x1000, 0x4000, 0x40000
_SET_PDEATHSIG = 1

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
        raise SystemExit("the server is gone")


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


def main() -> None:
    orders = json.load(sys.stdin)
    _die_with(orders["parent"])
    os.umask(0o022)
    _stage(orders)
    _limit(orders)
    _give_root_away(orders)
    _die_with(orders["parent"])
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


if __name__ == "__main__":
    main()
