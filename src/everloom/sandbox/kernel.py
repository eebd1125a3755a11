"""A Jupyter kernel in a box: its sockets and its limits."""

import asyncio
import contextlib
import itertools
import json
import math
import os
import secrets
import stat
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from everloom.sandbox import wire
from everloom.sandbox.base import Output, SandboxDied, SandboxLimits, SandboxUnavailable
from everloom.sandbox.bubblewrap import RUN, Box, Bubblewrap
from everloom.sandbox.calls import CLOSED, DIED, KernelCalls
from everloom.sandbox.inside import Folder, open_below
from everloom.sandbox.processes import main_thread, processor_seconds, proportional, resident, tree
from everloom.sandbox.zmtp import KernelConnection, MessageLimits, ZmtpError

_CONNECTION = "/run/kernel.json"
_SHELL, _IOPUB = 1, 2
_START_SECONDS = 60.0
_ASK_AGAIN = 0.3
_TICK = 0.1
"""Seconds between two looks at what a running call uses."""
_RETRY = 0.02
_LAST_SIGN = 1.0
"""Seconds in which a kernel whose connection ended is seen to have ended itself."""
_STILL_SECONDS = 1.0
"""How long the kernel's main thread may be in one of these states; the second is also that of a process just ended."""
_NEVER_ON = {
    "T": "The code stopped the Python that ran it.",
    "Z": "The code ended the main thread of the Python that ran it.",
}
_AT_A_TIME = 16
"""Messages that are read before others have their turn."""

_WARM = """
try:
    import zmq as _zmq
    # Where we read slowly, the code waits; by default what finds no room in the kernel's queue would be dropped.
    _thread = get_ipython().kernel.iopub_thread
    _thread.schedule(lambda thread=_thread, option=_zmq.XPUB_NODROP: thread.socket.setsockopt(option, 1))
    del _zmq, _thread
except (ImportError, AttributeError): pass
for _name in ("numpy", "pandas", "matplotlib.pyplot"):
    try: __import__(_name)
    except ImportError: pass
del _name
"""


