"""Boxes: processes inside bubblewrap, seen and ended from outside.

What each part is for stands in docs/decisions/sandbox.md.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Any

from everloom.sandbox import orphans, seccomp
from everloom.sandbox.base import SandboxLimits, SandboxUnavailable
from everloom.sandbox.interpreter import Interpreter
from everloom.sandbox.processes import children, grandchildren

DATA = "/mnt/data"
RUN = "/run/kernel"
STAGE = "/mnt"
"""As in launch_child.py."""

_OWN = {"data": DATA, "tmp": "/tmp", "shm": "/dev/shm", "run": RUN}
"""What a sandbox may write, all of it on one file system of a fixed size."""

_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
_CONFIGURATION = ("/etc/ld.so.cache", "/etc/localtime", "/etc/fonts", "/etc/alternatives", "/etc/mime.types")
_FILES = {
    "/etc/passwd": "sandbox:x:1000:1000::/tmp:/bin/sh\n",
    "/etc/group": "sandbox:x:1000:\n",
    "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MPLCONFIGDIR": "/tmp/.matplotlib",
    "IPYTHONDIR": "/tmp/.ipython",
    "PYTHONDONTWRITEBYTECODE": "1",
    # A thread a core of a large machine would eat the sandbox's memory before its code begins.
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
}
_ISOLATION = [
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--die-with-parent", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox"),
    *("--cap-drop", "ALL", "--clearenv"),
]

_FIRST_OWN_USER, _OWN_USERS = 1_900_000_000, 100_000_000
"""Ids that no distribution hands out; a root server gives each sandbox one of its own."""

_START_SECONDS = 20.0
_END_SECONDS = 5.0
_TOLD, _REST = 4000, 0.1
"""Bytes of standard error that are of use; seconds between two looks at more of it."""


class Box:
    """One sandbox: a guardian that ends it (see launch_child.py), and its root folder, held open from outside."""

    def __init__(
        self, process: Process, errors: "asyncio.Task[bytes]", user: int, users: set[int], record: str
    ) -> None:
        self.process = process
        """The guardian, which ends when the sandbox has ended."""
        self._errors = errors
        self.init = 0
        """The sandbox's process 1, as the host counts; when it ends, all others do."""
        self.first = 0
        """The process that was asked for."""
        self.root = -1
        """Descriptor of ``/`` inside. Never follow a path behind it except link by link, refusing symbolic links."""
        self.user = user
        self._users = users
        self._record = record

    def kill(self) -> None:
        """End everything in the sandbox, at once."""
        _hang_up(self.process)

    def interrupt(self) -> None:
        """Control-C for the process that was asked for."""
        with contextlib.suppress(ProcessLookupError):
            if self.process.returncode is None and self.first in children(self.init):
                os.kill(self.first, signal.SIGINT)

    async def told(self) -> str:
        """The beginning of what it wrote to standard error; to be asked when it has ended."""
        return (await self._errors).decode(errors="replace")

    async def close(self) -> None:
        """End everything in the sandbox and forget it."""
        self.kill()
        try:
            await asyncio.wait_for(self.process.wait(), _END_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        if self._record:
            await asyncio.to_thread(orphans.end, Path(self._record))  # Somebody may have killed the guardian.
        await self._errors
        if self.root >= 0:
            os.close(self.root)
            self.root = -1
        self._users.discard(self.user)


class Bubblewrap:
    """Starts boxes, all with the same interpreter and limits."""

    def __init__(self, interpreter: Interpreter, limits: SandboxLimits, records: Path) -> None:
        self._interpreter = interpreter
        self._records = records
        """Folder for the records of what runs; see orphans.py."""
        self.python = interpreter.executable
        self._limits = limits
        self._program = shutil.which("bwrap") or ""
        self._filter = ""
        self._disable: list[str] = []
        self._users: set[int] = set()
        """Those that boxes have now."""

    async def prepare(self) -> None:
        """Look whether a box can be had. Errors: ``SandboxUnavailable``."""
        if sys.platform != "linux":
            raise SandboxUnavailable("Sandboxes need Linux.")
        if not self._program:
            raise SandboxUnavailable(
                "bubblewrap (the program 'bwrap') is not installed; the system's package manager has it."
            )
        version = await asyncio.to_thread(_version, self._program)
        # Older ones have no such option; there the filter alone refuses new namespaces.
        self._disable = ["--disable-userns"] if version >= (0, 8) else []
        try:
            self._filter = base64.b64encode(await asyncio.to_thread(seccomp.filter_program)).decode()
        except (ImportError, RuntimeError) as error:
            raise SandboxUnavailable(
                f"There is no system call filter ({error}): pip install 'everloom[code]', and libseccomp with the "
                "system's package manager."
            ) from error
        await self._try()

    async def _try(self) -> None:
        user = _own_user(self._users)
        try:
            process, errors = await self._spawn(self._orders([self.python, "-I", "-c", "pass"], {}, user))
            await process.wait()
        finally:
            self._users.discard(user)
        if process.returncode != 0:
            raise SandboxUnavailable(_reason((await errors).decode(errors="replace"), self.python))

    async def start(self, command: list[str], files: dict[str, str]) -> Box:
        """Run a command in a new box. ``files``: path inside -> text. Errors: ``SandboxUnavailable``."""
        user = _own_user(self._users)
        reading, writing = os.pipe()
        try:
            record = await asyncio.to_thread(orphans.new_record, self._records)
            orders = self._orders(command, files, user) | {"inherited": [writing], "record": record}
            orders["arguments"] += ["--info-fd", str(writing)]
            process, errors = await self._spawn(orders)
        except BaseException:
            os.close(reading)
            self._users.discard(user)
            raise
        finally:
            os.close(writing)
        box = Box(process, errors, user, self._users, record)
        try:
            told = await _read_all(reading)
            box.init = json.loads(told)["child-pid"] if told else 0
            if box.init in grandchildren(process.pid) and await _enter(box):
                return box
        except BaseException:
            await box.close()
            raise
        await box.close()
        raise SandboxUnavailable(_reason(await box.told(), self.python))

    async def _spawn(self, orders: dict[str, Any]) -> tuple[Process, "asyncio.Task[bytes]"]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(Path(__file__).with_name("launch_child.py"))),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=PIPE,
            env={},
            pass_fds=orders["inherited"],
            start_new_session=True,  # What is sent to the server's whole group is not meant for the guardian.
        )
        assert process.stdin
        assert process.stderr
        errors = asyncio.create_task(_beginning(process.stderr))
        try:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(json.dumps(orders).encode() + b"\n")
                await process.stdin.drain()
        except BaseException:
            _hang_up(process)
            raise
        return process, errors

    def _orders(self, command: list[str], files: dict[str, str], user: int) -> dict[str, Any]:
        trees, limits = self._interpreter.trees, self._limits
        arguments = [*_ISOLATION, *self._disable, *_system()]
        for name, value in _ENVIRONMENT.items():
            arguments += ["--setenv", name, value]
        arguments += ["--proc", "/proc", "--dev", "/dev"]
        for name, place in _OWN.items():
            arguments += ["--bind", f"{STAGE}/own/{name}", place]
        for number, seen in enumerate(trees):
            arguments += ["--ro-bind", f"{STAGE}/{number}", seen]
        return {
            "record": "",
            "inherited": [],
            "user": user,
            "group": user if os.geteuid() == 0 else os.getegid(),
            "trees": list(trees.values()),
            "own": list(_OWN),
            "disk": limits.disk,
            "entries": limits.entries,
            "rlimits": _rlimits(limits),
            "filter": self._filter,
            "files": _FILES | files,
            "bwrap": self._program,
            "arguments": arguments,
            "last": ["--chdir", DATA, "--remount-ro", "/dev", "--remount-ro", "/"],
            "command": command,
        }


