"""A Jupyter kernel in a box: its sockets and its limits."""

import asyncio
import contextlib
import json
import math
import os
import secrets
import stat
from collections.abc import AsyncGenerator
from functools import partial
from typing import TYPE_CHECKING, Any

from everloom.sandbox import wire
from everloom.sandbox.base import Output, SandboxDied, SandboxLimits, SandboxUnavailable
from everloom.sandbox.bubblewrap import RUN, Box, Bubblewrap
from everloom.sandbox.calls import DIED, KernelCalls
from everloom.sandbox.inside import Folder, open_below
from everloom.sandbox.processes import processor_seconds, proportional, resident, tree

if TYPE_CHECKING:
    import zmq.asyncio

_CONNECTION = "/run/kernel.json"
_SHELL, _IOPUB = 1, 2
_START_SECONDS = 60.0
_ASK_AGAIN = 0.3
_TICK = 0.1
"""Seconds between two looks at what a running call uses."""
_LARGEST = 16 << 20
"""Bytes of a message; ZeroMQ ends the connection that brings a larger one."""
_WAITING = 16
"""Messages that ZeroMQ keeps for us."""

_WARM = """
for _name in ("numpy", "pandas", "matplotlib.pyplot"):
    try: __import__(_name)
    except ImportError: pass
del _name
"""


class Kernel(KernelCalls):
    """Ready once ``start`` has returned it; ``close`` must be called."""

    def __init__(self, box: Box, key: bytes, context: "zmq.asyncio.Context", limits: SandboxLimits) -> None:
        super().__init__(limits)
        self.box = box
        self.ended = asyncio.ensure_future(box.process.wait())
        self.files = Folder(box.root, box.user, limits)
        self._key = key
        self._context = context
        self._sockets: list[zmq.asyncio.Socket] = []
        self._addresses: list[str] = []
        self._descriptors: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._used = math.inf
        """Seconds of processor time at the end of the last call."""

    @classmethod
    async def start(cls, bubblewrap: Bubblewrap, context: "zmq.asyncio.Context", limits: SandboxLimits) -> "Kernel":
        """A kernel that answers, its usual libraries loaded. Errors: ``SandboxUnavailable``."""
        key = secrets.token_hex(32)
        command = [bubblewrap.python, "-I", "-m", "ipykernel_launcher", "-f", _CONNECTION]
        command += ["--HistoryManager.enabled=False", "--InteractiveShell.colors=nocolor"]
        box = await bubblewrap.start(command, {_CONNECTION: json.dumps(_connection(key))})
        try:
            kernel = cls(box, key.encode(), context, limits)
        except OSError as error:
            await box.close()
            raise SandboxUnavailable(f"The kernel does not start: {await box.told() or error}") from error
        try:
            async with asyncio.timeout(_START_SECONDS):
                await kernel._connect()
                await kernel.quietly(_WARM, _START_SECONDS)
        except (TimeoutError, SandboxDied) as error:
            await kernel.close()
            raise SandboxUnavailable(f"The kernel does not start: {await box.told() or error}") from error
        except BaseException:
            await kernel.close()
            raise
        return kernel

    async def close(self) -> None:
        """End it and let everything go."""
        self.kill("The sandbox was closed.")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in self._sockets:
            socket.close(linger=0)
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._tasks, self._sockets, self._descriptors = [], [], []
        self.files.close()
        await self.ended
        await self.box.close()

    async def run(self, code: str, timeout: float) -> AsyncGenerator[Output]:
        """As ``Calls.run``, watched. Errors: ``SandboxDied``."""
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
        if self.busy or not self.alive:
            return
        if self._processor_seconds() - self._used > self.limits.idle_cpu:
            self.kill("What an earlier call left running used too much processor time.")
        elif resident(pids := list(tree(self.box.init))) > self.limits.memory < proportional(pids):
            self.kill("What an earlier call left running used too much memory.")

    async def _send(self, message: dict[str, Any]) -> None:
        await self._sockets[0].send_multipart(wire.frames(message, self._key))

    def _interrupt(self) -> None:
        self.box.interrupt()

    def _end(self) -> None:
        self.box.kill()

    async def _connect(self) -> None:
        """Wait for the kernel's sockets and for its first sign of life on both."""
        import zmq

        for kind, port in ((zmq.DEALER, _SHELL), (zmq.SUB, _IOPUB)):
            self._addresses.append(f"ipc:///proc/self/fd/{await self._socket(f'socket-{port}')}")
            self._open(self._context.socket(kind), self._addresses[-1])
        await self._greet()

    def _open(self, socket: "zmq.asyncio.Socket", address: str) -> None:
        import zmq

        self._sockets.append(socket)
        socket.set(zmq.MAXMSGSIZE, _LARGEST)
        socket.set(zmq.RCVHWM, _WAITING)
        socket.set(zmq.LINGER, 0)
        if socket.type == zmq.SUB:
            socket.subscribe(b"")
        # To what stands there now, whatever the sandbox puts in its place later.
        socket.connect(address)
        self._tasks.append(asyncio.create_task(self._listen(socket)))

    async def _mend(self) -> None:
        """Make the second connection anew: the first ended with a message that was too large."""
        import zmq

        self._tasks.pop().cancel()
        self._sockets.pop().close(linger=0)
        self._open(self._context.socket(zmq.SUB), self._addresses[-1])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ASK_AGAIN * 10):
                await self._greet()

    async def _greet(self) -> None:
        """Wait for a sign of life on both: a subscription takes its time to arrive, so ask until it has."""
        heard: set[bool] = set()
        while len(heard) < 2:
            message = wire.request("kernel_info_request", {})
            self._request = message["header"]["msg_id"]
            await self._send(message)
            until = asyncio.get_running_loop().time() + _ASK_AGAIN
            while len(heard) < 2 and (answer := await self._next(until)):
                heard.add(answer.kind == "status")
        self._request = ""

    async def _socket(self, name: str) -> int:
        """Descriptor of a socket in the sandbox, once it is there."""
        while not self.ended.done():
            with contextlib.suppress(OSError):
                descriptor = open_below(self.box.root, [*RUN.split("/")[1:], name], os.O_PATH)
                self._descriptors.append(descriptor)
                if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    raise SandboxDied("There is no socket where the kernel's should be.")
                return descriptor
            await asyncio.sleep(0.02)
        raise SandboxDied(DIED)

    async def _listen(self, socket: "zmq.asyncio.Socket") -> None:
        while True:
            received = await socket.recv_multipart()
            await self._hear(sum(map(len, received)), partial(wire.from_frames, received, self._key))

    async def _watch(self) -> None:
        began = self._processor_seconds()
        limits = self.limits
        while not self.ended.done():
            pids = list(tree(self.box.init))
            if resident(pids) > limits.memory and await asyncio.to_thread(proportional, pids) > limits.memory:
                self.kill(f"The code used more than {limits.memory >> 20} MB of memory.")
            elif processor_seconds(pids) - began > limits.cpu:
                self.kill(f"The code used more than {limits.cpu:g} seconds of processor time.")
            await asyncio.sleep(_TICK)

    def _processor_seconds(self) -> float:
        return processor_seconds(list(tree(self.box.init)))


def _connection(key: str) -> dict[str, str | int]:
    """A connection file: where the kernel makes its sockets, and the key that signs what goes through them."""
    ports = {f"{name}_port": port for port, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
    return ports | {"transport": "ipc", "ip": f"{RUN}/socket", "key": key, "signature_scheme": "hmac-sha256"}
