"""A diffusers pipeline in its child process: started at need, one job at a time, started again when it died.

The child's side, and the form of what goes through the pipes: ``diffusers/child.py``.
"""

import asyncio
import contextlib
import itertools
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.subprocesses import process as children

_LOAD_S = 600.0
"""Gigabytes come from a disk that may be slow."""

_LINE_BYTES = 1 << 20
_CHILD = Path(__file__).with_name("child.py")


class Job(Struct, kw_only=True):
    """Pictures to be drawn. ``width`` 0: the pipeline's own size. ``effort``: how many times the usual steps."""

    kind: Literal["generate", "edit", "vary"]
    n: int
    prompt: str = ""
    width: int = 0
    height: int = 0
    effort: float = 1.0
    image: str = ""
    mask: str = ""
    """Paths of PNG files."""
    number: int = 0


class Drawn(Struct):
    """PNG files, and the prompt as far as it was read, where that was not to its end."""

    images: list[bytes]
    prompt: str | None


class _Refusal(Struct):
    message: str
    param: str | None
    code: str


class _Said(Struct):
    ready: bool = False
    error: str = ""
    image: int = 0
    done: bool = False
    prompt: str | None = None
    refused: _Refusal | None = None
    stopped: bool = False
    failed: str = ""

    @property
    def ends(self) -> bool:
        return self.done or self.stopped or self.refused is not None or bool(self.failed)


class PipelineProcess:
    """The child of one pipeline. ``python`` is an interpreter in whose environment diffusers is installed."""

    def __init__(self, name: str, folder: Path, *, python: str = sys.executable, steps: int = 0, guidance: float = -1):
        self._name = name
        self._command = (python, "-P", str(_CHILD), str(folder), str(steps), str(guidance))
        self._process: Process | None = None
        self._numbers = itertools.count(1)
        self._head: _Said | None = None
        self._rest: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def draw(self, job: Job) -> Drawn:
        """Have a job done; called by one at a time. Whoever stops waiting for it stops it at its next step.

        Errors: ``BadRequest`` for what this pipeline cannot do; ``ModelFailure``.
        """
        await self._ready()
        job.number = next(self._numbers)
        try:
            await self._order(msgspec.json.encode(job))
            return await self._drawn()
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            await self.close()
            text = f"The process of {self._name} ended in the middle of this request. It is started again."
            raise ModelFailure(text) from error
        except asyncio.CancelledError:
            self._rest = asyncio.create_task(self._stop(job.number))
            raise

    async def close(self) -> None:
        """End the child; what it was at fails."""
        process, self._process = self._process, None
        rest, self._rest, self._head = self._rest, None, None
        if rest is not None:
            rest.cancel()
            await asyncio.wait([rest])
        if process is not None:
            await children.end(process)

    async def _ready(self) -> None:
        if self._rest is not None:  # What is left of a job that nobody waited for.
            await asyncio.wait([self._rest])
            self._rest = None
        if self.pid is not None:
            return
        await self.close()
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, limit=_LINE_BYTES
            )
        except OSError as error:
            raise ModelFailure(f"{self._name} cannot be loaded: {error}", status=503) from error
        try:
            said = (await asyncio.wait_for(self._next(), _LOAD_S))[0]
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            raise ModelFailure(f"{self._name} cannot be loaded: its process did not start.", status=503) from error
        if said.error:
            raise ModelFailure(f"{self._name} cannot be loaded: {said.error[:1000]}", status=503)

    async def _order(self, line: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            raise ConnectionResetError
        self._process.stdin.write(line + b"\n")
        await self._process.stdin.drain()

    async def _next(self) -> tuple[_Said, bytes]:
        """What the child says next. Cut off in the middle it goes on where it was."""
        if self._process is None or self._process.stdout is None:
            raise ConnectionResetError
        if self._head is None:
            self._head = msgspec.json.decode(await self._process.stdout.readuntil(b"\n"), type=_Said)
        said = self._head
        data = await self._process.stdout.readexactly(said.image)
        self._head = None
        return said, data

    async def _drawn(self) -> Drawn:
        images = []
        while True:
            said, data = await self._next()
            if said.image:
                images.append(data)
            if said.refused is not None:
                raise BadRequest(said.refused.message, param=said.refused.param, code=said.refused.code)
            if said.failed:
                raise ModelFailure(f"{self._name} failed: {said.failed}", status=500)
            if said.ends:
                return Drawn(images, said.prompt)

    async def _stop(self, number: int) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._order(b'{"stop": %d}' % number)
            while not (await self._next())[0].ends:
                pass
