"""Child processes that transcribe: started at need, asked over their pipes one file at a time, ended when they idle.

A file may take its reader down or keep it busy for ever; then the child is ended, its request fails, and the next one
gets a fresh child. Whoever leaves is waited for by nobody: the child is asked to stop, and ended if it does not.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

import msgspec

from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.subprocesses.pool import ChildPool, PoolFull
from everloom.models.subprocesses.process import ChildLost, ChildProcess, ChildSilent, bare_environment
from everloom.models.transcription.request import Said, TranscriptionJob
from everloom.models.transcription.subtitles import Segment

LONGEST_QUEUE = 32
"""Files that may wait for a child; whoever comes then is sent away, since their turn is minutes off."""

IDLE_S = 300.0
"""How long a child that nobody asks is kept, with its model."""

_LOAD_S = 120.0
_DECODE_S = 150.0
"""More than the child itself gives a file (``audio_decoding.DECODING_S``)."""


class TranscriberPool:
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
        self._silence_s = silence_s
        self._stop_s = stop_s
        command = (sys.executable, "-m", f"everloom.models.transcription.{module}", *arguments)
        self._pool = ChildPool(
            lambda: _Transcriber(command),
            most=most,
            longest_queue=LONGEST_QUEUE,
            room=room or nullcontext,
            idle_s=IDLE_S if room is None else None,
        )

    @property
    def pids(self) -> list[int]:
        """The processes of the children there are."""
        return self._pool.pids

    async def transcribe(self, job: TranscriptionJob) -> "ActiveTranscription":
        """Have a file transcribed, when its turn has come. Returns once it is decoded and its language is known.

        Errors: 400 for a file that cannot be decoded, or that took its child down; ``ModelFailure`` for a model that
        cannot be loaded, and 503 when too many wait.
        """
        try:
            child = await self._pool.take()
        except PoolFull:
            text = f"The model `{self._model}` is overloaded with other requests. Please try again later."
            raise ModelFailure(text, status=503, code="overloaded") from None
        try:
            return await self._begin(child, job)
        except BaseException:
            self.release(child)
            raise

    async def unload(self) -> None:
        """End the children that nobody uses."""
        await self._pool.unload()

    async def close(self) -> None:
        """End every child; what they were at fails."""
        await self._pool.close()

    async def _begin(self, child: "_Transcriber", job: TranscriptionJob) -> "ActiveTranscription":
        try:
            ready = await child.process.ready()
        except ChildLost as error:
            await child.end()
            raise ModelFailure(f"The process of the model `{self._model}` did not start.", status=503) from error
        if ready.error:
            await child.end()
            raise ModelFailure(f"The model `{self._model}` cannot be loaded: {ready.error}", status=503)
        try:
            await child.tell(job)
            decoded = await self._next(child, _DECODE_S)
        except ChildLost:
            decoded = Said()
        if decoded.seconds is None:
            await child.end()
            text = "The audio file could not be decoded: it is damaged, or needs more time or memory than it may have."
            raise BadRequest(text, param="file", code="invalid_value")
        begun = await self.said(child)
        return ActiveTranscription(self, child, decoded.seconds, begun.language)

    async def said(self, child: "_Transcriber") -> Said:
        """What the child says next. Errors: 400 for what it refuses, ``ModelFailure`` when it fails or hangs."""
        try:
            return await self._next(child, self._silence_s)
        except ChildLost as error:
            await child.end()
            what = "has said nothing for too long" if isinstance(error, ChildSilent) else "ended"
            text = f"The process of the model `{self._model}` {what} in the middle of this file. It is started again."
            raise ModelFailure(text, status=500) from None

    async def _next(self, child: "_Transcriber", seconds: float) -> Said:
        said = await child.said(seconds)
        if said.refused is not None:
            message, code, param = said.refused
            raise BadRequest(message, param=param, code=code)
        if said.failed:
            raise ModelFailure(f"The model `{self._model}` failed: {said.failed}", status=500)
        return said

    def release(self, child: "_Transcriber") -> None:
        """A file has been left, at its end or before it."""
        self._pool.later(self._leave(child))

    async def _leave(self, child: "_Transcriber") -> None:
        fit = False
        try:
            fit = await child.stopped(self._stop_s)
        finally:
            await self._pool.put_back(child, fit=fit)


class ActiveTranscription:
    """A file that is being transcribed: ``seconds`` of audio in a ``language`` of two letters. Must be closed."""

    def __init__(self, pool: TranscriberPool, child: "_Transcriber", seconds: float, language: str) -> None:
        self.seconds = seconds
        self.language = language
        self._pool = pool
        self._child: _Transcriber | None = child

    async def segments(self) -> AsyncIterator[Segment]:
        """What is said, as it is understood. Errors: as ``TranscriberPool.said``."""
        assert self._child is not None
        while not (said := await self._pool.said(self._child)).done:
            if said.segment is not None:
                yield said.segment

    async def close(self) -> None:
        """Let go of the child, whether or not the file was heard to its end."""
        child, self._child = self._child, None
        if child is not None:
            self._pool.release(child)


class _Transcriber:
    """One process, and whether it is at a file. Between two files nothing of it is unread."""

    def __init__(self, command: Sequence[str]) -> None:
        # pocketsphinx reads memory that it has not written: with zeros in it, the same file gives the same words.
        environment = bare_environment(MALLOC_PERTURB_="255")
        self.process: ChildProcess[Said] = ChildProcess(
            command, _said.decode, load_s=_LOAD_S, environment=environment, quiet=True
        )
        self._at_work = False

    @property
    def pid(self) -> int | None:
        return self.process.pid

    async def tell(self, job: TranscriptionJob | None) -> None:
        """A file, or that nobody waits for it any more."""
        self._at_work = True
        await self.process.tell(msgspec.msgpack.encode(job))

    async def said(self, seconds: float | None = None) -> Said:
        """What it says next."""
        said = await self.process.hear(_said.decode, seconds)
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
        except (ChildLost, TimeoutError):
            return False
        return self.pid is not None

    async def end(self, *, at_once: bool = False) -> None:
        """End it, at once where it is at work."""
        at_work, self._at_work = self._at_work, False
        await self.process.end(at_once=at_once or at_work)


_said = msgspec.msgpack.Decoder(Said)
