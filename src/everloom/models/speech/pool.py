"""Child processes that speak: started at need, one text at a time each, started again when they died.

The child's side, and the form of what goes through the pipes: ``speech/child.py``.
"""

import asyncio
import itertools
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import msgspec
from msgspec.structs import replace

from everloom.kit.errors import ApiError, ModelFailure
from everloom.models.speech.child import SOUND, End, Order, Ready, StopSpeaking
from everloom.models.subprocesses.pool import ChildPool
from everloom.models.subprocesses.process import ChildLost, ChildProcess, ChildSilent, bare_environment

_LOAD_S = 60.0
_SILENCE_S = 60.0
"""How long a child may take for its next block of sound."""

_STOP_S = 5.0
_FRAME_BYTES = 1 << 22
"""A child's blocks of sound have some kilobytes; what an encoder holds back may come at once."""

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


class SpeakerPool:
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
        command = (sys.executable, *arguments)
        self._pool = ChildPool(lambda: _Speaker(name, command, install), most=most, room=room)
        self._working: set[Speech] = set()
        self._ready: Ready | None = None
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The children that there are."""
        return self._pool.pids

    async def known(self) -> Ready:
        """What the engine says of itself, which takes a child the first time. Errors: ``ModelFailure``."""
        if self._ready is None:
            await self._pool.put_back(await self._speaker())
        assert self._ready is not None
        return self._ready

    async def say(self, order: Order, content_type: str, model: str) -> Speech:
        """Return with the first sound. The order's number does not matter. Errors: ``ModelFailure``."""
        for attempt in itertools.count(1):
            speech = Speech(content_type, model)
            child = await self._speaker()
            self._working.add(speech)
            self._pool.later(self._converse(child, order, speech))
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
        for speech in self._working:
            await speech.close()
        await self._pool.close()

    async def unload(self) -> None:
        """End the children while nobody uses them; the next text starts one again."""
        await self._pool.unload()

    async def _speaker(self) -> "_Speaker":
        """A child that is ready, to be put back."""
        child = await self._pool.take()
        try:
            self._ready = await child.ready()
        except BaseException:
            await self._pool.put_back(child, fit=False)
            raise
        return child

    async def _converse(self, child: "_Speaker", order: Order, speech: Speech) -> None:
        """One order from its start to its end; then the child is free for the next."""
        healthy = False
        try:
            healthy = await child.speak(order, speech)
        except ApiError as error:
            speech.end(error)
        finally:
            self._working.discard(speech)
            speech.end(None if healthy else _Died(self._name))
            await self._pool.put_back(child, fit=healthy)


class _Speaker:
    """One process."""

    def __init__(self, name: str, command: Sequence[str], install: str) -> None:
        self._name = name
        self._install = install
        # Nothing of our environment: it holds keys, and what reads the texts of strangers has crashed on some.
        self._process: ChildProcess[Ready] = ChildProcess(
            command,
            msgspec.msgpack.Decoder(Ready).decode,
            load_s=_LOAD_S,
            environment=bare_environment(),
            longest=_FRAME_BYTES,
        )
        self._numbers = itertools.count()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    async def ready(self) -> Ready:
        """What its engine says of itself, loaded if it is not. Errors: ``ModelFailure``."""
        try:
            ready = await self._process.ready()
        except ChildLost as error:
            raise ModelFailure(f"The process of {self._name} did not start.", status=503) from error
        if ready.missing:
            text = f"{self._name} needs the package {ready.missing}, which is not installed: {self._install}."
            raise ModelFailure(text, status=503)
        if ready.error:
            raise ModelFailure(f"{self._name} cannot be loaded: {ready.error}", status=503)
        return ready

    async def speak(self, order: Order, speech: Speech) -> bool:
        """Whether the child is fit for another order. ``ModelFailure`` when it is not fit, or failed at this one."""
        order = replace(order, number=next(self._numbers))
        speech.stop = lambda: self._send(StopSpeaking(order.number))
        self._send(order)
        if speech.left:
            speech.stop()
        try:
            while isinstance(said := await self._process.hear(_said, _STOP_S if speech.left else _SILENCE_S), bytes):
                if not speech.left:
                    await speech.take(said)
        except ChildSilent as error:
            raise ModelFailure(f"{self._name} has made no sound for {_SILENCE_S:g} seconds.", status=504) from error
        except ChildLost as error:
            raise _Died(self._name) from error
        if said.failed:
            speech.end(ModelFailure(f"{self._name} failed: {said.failed}", status=500))
        return True

    async def end(self, *, at_once: bool = False) -> None:
        """End it."""
        await self._process.end(at_once=at_once)

    def _send(self, message: Order | StopSpeaking) -> None:
        self._process.send(msgspec.msgpack.encode(message))


def _said(frame: bytes) -> bytes | End:
    """A block of sound, or the end of an order."""
    return frame[1:] if frame[:1] == SOUND else _end.decode(frame[1:])


_end = msgspec.msgpack.Decoder(End)
