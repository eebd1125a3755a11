"""One call at a time to a Jupyter kernel, wherever it runs."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from typing import Any

from everloom.sandbox import wire
from everloom.sandbox.base import Output, Printed, SandboxDied, SandboxLimits
from everloom.sandbox.limited import Limited

_GRACE = 3.0
"""Seconds that a call has to end after an interrupt."""
_LAST_WORDS = 1.0
"""Seconds to wait for what a call showed, once its reply is there."""
_FLOOD = 64 << 20
"""Bytes that a call may send us, whether they are shown or not: reading them takes the server's time."""
_MESSAGE = 1 << 10
"""What a message costs beside its bytes."""
_WAITING = 16
"""Messages kept for whoever reads more slowly than the kernel writes."""
_MOST = 16 << 20
"""Characters that code of our own may print."""
DIED = "The code ended the Python that ran it, or the system did for want of memory."


class KernelCalls(ABC):
    """Sends code and yields what it shows. A kernel says how it is reached, interrupted and ended."""

    def __init__(self, limits: SandboxLimits) -> None:
        self.limits = limits
        self.busy = False
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        """Done when the kernel is gone."""
        self._request = ""
        """Id of the request that is being answered."""
        self._inbox: asyncio.Queue[wire.KernelMessage] = asyncio.Queue(_WAITING)
        self._heard = 0
        """Bytes that came since the request."""
        self._stopped = ""
        """Why the call was interrupted, if it was."""
        self._lost = False
        """Whether the kernel never said that the call had ended, only replied."""
        self._reason = ""

    @abstractmethod
    async def _send(self, message: dict[str, Any]) -> None: ...

    @abstractmethod
    def _interrupt(self) -> None:
        """Control-C for the code."""

    @abstractmethod
    def _end(self) -> None:
        """See to it that ``ended`` is done soon."""

    async def _mend(self) -> None:
        """Make a connection that a flood has ended work again."""
        return  # a connection that no flood ends needs no mending

    @property
    def alive(self) -> bool:
        return not self._reason and not self.ended.done()

    @property
    def reason(self) -> str:
        """Why it was ended; empty if it was not, or ended by itself."""
        return self._reason

    def kill(self, reason: str) -> None:
        """End it; whoever waits for its answers gets ``SandboxDied(reason)``."""
        self._reason = self._reason or reason
        self._end()

    async def run(self, code: str, timeout: float) -> AsyncGenerator[Output]:
        """What the code shows, as it comes. At the end of the time (seconds) it is interrupted, then killed.

        Errors: ``SandboxDied``.
        """
        self.busy = True
        try:
            if self._request:  # A call that was left before its end, and interrupted then.
                await exhaust(self._answers(_GRACE))
            limited = Limited(self.limits)
            async with contextlib.aclosing(self._call(wire.execute(code), timeout)) as answers:
                async for answer in answers:
                    for allowed in limited.pass_on(answer):
                        yield allowed
            if self._lost:
                await self._mend()
                yield Printed("[Some output was lost: there was too much at once.]\n")
            if self._stopped:
                yield Printed(f"[The code was stopped: it {self._stopped}.]\n")
        finally:
            self.busy = False
            if self._request:
                self._interrupt()

    async def quietly(self, code: str, timeout: float) -> str:
        """Run code of our own, which leaves no trace in the history; what it printed. Errors: ``SandboxDied``."""
        printed: list[str] = []
        size = 0
        async with contextlib.aclosing(self._call(wire.execute(code, silent=True), timeout)) as answers:
            async for answer in answers:
                if isinstance(answer, Printed):
                    printed.append(answer.text)
                    size += len(answer.text)
                if size > _MOST:
                    self.kill("The kernel said too much.")
        return "".join(printed)

    async def _call(self, message: dict[str, Any], timeout: float) -> AsyncGenerator[Output]:
        """Send a request and yield what it shows, to its end."""
        self._request, self._heard = message["header"]["msg_id"], 0
        if self.alive:
            await self._send(message)
        async with contextlib.aclosing(self._answers(timeout)) as answers:
            async for answer in answers:
                yield answer

    async def _answers(self, timeout: float) -> AsyncGenerator[Output]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        self._stopped, self._lost, replied, idle = "", False, False, False
        while not (replied and idle):
            answer = await self._next(deadline)
            if answer is None or (self._heard > _FLOOD and not self._stopped):
                if answer is None and replied:  # The word that it is idle was lost, and perhaps more.
                    self._lost = True
                    break
                if self._stopped:
                    self.kill(f"The code {self._stopped} and could not be interrupted.")
                self._interrupt()
                self._stopped = "wrote far too much" if answer else f"ran for more than {timeout:g} seconds"
                deadline = loop.time() + _GRACE
            elif answer.kind.endswith("_reply"):
                replied, deadline = True, loop.time() + _LAST_WORDS
            elif answer.kind == "status":
                idle = answer.content.get("execution_state") == "idle"
            elif (shown := wire.output(answer)) is not None:
                yield shown
        self._request = ""

    async def _next(self, deadline: float) -> wire.KernelMessage | None:
        """The next message of this request; None when the time is over. Errors: ``SandboxDied``."""
        loop = asyncio.get_running_loop()
        while not self.ended.done():
            getting = asyncio.ensure_future(self._inbox.get())
            try:
                left = max(0.0, deadline - loop.time())
                await asyncio.wait({getting, self.ended}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    if (message := getting.result()).parent == self._request:
                        return message
                elif not self.ended.done():
                    return None
            finally:
                getting.cancel()
        self._request = ""
        raise SandboxDied(self._reason or DIED)

    async def _hear(self, size: int, read: Callable[[], wire.KernelMessage | None]) -> None:
        """Keep what came (bytes, and how to read it) if somebody waits for it."""
        self._heard += size + _MESSAGE
        if self._request and self._heard < 2 * _FLOOD:
            message = read()
            if message and message.parent == self._request:
                await self._inbox.put(message)


async def exhaust(outputs: AsyncGenerator[Output]) -> None:
    """Wait for the end of a call."""
    async with contextlib.aclosing(outputs):
        async for _ in outputs:
            pass
