"""Child processes that transcribe: started at need, asked over their pipes one file at a time, ended when they idle.

A file may take its reader down or keep it busy for ever; then the child is ended, its request fails, and the next one
gets a fresh child. Whoever leaves is waited for by nobody: the child is asked to stop, and ended if it does not.
"""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

import everloom
from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.subprocesses import process as children
from everloom.models.subprocesses.framing import framed
from everloom.models.transcription.request import Job, Said
from everloom.models.transcription.subtitles import Segment

LONGEST_QUEUE = 32
"""Files that may wait for a child; whoever comes then is sent away, since their turn is minutes off."""

IDLE_S = 300.0
"""How long a child that nobody asks is kept, with its model."""

_LOAD_S = 120.0
_DECODE_S = 150.0
"""More than the child itself gives a file (``audio_decoding.DECODING_S``)."""


_ENVIRONMENT = {
    # Nothing of our own, which holds keys.
    "PYTHONPATH": str(Path(everloom.__file__).parents[1]),
    "PYTHONSAFEPATH": "1",
    "PYTHONUTF8": "1",
    # pocketsphinx reads memory that it has not written: with zeros in it, the same file gives the same words.
    "MALLOC_PERTURB_": "255",
}


class _Died(Exception):
    """The child's output ended."""


class Listeners:
    """The children of one model, ``most`` at once: ``python -m everloom.models.transcription.<module> <arguments>``.

    ``silence_s``: how long a child may work on the next words before it counts as hanging. ``stop_s``: how long it may
    take to leave a file that nobody waits for; ended, it has to load its model again. ``room``: what is held while a
    child is at work, by a model that shares the machine's memory with others; then it is kept until ``unload``.
    """

    def __init__(
        self,
        model: str,
        module: str,
        arguments: Sequence[str] = (),
        *,
        most: int,
        silence_s: float,
        stop_s: float,
        room: Callable[[], AbstractAsyncContextManager[object]] | None = None,
    ) -> None:
        self._model = model
        self._command = (sys.executable, "-m", f"everloom.models.transcription.{module}", *arguments)
        self._silence_s = silence_s
        self._stop_s = stop_s
        self._room = room
        self._free = asyncio.Semaphore(most)
        self._waiting = 0
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None

    @property
    def pids(self) -> list[int]:
        """The processes of the children there are."""
        return [child.pid for child in (*self._idle, *self._busy) if child.pid is not None]

    async def hear(self, job: Job) -> "Heard":
        """Have a file transcribed, when its turn has come. Returns once it is decoded and its language is known.

        Errors: 400 for a file that cannot be decoded, or that took its child down; ``ModelFailure`` for a model that
        cannot be loaded, and 503 when too many wait.
        """
        if self._waiting >= LONGEST_QUEUE:
            text = f"The model `{self._model}` is overloaded with other requests. Please try again later."
            raise ModelFailure(text, status=503, code="overloaded")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            held = AsyncExitStack()
            if self._room is not None:
                await held.enter_async_context(self._room())
        except BaseException:
            self._free.release()
            raise
        child = self._take()
        child.held = held
        try:
            return await self._begin(child, job)
        except BaseException:
            self._later(self._leave(child))
            raise

    async def unload(self) -> None:
        """End the children that nobody uses."""
        idle, self._idle = self._idle, []
        for child in idle:
            await child.end()

    async def close(self) -> None:
        """End every child; what they were at fails."""
        if self._reaper is not None:
            self._reaper.cancel()
        for child in (*self._idle, *self._busy):
            await child.end()
        self._idle.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _begin(self, child: "_Child", job: Job) -> "Heard":
        await child.start(self._model)
        try:
            await child.tell(job)
            decoded = await self._next(child, _DECODE_S)
            if decoded.seconds is None:
                raise _Died
        except (_Died, TimeoutError):
            await child.end()
            text = "The audio file could not be decoded: it is damaged, or needs more time or memory than it may have."
            raise BadRequest(text, param="file", code="invalid_value") from None
        begun = await self.said(child)
        return Heard(self, child, decoded.seconds, begun.language)

    async def said(self, child: "_Child") -> Said:
        """What the child says next. Errors: 400 for what it refuses, ``ModelFailure`` when it fails or hangs."""
        try:
            return await self._next(child, self._silence_s)
        except (_Died, TimeoutError) as error:
            await child.end()
            what = "has said nothing for too long" if isinstance(error, TimeoutError) else "ended"
            text = f"The process of the model `{self._model}` {what} in the middle of this file. It is started again."
            raise ModelFailure(text, status=500) from None

    async def _next(self, child: "_Child", seconds: float) -> Said:
        async with asyncio.timeout(seconds):
            said = await child.said()
        if said.refused is not None:
            message, code, param = said.refused
            raise BadRequest(message, param=param, code=code)
        if said.failed:
            raise ModelFailure(f"The model `{self._model}` failed: {said.failed}", status=500)
        return said

    def _take(self) -> "_Child":
        while self._idle:
            child = self._idle.pop()
            if child.pid is not None:
                self._busy.add(child)
                return child
        child = _Child(self._command)
        self._busy.add(child)
        return child

    def release(self, child: "_Child") -> None:
        """A file has been left, at its end or before it."""
        self._later(self._leave(child))

    async def _leave(self, child: "_Child") -> None:
        """Make the child free for the next file, or end it."""
        try:
            if not await child.stopped(self._stop_s):
                await child.end()
        finally:
            self._busy.discard(child)
            if child.pid is not None:
                self._idle.append(child)
            self._free.release()
            await child.held.aclose()
        if self._reaper is not None:
            self._reaper.cancel()
        if self._room is None:
            self._reaper = asyncio.get_running_loop().call_later(IDLE_S, lambda: self._later(self.unload()))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Beside the request, which may have been cancelled and waits for nothing any more."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Heard:
    """A file that is being transcribed: ``seconds`` of audio in a ``language`` of two letters. Must be closed."""

    def __init__(self, listeners: Listeners, child: "_Child", seconds: float, language: str) -> None:
        self.seconds = seconds
        self.language = language
        self._listeners = listeners
        self._child: _Child | None = child

    async def segments(self) -> AsyncIterator[Segment]:
        """What is said, as it is understood. Errors: as ``Listeners.said``."""
        assert self._child is not None
        while not (said := await self._listeners.said(self._child)).done:
            assert said.segment is not None
            yield said.segment

    async def close(self) -> None:
        """Let go of the child, whether or not the file was heard to its end."""
        child, self._child = self._child, None
        if child is not None:
            self._listeners.release(child)