def _rlimits(limits: SandboxLimits) -> dict[str, int]:
    return {
        # Data gives Python its MemoryError before the watch kills it; a fresh kernel has 190 MB that it never touches.
        # The address space is a bound for what data does not count.
        "DATA": limits.memory + (128 << 20),
        "AS": 4 * limits.memory + (4 << 30),
        "FSIZE": limits.file,
        "NPROC": limits.processes,
        "NOFILE": limits.open_files,
        "CORE": 0,
        "MSGQUEUE": 0,
        "MEMLOCK": 1 << 16,
        "SIGPENDING": 256,
    }


def _system() -> list[str]:
    """The system's programs and libraries, read-only, with the links that lead to them."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for path in _SYSTEM:
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            arguments += ["--ro-bind", path, path]
    for path in _CONFIGURATION:
        arguments += ["--ro-bind-try", path, path]
    return arguments


def _own_user(taken: set[int]) -> int:
    """An id that nothing else on this machine has, none of ``taken``, if the server may give one; else its own."""
    if os.geteuid() != 0:
        return os.geteuid()
    spans = [[int(field) for field in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    first, _, count = max(spans, key=lambda span: span[2])
    low, most = _FIRST_OWN_USER, _OWN_USERS
    if low + most > first + count:
        # A container that has only some ids: from its upper half, where accounts are rare.
        low, most = first + count // 2, count // 2 - 2
    user = next(user for _ in range(1000) if (user := low + secrets.randbelow(most)) not in taken)
    taken.add(user)
    return user


def _hang_up(guardian: Process) -> None:
    """End the pipe to a guardian, which ends its sandbox then."""
    if guardian.stdin and not guardian.stdin.transport.is_closing():
        guardian.stdin.transport.abort()


def _version(program: str) -> tuple[int, ...]:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, env={}).stdout
    return tuple(map(int, re.findall(r"\d+", told)[:2]))


async def _beginning(stream: asyncio.StreamReader) -> bytes:
    """The first bytes of a stream that is read to its end, so that nobody waits for it; but not in a hurry."""
    kept = b""
    while block := await stream.read(1 << 16):
        kept += block[: _TOLD - len(kept)]
        if len(kept) >= _TOLD:
            await asyncio.sleep(_REST)
    return kept


async def _read_all(descriptor: int) -> bytes:
    """What comes through a pipe until its other end is closed."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    try:
        return await asyncio.wait_for(reader.read(), _START_SECONDS)
    finally:
        transport.close()


