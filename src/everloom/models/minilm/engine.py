"""all-MiniLM-L6-v2 in its child process: started at need, asked over its pipes, started again when it died.

Requests share the batches that the child computes at once (``minilm/batching.py``).
"""

import asyncio
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from everloom.kit.errors import ModelFailure
from everloom.models.embedding import Input
from everloom.models.minilm.batching import Batch, BatchQueue, EmbeddingRequest
from everloom.models.subprocesses.process import ChildLost, ChildProcess

CONTEXT = 512
"""Tokens of the longest text, the model's two marks among them; it was trained on 256."""

DIMENSIONS = 384

_LONGEST_TEXT = 100_000
"""Characters that are read at all; no text of so many has so few tokens."""

_LOAD_S = 60.0
_FRAME_BYTES = 1 << 20


class Embeddings(Struct):
    """The vectors of texts in their order, as little-endian 32-bit floats, and the tokens of all the texts."""

    vectors: list[bytes]
    tokens: int


class _Said(Struct):
    """What the child says of a batch: as its module describes."""

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
    """It went wrong with this batch."""


class _Died(_Failed):
    def __init__(self) -> None:
        super().__init__("The embedding model's process ended in the middle of this request. It is started again.")


_OF_THIS_BATCH = (_Failed, UnicodeEncodeError)
"""With others it may go right. (Half a surrogate pair cannot be sent to the child.)"""


class MiniLMEngine:
    """The child. ``threads`` compute, one batch each (default: one a processor); no more are in hand at once."""

    def __init__(self, safetensors: Path, tokenizer: Path, *, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1
        files = (str(safetensors), str(tokenizer))
        self._child: ChildProcess[_Ready] = ChildProcess(
            (sys.executable, "-m", "everloom.models.minilm.child", *files, str(self._threads)),
            msgspec.msgpack.Decoder(_Ready).decode,
            load_s=_LOAD_S,
            longest=_FRAME_BYTES,
        )
        self._starting = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[_Said]] = {}
        self._numbers = itertools.count()
        self._queue = BatchQueue()
        self._workers: set[asyncio.Task[None]] = set()
        self._in_hand = 0

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._child.pid

    async def embed(self, inputs: Sequence[Input]) -> Embeddings:
        """The vectors of the texts, in batches that all requests share. Cancel it and its texts wait no longer.

        Errors: ``TooLong``, ``UnknownTokens``, ``ModelFailure`` when the child cannot be loaded or dies of it.
        """
        for text in inputs:
            if len(text) > _LONGEST_TEXT:
                raise TooLong(len(text) // 4 if isinstance(text, str) else len(text))
        request = EmbeddingRequest(inputs, asyncio.get_running_loop().create_future())
        self._queue.add(request)
        for _ in range(min(self._threads - len(self._workers), len(self._queue))):
            self._workers.add(asyncio.create_task(self._work()))
        try:
            await request.done
        finally:
            self._queue.drop(request)
        return Embeddings(request.vectors, request.tokens)

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
        self._queue.fail(_Died())
        await self._end()

    async def _end(self) -> None:
        reader, self._reader = self._reader, None
        await self._child.end()
        if reader is not None:
            await asyncio.wait([reader])

    async def _start(self) -> None:
        try:
            answer = await self._child.ready()
        except ChildLost as error:
            raise ModelFailure("The embedding model's process did not start.", status=503) from error
        if answer.error:
            raise ModelFailure(f"The embedding model cannot be loaded: {answer.error}", status=503)
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """Takes what the child says to whom it concerns, until it ends."""
        try:
            while True:
                number, said = await self._child.hear(_answer.decode)
                waiting = self._waiting.pop(number, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(said)
        except ChildLost:
            pass
        finally:  # without a wait: a loop that is torn down without our ``close`` must come to its end
            waiting_now, self._waiting = self._waiting, {}
            for future in waiting_now.values():
                if not future.done():
                    future.set_exception(_Died())

    async def _work(self) -> None:
        """Has batches computed one after the other until nothing waits."""
        try:
            while batch := self._queue.next_batch(self._threads - self._in_hand):
                self._in_hand += 1
                try:
                    await self._serve(batch)
                finally:
                    self._in_hand -= 1
        finally:  # in the step that saw nothing wait: who comes next must find the place free
            self._workers.discard(_current())

    async def _serve(self, batch: Batch) -> None:
        """A batch's vectors to those who asked. One that failed is tried once more, each request's texts by themselves:
        the child may have died of something before it, and nobody's request shall fail of another's text.
        """
        try:
            try:
                await self._answer(batch)
            except _OF_THIS_BATCH:
                for part in _by_request(batch):
                    try:
                        await self._answer(part)
                    except _OF_THIS_BATCH as error:
                        _fail(part, error)
        except asyncio.CancelledError:
            _fail(batch, _Died())
            raise
        except Exception as error:  # such as that the child cannot be started
            _fail(batch, error)

    async def _answer(self, batch: Batch) -> None:
        said = await self._once([request.inputs[place] for request, place in batch])
        if said.failed:
            raise _Failed(f"The embedding model failed: {said.failed}", status=500)
        for (request, place), tokens, vector in zip(batch, said.tokens, said.vectors, strict=True):
            if not tokens:
                request.fail(UnknownTokens())
            elif not vector:
                request.fail(TooLong(tokens))
            else:
                request.take(place, vector, tokens)

    async def _once(self, batch: list[Input]) -> _Said:
        await self.ready()
        number = next(self._numbers)
        waiting: asyncio.Future[_Said] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        data = msgspec.msgpack.encode((number, batch))
        try:
            await self._child.tell(data)
            return await waiting
        except ChildLost:
            raise _Died from None
        finally:
            self._waiting.pop(number, None)


_answer = msgspec.msgpack.Decoder(tuple[int, _Said])


def _by_request(batch: Batch) -> list[Batch]:
    """The texts of each request that still waits for them."""
    parts: dict[int, Batch] = {}
    for request, place in batch:
        if not request.done.done():
            parts.setdefault(id(request), []).append((request, place))
    return list(parts.values())


def _fail(batch: Batch, error: Exception) -> None:
    for request, _ in batch:
        request.fail(error)


def _current() -> "asyncio.Task[None]":
    task = asyncio.current_task()
    assert task is not None
    return task
