"""Kernels behind a Jupyter Kernel Gateway or Enterprise Gateway, for machines that must not run code and for scale.

The gateway isolates: each of its kernels must have a file system of its own (a container each). Files travel through
the kernel's own channel.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import secrets
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Literal

import aiohttp
import msgspec

from everloom.kit.bounded_heads import BoundedHeads
from everloom.sandbox import wire
from everloom.sandbox.base import SandboxDied, SandboxFull, SandboxLimits, SandboxUnavailable, Seen
from everloom.sandbox.calls import CLOSED, KernelCalls

_DATA = "/mnt/data"
_SECONDS = 60.0
"""For a request, for the start of a kernel, for a block of a file."""
_BLOCK = 1 << 20
_ANSWER = 1 << 20
"""Bytes of an answer of the gateway's own."""
_SLOWEST = 1 << 20
"""Bytes a second that a file must come with, once ``_SECONDS`` are over."""
_SOON = 10.0
"""Seconds for what nobody waits for: an interrupt, an end."""

_FUNCTIONS = """
def _do():
    import base64, json, os, stat
    data = "/mnt/data"
    def start():
        os.makedirs(data, exist_ok=True)
        found = os.listdir(data)
        os.chdir(data)
        return found
    def names():
        return os.listdir(data)
    def append(name, block, mode):
        with open(os.path.join(data, name), mode) as file:
            file.write(base64.b64decode(block))
    def rename(old, new):
        os.replace(os.path.join(data, old), os.path.join(data, new))
    def look(largest):
        seen = {}
        for folder, below, names in os.walk(data):
            below[:] = [name for name in below if not name.startswith((".", "__pycache__"))]
            for name in names:
                path = os.path.join(folder, name)
                found = os.lstat(path)
                if not name.startswith(".") and stat.S_ISREG(found.st_mode) and found.st_size <= largest:
                    seen[os.path.relpath(path, data)] = [found.st_ino, found.st_size, found.st_ctime_ns]
        return seen
    def read(path, start, size):
        with open(os.path.join(data, path), "rb") as file:
            file.seek(start)
            return base64.b64encode(file.read(size)).decode()
    return locals()
"""


class Gateway:
    """One gateway: ``url`` its base URL, ``token`` what it asks for."""

    def __init__(self, url: str, token: str | None, limits: SandboxLimits) -> None:
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"token {token}"} if token else {}
        self._limits = limits
        self._http: aiohttp.ClientSession | None = None

    async def prepare(self) -> None:
        """Ask it for a sign of life. Errors: ``SandboxUnavailable``."""
        self._http = aiohttp.ClientSession(connector=BoundedHeads(), headers=self._headers)
        try:
            await self._ask("GET", "/api/kernelspecs")
        except SandboxUnavailable:
            await self.close()
            raise

    async def start(self) -> "GatewayKernel":
        """A new kernel. Errors: ``SandboxUnavailable``."""
        assert self._http
        identity = str((await self._ask("POST", "/api/kernels", {}))["id"])
        try:
            socket = await self._http.ws_connect(
                f"{self._url}/api/kernels/{identity}/channels",
                max_msg_size=self._limits.message,
                heartbeat=30,
                decode_text=False,
            )
        except aiohttp.ClientError as error:
            await self.stop(identity)
            raise SandboxUnavailable(f"The kernel gateway does not open a channel: {error}") from error
        kernel = GatewayKernel(self, identity, socket, self._limits)
        try:
            found = await kernel.files.start()
        except (SandboxDied, OSError) as error:
            await kernel.close()
            raise SandboxUnavailable(f"The gateway's kernel cannot have a folder {_DATA}: {error}") from error
        if found:
            await kernel.close()
            raise SandboxUnavailable(
                f"The gateway's kernels share their {_DATA}; it must give each a file system of its own."
            )
        return kernel

    async def interrupt(self, identity: str) -> None:
        with contextlib.suppress(SandboxUnavailable):
            await self._ask("POST", f"/api/kernels/{identity}/interrupt", seconds=_SOON)

    async def stop(self, identity: str) -> None:
        """End a kernel; one that is gone already is no error."""
        with contextlib.suppress(SandboxUnavailable):
            await self._ask("DELETE", f"/api/kernels/{identity}", seconds=_SOON)

    async def close(self) -> None:
        if self._http:
            await self._http.close()

    async def _ask(self, method: str, path: str, body: Any = None, seconds: float = _SECONDS) -> Any:
        assert self._http
        patience = aiohttp.ClientTimeout(seconds)
        try:
            async with self._http.request(method, self._url + path, json=body, timeout=patience) as response:
                if response.status >= 400:
                    raise SandboxUnavailable(f"The kernel gateway answers {response.status} to {method} {path}.")
                if response.status not in (200, 201):
                    return None
                answer = b""
                async for block in response.content.iter_any():
                    answer += block
                    if len(answer) > _ANSWER:
                        raise SandboxUnavailable(f"The kernel gateway answers too much to {method} {path}.")
                return json.loads(answer)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise SandboxUnavailable(f"The kernel gateway {self._url} cannot be reached: {why}.") from error