class _Child:
    """One process. Between two files nothing of it is unread."""

    def __init__(self, command: Sequence[str]) -> None:
        self.held = AsyncExitStack()
        """What is given back when it has left its file."""
        self._command = command
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._heard: asyncio.Queue[Said | None] = asyncio.Queue()
        self._loaded = False
        self._at_work = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self, model: str) -> None:
        """Load the model, unless that has been done."""
        if self.pid is None:
            await self._spawn()
        if self._loaded:
            return
        try:
            async with asyncio.timeout(_LOAD_S):
                said = await self.said()
        except (_Died, TimeoutError) as error:
            await self.end()
            raise ModelFailure(f"The process of the model `{model}` did not start.", status=503) from error
        if said.error:
            await self.end()
            raise ModelFailure(f"The model `{model}` cannot be loaded: {said.error}", status=503)
        self._loaded = True

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,  # Ctrl-C is for the server
            env=_ENVIRONMENT,
        )
        self._heard = asyncio.Queue()
        self._loaded = False
        self._reader = asyncio.create_task(self._read(self._process, self._heard))

    async def _read(self, process: Process, heard: "asyncio.Queue[Said | None]") -> None:
        """Whole frames into the queue, so that nobody who leaves can leave half of one behind; None at the end."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, msgspec.MsgspecError):
            while True:
                heard.put_nowait(_said.decode(await children.next_frame(process)))
        heard.put_nowait(None)

    async def tell(self, job: Job | None) -> None:
        """A file, or that nobody waits for it any more."""
        if self._process is None or self._process.stdin is None:
            raise _Died
        data = msgspec.msgpack.encode(job)
        self._at_work = True
        try:
            self._process.stdin.write(framed(data))
            await self._process.stdin.drain()
        except ConnectionError:
            raise _Died from None

    async def said(self) -> Said:
        """What it says next."""
        said = await self._heard.get()
        if said is None:
            self._heard.put_nowait(None)
            raise _Died
        if said.done or said.stopped or said.failed or said.refused:
            self._at_work = False
        return said

    async def stopped(self, seconds: float) -> bool:
        """Whether it is free within so many seconds; asked to leave its file if it has one."""
        try:
            async with asyncio.timeout(seconds):
                if self._at_work:
                    await self.tell(None)
                while self._at_work:
                    await self.said()
        except (_Died, TimeoutError):
            return False
        return self.pid is not None

    async def end(self) -> None:
        """End it, at once where it is at work."""
        process, self._process = self._process, None
        reader, self._reader = self._reader, None
        at_work, self._at_work = self._at_work, False
        if process is None:
            return
        await children.end(process, at_once=at_work)
        if reader is not None:
            await asyncio.wait([reader])


_said = msgspec.msgpack.Decoder(Said)