class Kernel(KernelCalls):
    """Ready once ``start`` has returned it; ``close`` must be called."""

    def __init__(self, box: Box, key: bytes, limits: SandboxLimits) -> None:
        super().__init__(limits)
        self.box = box
        self.ended = asyncio.ensure_future(box.process.wait())
        self.files = Folder(box.root, box.user, limits)
        self._key = key
        self._connections: list[KernelConnection] = []
        self._descriptors: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._looking: asyncio.Task[None] | None = None
        self._used = math.inf
        """Seconds of processor time at the end of the last call."""

    @classmethod
    async def start(cls, bubblewrap: Bubblewrap, limits: SandboxLimits) -> "Kernel":
        """A kernel that answers, its usual libraries loaded. Errors: ``SandboxUnavailable``."""
        key = secrets.token_hex(32)
        command = [bubblewrap.python, "-I", "-m", "ipykernel_launcher", "-f", _CONNECTION]
        command += ["--HistoryManager.enabled=False", "--InteractiveShell.colors=nocolor"]
        box = await bubblewrap.start(command, {_CONNECTION: json.dumps(_connection(key))})
        try:
            kernel = cls(box, key.encode(), limits)
        except OSError as error:
            await box.close()
            raise SandboxUnavailable(f"The kernel does not start: {await box.told() or error}") from error
        try:
            async with asyncio.timeout(_START_SECONDS):
                await kernel._connect()
                await kernel.quietly(_WARM, _START_SECONDS)
        except (TimeoutError, OSError, EOFError, ZmtpError, SandboxDied) as error:
            await kernel.close()
            raise SandboxUnavailable(f"The kernel does not start: {await box.told() or error}") from error
        except BaseException:
            await kernel.close()
            raise
        return kernel

    async def close(self) -> None:
        """End it and let everything go."""
        self.kill(CLOSED)
        for task in (tasks := [*self._tasks, *([self._looking] if self._looking else [])]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._connections:
            connection.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._tasks, self._connections, self._descriptors = [], [], []
        self.files.close()
        await self.box.close()
        await self.ended

    async def run(self, code: str, timeout: float) -> AsyncGenerator[Output]:
        """As ``KernelCalls.run``, watched. Errors: ``SandboxDied``."""
        watch = asyncio.create_task(self._watch())
        try:
            async with contextlib.aclosing(super().run(code, timeout)) as outputs:
                async for shown in outputs:
                    yield shown
        finally:
            watch.cancel()
            self._used = self._processor_seconds()

    def look_after(self) -> None:
        """Kill it if what the last call left running uses too much. To be called every second or so."""
        if not self.busy and self.alive and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        pids = list(tree(self.box.init))
        if processor_seconds(pids) - self._used > self.limits.idle_cpu:
            self.kill("What an earlier call left running used too much processor time.")
        elif await self._too_much_memory(pids):
            self.kill("What an earlier call left running used too much memory.")

    async def _too_much_memory(self, pids: list[int]) -> bool:
        most = self.limits.memory
        return resident(pids) > most and await asyncio.to_thread(proportional, pids) > most

    async def _send(self, message: dict[str, Any]) -> None:
        await self._connections[0].send(wire.frames(message, self._key))

    def _interrupt(self) -> None:
        self.box.interrupt()

    def _end(self) -> None:
        self.box.kill()

    def _cut_off(self) -> bool:
        return any(connection.within for connection in self._connections)

    async def _connect(self) -> None:
        """Wait for the kernel's sockets and for its first sign of life on both."""
        limits = MessageLimits(self.limits.message, self.limits.parts)
        for kind, port in (("DEALER", _SHELL), ("SUB", _IOPUB)):
            # To what stands there now, whatever the sandbox puts in its place later.
            path = f"/proc/self/fd/{await self._socket(f'socket-{port}')}"
            connection = await self._open(path, kind, limits)
            self._connections.append(connection)
            self._tasks.append(asyncio.create_task(self._listen(connection, replies=port == _SHELL)))
        await self._greet()

    async def _open(self, path: str, kind: str, limits: MessageLimits) -> KernelConnection:
        while not self.ended.done():
            with contextlib.suppress(ConnectionError):  # It is there, but the kernel does not listen yet.
                return await KernelConnection.open(path, kind, limits, self._count)
            await asyncio.sleep(_RETRY)
        raise SandboxDied(DIED)

    async def _greet(self) -> None:
        """Wait for a sign of life on both: a subscription takes its time to arrive, so ask until it has."""
        wait = _ASK_AGAIN
        while True:
            call = self._begin(wire.request("kernel_info_request", {}), 0)
            await self._send(call.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await call.get()
            self._forget(call)
            if call.replied and call.idle:
                return
            if not self.alive:
                raise SandboxDied(DIED)
            wait = _ASK_AGAIN if call.replied else wait * 1.5

    async def _socket(self, name: str) -> int:
        """Descriptor of a socket in the sandbox, once it is there."""
        while not self.ended.done():
            with contextlib.suppress(OSError):
                descriptor = open_below(self.box.root, [*RUN.split("/")[1:], name], os.O_PATH)
                self._descriptors.append(descriptor)
                if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    raise SandboxDied("There is no socket where the kernel's should be.")
                return descriptor
            await asyncio.sleep(_RETRY)
        raise SandboxDied(DIED)

    async def _listen(self, connection: KernelConnection, *, replies: bool) -> None:
        with contextlib.suppress(OSError, EOFError, ZmtpError):
            for number in itertools.count():
                if (received := await connection.receive()) is None:
                    self._hear_too_much(replied=replies)
                else:
                    await self._hear(sum(map(len, received)), partial(wire.from_frames, received, self._key))
                if number % _AT_A_TIME == 0:
                    await asyncio.sleep(0)
        # A kernel that ended is one thing, and soon told; a kernel that nobody can speak with any more is another.
        await asyncio.wait({self.ended}, timeout=_LAST_SIGN)
        self.kill("The code closed the connections of the Python that ran it.")

    async def _watch(self) -> None:
        limits, began, still = self.limits, self._processor_seconds(), 0
        while not self.ended.done():
            pids = list(tree(self.box.init))
            state = main_thread(self.box.first)
            still = still + 1 if state in _NEVER_ON else 0
            if await self._too_much_memory(pids):
                self.kill(f"The code used more than {limits.memory >> 20} MB of memory.")
            elif processor_seconds(pids) - began > limits.cpu:
                self.kill(f"The code used more than {limits.cpu:g} seconds of processor time.")
            elif still * _TICK > _STILL_SECONDS:
                self.kill(_NEVER_ON[state])
            await asyncio.sleep(_TICK)

    def _processor_seconds(self) -> float:
        return processor_seconds(list(tree(self.box.init)))


def _connection(key: str) -> dict[str, str | int]:
    """A connection file: where the kernel makes its sockets, and the key that signs what goes through them."""
    ports = {f"{name}_port": port for port, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
    return ports | {"transport": "ipc", "ip": f"{RUN}/socket", "key": key, "signature_scheme": "hmac-sha256"}
