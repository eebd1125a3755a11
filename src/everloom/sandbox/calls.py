"""One call at a time to a Jupyter kernel, wherever it runs.

A kernel is under the power of the code in it, and of whatever earlier code left running there. So nothing here waits
for it without an end: clocks of ours end a call, whether its kernel speaks or not and whether anybody listens, and what
a kernel sends is counted before it is read.
"""

import asyncio
import contextlib
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

from msgspec import Struct

from everloom.sandbox import wire
from everloom.sandbox.base import Output, Printed, SandboxDied, SandboxHeld, SandboxLimits
from everloom.sandbox.inbox import Inbox
from everloom.sandbox.limited import Limited

_LAST_WORDS = 10.0
"""Seconds to wait for what a call showed, once its reply is there."""
_ASK_PAST = 1.0
"""Seconds of them after which the kernel is asked something else. It shows things in their order, so if it shows that
it is done with the later, the word that it is done with the earlier has been lost, and perhaps more."""
_MESSAGE = 1 << 10
"""What a message costs beside its bytes."""
_LONG = 1 << 16
"""Bytes of a message that is read in a thread."""
_MOST = 16 << 20
"""Characters that code of our own may print."""
CLOSED = "The sandbox was closed."
DIED = "The code ended the Python that ran it, or the system did for want of memory."
_HELD = "It took up no more code: what an earlier call left there held it."
_LEFT_RUNNING = "What an earlier call left running wrote far too much."
_log = logging.getLogger(__name__)


class _Call(Inbox):
    """A request that is not over, and what came for it."""

    def __init__(self, message: dict[str, Any], most: int) -> None:
        super().__init__(_LAST_WORDS)
        self.message = message
        self.request: str = message["header"]["msg_id"]
        self.most = most
        """Characters of one text that are of use."""
        self.heard = 0
        """Bytes that came since the request."""
        self.begun = False
        self.stopped = ""
        """Why it was interrupted, if it was."""
        self.clocks: list[asyncio.TimerHandle] = []
        self.question = wire.request("kernel_info_request", {})
        self.past: str = self.question["header"]["msg_id"]
        self.asking: asyncio.Task[None] | None = None

    def kernel_ended(self, _: object) -> None:
        self.close()


class _Answer(Struct, frozen=True):
    """What a message says of a call."""

    shown: Output | None = None
    replied: bool = False
    idle: bool = False
    past: bool = False
    """The kernel is done with what it was asked later."""
    lost: bool = False


