"""all-MiniLM-L6-v2 in its child process: started at need, asked over its pipes, started again when it died."""

import asyncio
import itertools
import os
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from everloom.kit.errors import ModelFailure

CONTEXT = 512
"""Tokens of the longest text, the model's two marks among them; it was trained on 256."""

DIMENSIONS = 384

_LOT_CHARACTERS = 2000
_LOT_TEXTS = 16
"""What is asked for at once, about 500 tokens: a search waits for the lots before it, so they are short."""

_LOAD_S = 60.0
_EXIT_S = 5.0

Input = str | list[int]


class Vectors(Struct):
    """The vectors of texts in their order, as little-endian 32-bit floats, and the tokens of all the texts."""

    vectors: list[bytes]
    tokens: int


class _Said(Struct):
    """What the child says of a lot: vectors and tokens, or what was wrong."""

    vectors: list[bytes] = []
    tokens: int = 0
    too_long: int = 0
    unknown: bool = False
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


class _Died(ModelFailure):
    def __init__(self) -> None:
        super().__init__("The embedding model's process ended in the middle of this request. It is started again.")


class MiniLMEngine:
    """The child. ``threads`` compute, one lot each (default: one a processor)."""

    def __init__(self, safetensors: Path, tokenizer: Path, *, threads: int | None = None) -> None:
        self._files = (str(safetensors), str(tokenizer))
        self._threads = threads or os.cpu_count() or 1
        self._starting = asyncio.Lock()
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[_Said]] = {}
        self._numbers = itertools.count()

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def embed(self, inputs: Sequence[Input]) -> Vectors:
        """The vectors of the texts. No more lots are in hand at once than threads to work on them, so that requests
        take turns. Errors: ``TooLong``, ``UnknownTokens``, ``ModelFailure`` when the child dies of it.
        """
        lots = _lots(inputs)
        said: list[_Said] = [_Said()] * len(lots)
        left = iter(range(len(lots)))

        async def work() -> None:
            for place in left:
                said[place] = await self._ask(lots[place])

        workers = [asyncio.create_task(work()) for _ in range(min(self._threads, len(lots)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        return Vectors([vector for lot in said for vector in lot.vectors], sum(lot.tokens for lot in said))

    async def ready(self) -> None:
        """Load the model unless it is loaded. ``ModelFailure`` when it cannot be."""
        async with self._starting:
            if self.pid is None or self._reader is None or self._reader.done():
                await self.close()
                try:
                    await self._start()
                except BaseException:
                    await self.close()
                    raise

    async def close(self) -> None:
        """End the child; what it was at fails."""
        process, self._process = self._process, None
        reader, self._reader = self._reader, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _EXIT_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        if reader is not None:
            await asyncio.wait([reader])

    async def _start(self) -> None:
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "everloom.models.minilm_child", *self._files, str(self._threads)),
            stdin=PIPE,
            stdout=PIPE,
        )
        try:
            frame = await asyncio.wait_for(_frame(process), _LOAD_S)
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
                number, said = _answer.decode(await _frame(process))
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

    async def _ask(self, lot: list[Input]) -> _Said:
        """One lot's answer; asked once more when the child died of something before it."""
        try:
            said = await self._once(lot)
        except _Died:
            said = await self._once(lot)
        if said.too_long:
            raise TooLong(said.too_long)
        if said.unknown:
            raise UnknownTokens
        if said.failed:
            raise ModelFailure(f"The embedding model failed: {said.failed}", status=500)
        return said

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
            process.stdin.write(struct.pack("<I", len(data)) + data)
            await process.stdin.drain()
            return await waiting
        except ConnectionError:
            raise _Died from None
        finally:
            self._waiting.pop(number, None)


_answer = msgspec.msgpack.Decoder(tuple[int, _Said])


async def _frame(process: Process) -> bytes:
    assert process.stdout is not None
    (length,) = struct.unpack("<I", await process.stdout.readexactly(4))
    return await process.stdout.readexactly(length)


def _lots(inputs: Sequence[Input]) -> list[list[Input]]:
    lots: list[list[Input]] = [[]]
    size = 0
    for value in inputs:
        weight = len(value) if isinstance(value, str) else 4 * len(value)
        if lots[-1] and (size + weight > _LOT_CHARACTERS or len(lots[-1]) >= _LOT_TEXTS):
            lots.append([])
            size = 0
        lots[-1].append(value)
        size += weight
    return lots
