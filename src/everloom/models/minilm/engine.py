"""all-MiniLM-L6-v2 in its child process: started at need, asked over its pipes, started again when it died.

Requests share the lots that the child computes at once (``minilm/batching.py``).
"""

import asyncio
import itertools
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from everloom.kit.errors import ModelFailure
from everloom.models.embedding import Input
from everloom.models.minilm.batching import Lot, Request, Turns
from everloom.models.subprocesses import process as children
from everloom.models.subprocesses.framing import framed

CONTEXT = 512
"""Tokens of the longest text, the model's two marks among them; it was trained on 256."""

DIMENSIONS = 384

_LONGEST_TEXT = 100_000
"""Characters that are read at all; no text of so many has so few tokens."""

_LOAD_S = 60.0


class Vectors(Struct):
    """The vectors of texts in their order, as little-endian 32-bit floats, and the tokens of all the texts."""

    vectors: list[bytes]
    tokens: int


class _Said(Struct):
    """What the child says of a lot: as its module describes."""

    tokens: list[int] = []
    vectors: list[bytes] = []
    failed: str = ""


class _Ready(Struct):
    error: str = ""


class TooLong(Exception):
    """A text of ``tokens`` tokens, more than the model reads."""

    def __init__(self, tokens: int) -> None:
        super().__init__(tokens)
        self.tokens = tokens


class UnknownTokens(Exception):
    """Token ids that the model does not have."""


class _Failed(ModelFailure):
    """It went wrong with this lot."""


class _Died(_Failed):
    def __init__(self) -> None:
        super().__init__("The embedding model's process ended in the middle of this request. It is started again.")


_OF_THIS_LOT = (_Failed, UnicodeEncodeError)
"""With others it may go right. (Half a surrogate pair cannot be sent to the child.)"""


class MiniLMEngine:
    """The child. ``threads`` compute, one lot each (default: one a processor). No more lots are in hand at once."""

    def __init__(self, safetensors: Path, tokenizer: Path, *, threads: int | None = None) -> None:
        self._files = (str(safetensors), str(tokenizer))
        self._threads = threads or os.cpu_count() or 1
        self._starting = asyncio.Lock()
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[_Said]] = {}
        self._numbers = itertools.count()
        self._turns = Turns()
        self._workers: set[asyncio.Task[None]] = set()
        self._in_hand = 0

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def embed(self, inputs: Sequence[Input]) -> Vectors:
        """The vectors of the texts, in lots that all requests share. Cancel it and its texts wait no longer.

        Errors: ``TooLong``, ``UnknownTokens``, ``ModelFailure`` when the child cannot be loaded or dies of it.
        """
        for text in inputs:
            if len(text) > _LONGEST_TEXT:
                raise TooLong(len(text) // 4 if isinstance(text, str) else len(text))
        request = Request(inputs, asyncio.get_running_loop().create_future())
        self._turns.add(request)
        for _ in range(min(self._threads - len(self._workers), len(self._turns))):
            self._workers.add(asyncio.create_task(self._work()))
        try:
            await request.done
        finally:
            self._turns.drop(request)
        return Vectors(request.vectors, request.tokens)

    async def ready(self) -> None:
        """Load the model unless it is loaded. ``ModelFailure`` when it cannot be."""
        async with self._starting:
            if self.pid is None or self._reader is None or self._reader.done():
                await self._end()
                try:
                    await self._start()
                except BaseException:
                    await self._end()
                    raise

    async def close(self) -> None:
        """End the child; what waits or is under way fails."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)
        self._workers.clear()  # one that was ended before its first step could not do it
        self._turns.fail(_Died())
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        reader, self._reader = self._reader, None
        if process is not None:
            await children.end(process)
        if reader is not None:
            await asyncio.wait([reader])

    async def _start(self) -> None:
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "everloom.models.minilm.child", *self._files, str(self._threads)),
            stdin=PIPE,
            stdout=PIPE,
        )
        try:
            frame = await asyncio.wait_for(children.next_frame(process), _LOAD_S)
            answer = msgspec.msgpack.decode(frame, type=_Ready)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            raise ModelFailure("The embedding model's process did not start.", status=503) from error
        if answer.error:
            raise ModelFailure(f"The embedding model cannot be loaded: {answer.error}", status=503)
        self._reader = asyncio.create_task(self._read(process))

    async def _read(self, process: Process) -> None:
        """Takes what the child says to whom it concerns, until it ends."""
        try:
            while True:
                number, said = _answer.decode(await children.next_frame(process))
                waiting = self._waiting.pop(number, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(said)
        except (asyncio.IncompleteReadError, ConnectionError):
            await process.wait()
        finally:  # without a wait: a loop that is torn down without our ``close`` must come to its end
            waiting_now, self._waiting = self._waiting, {}
            for future in waiting_now.values():
                if not future.done():
                    future.set_exception(_Died())

    async def _work(self) -> None:
        """Has lots computed one after the other until nothing waits."""
        try:
            while lot := self._turns.lot(self._threads - self._in_hand):
                self._in_hand += 1
                try:
                    await self._serve(lot)
                finally:
                    self._in_hand -= 1
        finally:  # in the step that saw nothing wait: who comes next must find the place free
            self._workers.discard(_current())

    async def _serve(self, lot: Lot) -> None:
        """A lot's vectors to those who asked. One that failed is tried once more, each request's texts by themselves:
        the child may have died of something before it, and nobody's request shall fail of another's text.
        """
        try:
            try:
                await self._answer(lot)
            except _OF_THIS_LOT:
                for part in _by_request(lot):
                    try:
                        await self._answer(part)
                    except _OF_THIS_LOT as error:
                        _fail(part, error)
        except asyncio.CancelledError:
            _fail(lot, _Died())
            raise
        except Exception as error:  # such as that the child cannot be started
            _fail(lot, error)

    async def _answer(self, lot: Lot) -> None:
        said = await self._once([request.inputs[place] for request, place in lot])
        if said.failed:
            raise _Failed(f"The embedding model failed: {said.failed}", status=500)
        for (request, place), tokens, vector in zip(lot, said.tokens, said.vectors, strict=True):
            if not tokens:
                request.fail(UnknownTokens())
            elif not vector:
                request.fail(TooLong(tokens))
            else:
                request.take(place, vector, tokens)

    async def _once(self, lot: list[Input]) -> _Said:
        await self.ready()
        process = self._process
        if process is None or process.stdin is None:
            raise _Died
        number = next(self._numbers)
        waiting: asyncio.Future[_Said] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        data = msgspec.msgpack.encode((number, lot))
        try:
            process.stdin.write(framed(data))
            await process.stdin.drain()
            return await waiting
        except ConnectionError:
            raise _Died from None
        finally:
            self._waiting.pop(number, None)


_answer = msgspec.msgpack.Decoder(tuple[int, _Said])


def _by_request(lot: Lot) -> list[Lot]:
    """The texts of each request that still waits for them."""
    parts: dict[int, Lot] = {}
    for request, place in lot:
        if not request.done.done():
            parts.setdefault(id(request), []).append((request, place))
    return list(parts.values())


def _fail(lot: Lot, error: Exception) -> None:
    for request, _ in lot:
        request.fail(error)


def _current() -> "asyncio.Task[None]":
    task = asyncio.current_task()
    assert task is not None
    return task
