"""Child processes that speak: started at need, one text at a time each, started again when they died.

The child's side, and the form of what goes through the pipes: ``speech/child.py``.
"""

import asyncio
import itertools
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

import everloom
from everloom.kit.errors import ApiError, ModelFailure
from everloom.models.speech.child import SOUND, End, Order, Ready, Stop
from everloom.models.subprocesses import process as children
from everloom.models.subprocesses.framing import framed

_LOAD_S = 60.0
_SILENCE_S = 60.0
"""How long a child may take for its next block of sound."""

_STOP_S = 5.0

_HELD_BYTES = 8 * 1024 * 1024
"""Sound that waits for a slow client: a quarter of an hour of mp3, three minutes of pcm. Behind it the child waits."""

_STALLED_S = 60.0
"""How long a child waits for a client that takes nothing; others may want it."""


class _Died(ModelFailure):
    def __init__(self, name: str) -> None:
        super().__init__(f"The process of {name} ended in the middle of this request. It is started again.")


class Speech:
    """Sound on its way from a child to a client: the ``Answer`` of createSpeech.

    The child makes it as fast as it can and is free for the next text, however slowly the client listens.
    """

    def __init__(self, content_type: str, model: str) -> None:
        self.content_type = content_type
        self.model = model
        self.stop: Callable[[], None] = lambda: None
        """Tells the child; set once there is one."""
        self._blocks: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._made: Callable[[], None] = lambda: None
        self._failure: ApiError | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self.left = False

    async def begun(self) -> None:
        """Return once there is sound. Raises what kept it from coming."""
        await self._news.wait()
        if self._failure is not None and not self._blocks:
            raise self._failure

    async def blocks(self) -> AsyncIterator[bytes]:
        """The sound as it is made. ``ModelFailure`` when the child fails in the middle of it."""
        while True:
            await self._news.wait()
            while self._blocks:
                block = self._blocks.popleft()
                self._held -= len(block)
                self._room.set()
                yield block
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return
            self._news.clear()

    def when_made(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called when the child is done with it, now if it is."""
        self._made = tell
        if self._ended:
            tell()

    async def close(self) -> None:
        """Let go; the child stops within a tenth of a second of sound."""
        if not self.left:
            self.left = True
            self._room.set()
            if not self._ended:
                self.stop()

    async def take(self, block: bytes) -> None:
        """Keep a block for the client; wait while too many wait for it."""
        self._blocks.append(block)
        self._held += len(block)
        self._news.set()
        while self._held > _HELD_BYTES and not self.left:
            self._room.clear()
            try:
                await asyncio.wait_for(self._room.wait(), _STALLED_S)
            except TimeoutError:
                text = f"The client has taken nothing of the speech for {_STALLED_S:g} seconds."
                await self.close()
                self.end(ModelFailure(text, status=504))

    def end(self, failure: ApiError | None = None) -> None:
        """No more sound comes. The first reason counts."""
        if not self._ended:
            self._ended, self._failure = True, failure
            self._made()
        self._news.set()


class Speakers:
    """Up to ``most`` children that run ``arguments`` with this Python; ``name`` in messages. Texts take turns.

    ``install`` is said where a package is missing. ``room`` is held while a child is in use.
    """

    def __init__(
        self,
        name: str,
        *arguments: str,
        most: int,
        install: str,
        room: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext,
    ) -> None:
        self._name = name
        self._command = (sys.executable, *arguments)
        self._install = install
        self._room = room
        self._free = asyncio.Semaphore(most)
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._working: dict[asyncio.Task[None], Speech] = {}
        self._ready: Ready | None = None
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The children that there are."""
        return [child.pid for child in self._children if child.alive]

    async def known(self) -> Ready:
        """What the engine says of itself, which takes a child the first time. Errors: ``ModelFailure``."""
        if self._ready is None:
            async with self._room(), self._free:
                self._idle.append(await self._child())
        assert self._ready is not None
        return self._ready

    async def say(self, order: Order, content_type: str, model: str) -> Speech:
        """Return with the first sound. The order's number does not matter. Errors: ``ModelFailure``."""
        for attempt in itertools.count(1):
            speech = Speech(content_type, model)
            async with AsyncExitStack() as entering:
                await entering.enter_async_context(self._room())
                await entering.enter_async_context(self._free)
                child = await self._child()
                task = asyncio.create_task(self._converse(child, order, speech, entering.pop_all()))
            self._working[task] = speech
            task.add_done_callback(self._working.pop)
            try:
                await speech.begun()
            except _Died:
                if attempt > 1 or self._closed:
                    raise
                continue  # of something before it, perhaps: once more with a new child
            except BaseException:
                await speech.close()
                raise
            return speech
        raise AssertionError("itertools.count has no end")

    async def close(self) -> None:
        """End the children; what they were at fails."""
        self._closed = True
        for speech in self._working.values():
            await speech.close()
        await self.unload()
        if self._working:
            await asyncio.wait(self._working)

    async def unload(self) -> None:
        """End the children while nobody uses them; the next text starts one again."""
        self._idle.clear()
        children, self._children = self._children, set()
        await asyncio.gather(*(child.end() for child in children))

    async def _child(self) -> "_Child":
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            await self._drop(child)
        child = _Child(self._name)
        self._children.add(child)
        try:
            self._ready = await child.start(self._command, self._install)
        except BaseException:
            await self._drop(child)
            raise
        return child

    async def _drop(self, child: "_Child") -> None:
        self._children.discard(child)
        await child.end(kill=True)

    async def _converse(self, child: "_Child", order: Order, speech: Speech, held: AsyncExitStack) -> None:
        """One order from its start to its end; then the child is free for the next."""
        healthy = False
        async with held:
            try:
                healthy = await child.speak(order, speech)
            except ApiError as error:
                speech.end(error)
            finally:
                speech.end(None if healthy else _Died(self._name))
                if healthy:
                    self._idle.append(child)
                else:
                    await self._drop(child)


class _Child:
    """One process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: Process | None = None
        self._numbers = itertools.count()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, command: Sequence[str], install: str) -> Ready:
        # Nothing of our environment: it holds keys, and what reads the texts of strangers has crashed on some.
        environment = {"PYTHONPATH": str(Path(everloom.__file__).parents[1]), "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}
        self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment)
        try:
            ready = msgspec.msgpack.decode(await self._frame(_LOAD_S), type=Ready)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            raise ModelFailure(f"The process of {self._name} did not start.", status=503) from error
        if ready.missing:
            text = f"{self._name} needs the package {ready.missing}, which is not installed: {install}."
            raise ModelFailure(text, status=503)
        if ready.error:
            raise ModelFailure(f"{self._name} cannot be loaded: {ready.error}", status=503)
        return ready

    async def speak(self, order: Order, speech: Speech) -> bool:
        """Whether the child is fit for another order. ``ModelFailure`` when it is not fit, or failed at this one."""
        order = replace(order, number=next(self._numbers))
        speech.stop = lambda: self._send(Stop(order.number))
        self._send(order)
        try:
            while (data := await self._frame(_STOP_S if speech.left else _SILENCE_S))[:1] == SOUND:
                if not speech.left:
                    await speech.take(data[1:])
        except TimeoutError as error:
            raise ModelFailure(f"{self._name} has made no sound for {_SILENCE_S:g} seconds.", status=504) from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise _Died(self._name) from error
        if failed := msgspec.msgpack.decode(data[1:], type=End).failed:
            speech.end(ModelFailure(f"{self._name} failed: {failed}", status=500))
        return True

    async def end(self, *, kill: bool = False) -> None:
        if self._process is not None:
            await children.end(self._process, at_once=kill)

    def _send(self, message: Order | Stop) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(framed(msgspec.msgpack.encode(message)))

    async def _frame(self, seconds: float) -> bytes:
        assert self._process is not None
        async with asyncio.timeout(seconds):
            return await children.next_frame(self._process)
