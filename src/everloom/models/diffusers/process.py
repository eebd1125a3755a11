"""A diffusers pipeline in its child process: started at need, one job at a time, started again when it died.

The child's side, and the form of what goes through the pipes: ``diffusers/child.py``.
"""

import asyncio
import contextlib
import itertools
import sys
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.subprocesses.process import ChildLost, ChildProcess

_LOAD_S = 600.0
"""Gigabytes come from a disk that may be slow."""

_FRAME_BYTES = 1 << 26
"""Four times what the largest picture has that is drawn here, uncompressed."""

_CHILD = Path(__file__).with_name("child.py")
_IMAGE = b"i"
"""The byte before a picture, as in the child."""


class DrawingJob(Struct, kw_only=True):
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


class DrawnImages(Struct):
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
        self._child: ChildProcess[_Said] = ChildProcess(
            (python, "-P", str(_CHILD), str(folder), str(steps), str(guidance)),
            msgspec.json.Decoder(_Said).decode,
            load_s=_LOAD_S,
            longest=_FRAME_BYTES,
        )
        self._numbers = itertools.count(1)
        self._rest: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._child.pid

    @property
    def pids(self) -> list[int]:
        """The child, if there is one."""
        return [] if self.pid is None else [self.pid]

    async def draw(self, job: DrawingJob) -> DrawnImages:
        """Have a job done; called by one at a time. Whoever stops waiting for it stops it at its next step.

        Errors: ``BadRequest`` for what this pipeline cannot do; ``ModelFailure``.
        """
        await self._ready()
        job.number = next(self._numbers)
        try:
            await self._child.tell(msgspec.json.encode(job))
            return await self._drawn(job.n)
        except ChildLost as error:
            await self.close()
            text = f"The process of {self._name} ended in the middle of this request. It is started again."
            raise ModelFailure(text) from error
        except asyncio.CancelledError:
            self._rest = asyncio.create_task(self._stop(job.number))
            raise

    async def close(self) -> None:
        """End the child; what it was at fails."""
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.cancel()
            await asyncio.wait([rest])
        await self._child.end()

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
            said = await self._child.ready()
        except OSError as error:
            raise ModelFailure(f"{self._name} cannot be loaded: {error}", status=503) from error
        except ChildLost as error:
            raise ModelFailure(f"{self._name} cannot be loaded: its process did not start.", status=503) from error
        if said.error:
            raise ModelFailure(f"{self._name} cannot be loaded: {said.error[:1000]}", status=503)

    async def _drawn(self, count: int) -> DrawnImages:
        images: list[bytes] = []
        while True:
            said = await self._child.hear(_said)
            if isinstance(said, bytes):
                images.append(said)
                if len(images) > count:
                    raise ChildLost("draws more than was asked for")
                continue
            if said.refused is not None:
                raise BadRequest(said.refused.message, param=said.refused.param, code=said.refused.code)
            if said.failed:
                raise ModelFailure(f"{self._name} failed: {said.failed}", status=500)
            if said.ends:
                return DrawnImages(images, said.prompt)

    async def _stop(self, number: int) -> None:
        with contextlib.suppress(ChildLost):
            await self._child.tell(b'{"stop": %d}' % number)
            while isinstance(said := await self._child.hear(_said), bytes) or not said.ends:
                pass


def _said(frame: bytes) -> bytes | _Said:
    """A picture, or what there is to say beside pictures."""
    return frame[1:] if frame[:1] == _IMAGE else msgspec.json.decode(frame, type=_Said)