async def _enter(box: Box) -> bool:
    """Find the first process of a box, and hold its root. Until that process is there, its root is the host's."""
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while box.process.returncode is None and asyncio.get_running_loop().time() < deadline:
        if box.init and (found := children(box.init)):
            box.first = found[0]
            with contextlib.suppress(OSError):
                root = os.open(f"/proc/{box.first}/root", os.O_PATH | os.O_DIRECTORY)
                box.root = root
                if not os.path.samestat(os.fstat(root), os.stat("/")) and box.first in children(box.init):
                    return True
                os.close(root)
                box.root = -1
        await asyncio.sleep(0.01)
    return False


def _reason(told: str, python: str) -> str:
    """bubblewrap's complaint as a sentence that helps."""
    told = told.strip() or "no message"
    if "namespace" in told or "uid map" in told or "Operation not permitted" in told:
        return (
            f"This machine does not let sandboxes have namespaces of their own ({told}). Look at the sysctls "
            "user.max_user_namespaces, kernel.unprivileged_userns_clone and "
            "kernel.apparmor_restrict_unprivileged_userns; a container needs its runtime's leave."
        )
    if "execvp" in told or "Fatal Python error" in told:
        return f"The interpreter {python} cannot be read by the sandbox's own user ({told})."
    return f"The sandbox does not start: {told}"