class KernelCalls(ABC):
    """Sends code and yields what it shows. A kernel says how it is reached, interrupted and ended."""

    def __init__(self, limits: SandboxLimits) -> None:
        self.limits = limits
        self.busy = False
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        """Done when the kernel is gone."""
        self._call: _Call | None = None
        """The call under way, or one that was left and has not ended yet."""
        self._heard_idle = 0
        """Bytes that came since the last call ended."""
        self._heard_ever = 0
        self._reason = ""

    @abstractmethod
    async def _send(self, message: dict[str, Any]) -> None:
        """Errors: ``OSError`` when the connection is lost, of which whoever listens to it tells."""

    @abstractmethod
    def _interrupt(self) -> None:
        """Control-C for the code."""

    @abstractmethod
    def _end(self) -> None:
        """See to it that ``ended`` is done soon."""

    def _cut_off(self) -> bool:
        """Whether what the kernel says cannot be told apart any more."""
        return False

    @property
    def alive(self) -> bool:
        return not self._reason and not self.ended.done()

    @property
    def reason(self) -> str:
        """Why it was ended; empty if it was not, or ended by itself."""
        return self._reason

    def kill(self, reason: str) -> None:
        """End it; whoever waits for its answers gets ``SandboxDied(reason)``."""
        if self.alive:
            if reason != CLOSED:
                _log.warning("a sandbox is ended: %s", reason)
            self._reason = reason
        if self._call is not None:
            self._call.close()
        self._end()

    async def settle(self) -> bool:
        """Wait for the end of a call that was left, some seconds at most; whether the kernel can be used then."""
        if (call := self._call) is not None and call.left:
            await call.over()
            self._forget(call)
        return self.alive

    async def run(self, code: str, timeout: float) -> AsyncGenerator[Output]:
        """What the code shows, as it comes. At the end of the time (seconds) it is interrupted, then killed.

        Errors: ``SandboxDied``; ``SandboxHeld`` when the code was not begun.
        """
        await self.settle()
        self.busy = True
        try:
            limited = Limited(self.limits)
            call = self._begin(wire.execute(code), self.limits.logs + 2)
            self._set_clocks(call, min(timeout, self.limits.seconds), self.limits.take_up)
            async with contextlib.aclosing(self._answers(call)) as answers:
                async for answer in answers:
                    for allowed in limited.pass_on(answer):
                        yield allowed
            if call.lost and self._cut_off():
                self.kill("The code left a message to the server without an end.")
            if call.stopped:
                yield Printed(f"[The code was stopped: it {call.stopped}.]\n")
            elif call.lost:
                yield Printed("[Some output was lost: there was too much at once.]\n")
        finally:
            self.busy = False

    async def quietly(self, code: str, timeout: float) -> str:
        """Run code of our own, which leaves no trace in the history; what it printed. Errors: ``SandboxDied``."""
        await self.settle()
        printed: list[str] = []
        size = 0
        call = self._begin(wire.execute(code, silent=True), _MOST)
        self._set_clocks(call, timeout)
        async with contextlib.aclosing(self._answers(call)) as answers:
            async for answer in answers:
                if isinstance(answer, Printed):
                    printed.append(answer.text)
                    size += len(answer.text)
                if size > _MOST:
                    self.kill("The kernel said too much.")
        return "".join(printed)

    def _begin(self, message: dict[str, Any], most: int) -> _Call:
        """The call that is answered from now on."""
        self._call = call = _Call(message, most)
        self._heard_idle = 0
        self.ended.add_done_callback(call.kernel_ended)
        return call

    def _forget(self, call: _Call) -> None:
        """Nothing of this call is of interest any more."""
        for clock in call.clocks:
            clock.cancel()
        if call.asking is not None:
            call.asking.cancel()
        self.ended.remove_done_callback(call.kernel_ended)
        call.close()
        if self._call is call:
            self._call = None

    def _set_clocks(self, call: _Call, timeout: float, take_up: float = math.inf) -> None:
        loop = asyncio.get_running_loop()
        why = f"ran for more than {round(timeout, 1):g} seconds"
        call.clocks.append(loop.call_later(timeout, self._stop, call, why))
        if take_up < timeout:
            call.clocks.append(loop.call_later(take_up, self._check_begun, call))

    def _check_begun(self, call: _Call) -> None:
        if not call.begun:
            self.kill(_HELD)

    def _stop(self, call: _Call, why: str) -> None:
        """Interrupt a call; the kernel is ended if that does not help."""
        if not call.stopped:
            call.stopped = why
            call.hurry()
            self._interrupt()
            call.clocks.append(asyncio.get_running_loop().call_later(self.limits.grace, self._insist, call))

    def _insist(self, call: _Call) -> None:
        if not call.replied:
            self.kill(f"The code {call.stopped} and could not be interrupted.")

    async def _answers(self, call: _Call) -> AsyncGenerator[Output]:
        """Send a request and yield what it shows, to its end. Errors: ``SandboxDied``."""
        sending = asyncio.create_task(self._send(call.message))
        try:
            while (shown := await call.get()) is not None:
                yield shown
            if not call.replied:
                raise (SandboxHeld if self._reason and not call.begun else SandboxDied)(self._reason or DIED)
        finally:
            # A kernel may read nothing, so nobody waited for this.
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            if call.replied or not self.alive:
                self._forget(call)
            else:
                call.leave()
                self._stop(call, "was left before its end")

    def _count(self, size: int) -> None:
        """Know of bytes that come, before anybody reads them."""
        call, limits = self._call, self.limits
        self._heard_ever += size
        if call is None:
            self._heard_idle += size
            if self._heard_idle > limits.sent:
                self.kill(_LEFT_RUNNING)
        else:
            call.heard += size
            if call.heard > 2 * limits.sent:
                self.kill("The code wrote far too much, and went on.")
            elif call.heard > limits.sent:
                self._stop(call, "wrote far too much")
        if self._heard_ever > limits.sent_ever:
            self.kill("The sandbox wrote far too much, over all its calls.")

    async def _hear(self, size: int, read: Callable[[], wire.KernelMessage | None]) -> None:
        """Keep what a message says of the call. ``size`` in bytes, ``read`` tells how it is read."""
        self._count(_MESSAGE)
        if (call := self._call) is None or not self.alive:
            return
        reading = partial(_answer, read, call)
        answer = reading() if size <= _LONG else await asyncio.to_thread(reading)
        if answer is not None:
            call.begun = True
            if answer.shown is not None:
                await call.put(answer.shown)
            call.lost |= answer.lost or (answer.past and not call.idle)
            call.end(replied=answer.replied, idle=answer.idle or answer.past)
            if answer.replied and not call.idle:
                call.clocks.append(asyncio.get_running_loop().call_later(_ASK_PAST, self._ask_past, call))

    def _ask_past(self, call: _Call) -> None:
        if call.idle or not self.alive:
            return
        if call.asking is None or call.asking.done():
            call.asking = asyncio.create_task(self._send(call.question))
            call.asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        call.clocks.append(asyncio.get_running_loop().call_later(_ASK_PAST, self._ask_past, call))

    def _hear_too_much(self, *, replied: bool) -> None:
        """A message was thrown away unread; ``replied``: it came where replies come."""
        self._count(_MESSAGE)
        if (call := self._call) is not None:
            call.begun = call.lost = True
            call.end(replied=replied)


def _answer(read: Callable[[], wire.KernelMessage | None], call: _Call) -> _Answer | None:
    """What a message says of the call; None if it belongs to another one, or to none."""
    message = read()
    if message is not None and message.parent == call.past:
        return _Answer(past=wire.is_idle(message))
    if message is None or message.parent != call.request:
        return None
    if wire.is_reply(message):
        return _Answer(replied=True)
    if message.kind != "stream" and wire.is_dense(message.content):
        return _Answer(lost=True)
    return _Answer(wire.output(message, call.most), idle=wire.is_idle(message))