class GatewayKernel(KernelCalls):
    """A kernel behind a gateway, its limits the gateway's but for time and outputs."""

    def __init__(
        self,
        gateway: Gateway,
        identity: str,
        socket: aiohttp.ClientWebSocketResponse[Literal[False]],
        limits: SandboxLimits,
    ) -> None:
        super().__init__(limits)
        self.files = RemoteFolder(self, limits)
        self._gateway = gateway
        self._identity = identity
        self._socket = socket
        self._listening = asyncio.create_task(self._listen())
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End it, and forget it."""
        self.kill(CLOSED)
        await asyncio.gather(*self._tasks)
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self._socket.close()

    def look_after(self) -> None:
        """What a kernel uses between calls is the gateway's to limit."""

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_str(json.dumps(message))

    def _interrupt(self) -> None:
        self._soon(self._gateway.interrupt(self._identity))

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
            self._soon(self._gateway.stop(self._identity))

    def _soon(self, asking: Any) -> None:
        task = asyncio.create_task(asking)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        async for received in self._socket:
            if received.type == aiohttp.WSMsgType.TEXT:
                text: bytes = received.data
                self._count(len(text))
                if wire.is_dense(text):
                    self._hear_too_much(replied=False)
                else:
                    await self._hear(len(text), partial(wire.from_text, text))
        if self._socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
            self.kill(f"The code sent a message of more than {self.limits.message >> 20} MB.")
        self.kill("The connection to the kernel gateway was lost.")


class RemoteFolder:
    """/mnt/data of a kernel behind a gateway, by code that runs in it."""

    def __init__(self, kernel: GatewayKernel, limits: SandboxLimits) -> None:
        self._kernel = kernel
        self._limits = limits

    async def start(self) -> list[str]:
        """Make it, unless it is there; what it holds. Errors: ``SandboxDied``, ``OSError``."""
        found: list[str] = await self._ask(list[str], "start")
        return found

    async def _ask(self, answers: Any, function: str, *arguments: str | int) -> Any:
        """Call one of the functions above, which answers with a type. Errors: ``SandboxDied``, ``OSError``."""
        mark = secrets.token_hex(8)
        call = f"_do()[{function!r}](*__import__('json').loads({json.dumps(list(arguments))!r}))"
        code = f"{_FUNCTIONS}\nprint('{mark}' + __import__('json').dumps({call}))\ndel _do"
        _, found, answer = (await self._kernel.quietly(code, _SECONDS)).rpartition(mark)
        if not found:
            raise OSError(answer.strip()[-300:])
        try:
            return msgspec.json.decode(answer, type=answers)
        except msgspec.DecodeError as error:
            raise OSError("The kernel's answer is not what was asked for.") from error

    async def names(self) -> set[str]:
        """Of everything directly in it."""
        names: list[str] = await self._ask(list[str], "names")
        return set(names)

    async def write(self, name: str, blocks: AsyncIterator[bytes]) -> None:
        """Put a file there, whole or not at all. Errors: ``SandboxFull``."""
        interim, mode = f".{secrets.token_hex(8)}", "wb"
        try:
            await self._ask(None, "append", interim, "", mode)
            async for block in blocks:
                for start in range(0, len(block), _BLOCK):
                    piece = base64.b64encode(block[start : start + _BLOCK]).decode()
                    await self._ask(None, "append", interim, piece, "ab")
            await self._ask(None, "rename", interim, name)
        except OSError as error:
            raise SandboxFull(f"{name} cannot be put into the sandbox: {error}") from error

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """A file's content. Errors: ``FileNotFoundError``."""
        start, size = 0, _BLOCK
        loop = asyncio.get_running_loop()
        until = loop.time() + _SECONDS
        while size == _BLOCK and start < self._limits.file and loop.time() < until + start / _SLOWEST:
            try:
                answer: str = await self._ask(str, "read", path.removeprefix(f"{_DATA}/"), start, _BLOCK)
                block = base64.b64decode(answer)[:_BLOCK]
            except (OSError, ValueError) as error:
                raise FileNotFoundError(path) from error
            start, size = start + len(block), len(block)
            if block:
                yield block

    async def look(self) -> Seen:
        """All regular files that are not hidden and not too large to be taken out, as the kernel tells of them."""
        told: Seen = await self._ask(Seen, "look", self._limits.file)
        return {
            path: found
            for path, found in itertools.islice(told.items(), self._limits.entries)
            if _is_path(path) and 0 <= found[1] <= self._limits.file
        }


def _is_path(path: str) -> bool:
    """Whether it leads to a file below a folder, and can be told to anybody."""
    return {"", ".", ".."}.isdisjoint(path.split("/")) and "\0" not in path
