"""One child process in which a model runs: started at need, heard, told, ended, started again when it has died.

What it says is taken for hostile, since what it reads is: bounded before it is read, and a child that says what cannot
be read is ended. It ends by itself when its input does, so none survives the server, however that goes.
"""

import asyncio
import logging
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import everloom
from everloom.kit.errors import NO_JSON
from everloom.models.subprocesses.framing import LENGTH, LONGEST, FrameTooLong, framed, length_of

T = TypeVar("T")
Ready = TypeVar("Ready")

EXIT_S = 5.0
"""How long a child may take to end by itself once its input has."""

_LINGER_S = 1.0
"""How long a child may live that has closed its output: its death takes a moment to be known."""

_log = logging.getLogger(__name__)


class ChildLost(Exception):
    """The child is of no use any more; the message says what has become of it."""


class ChildSilent(ChildLost):
    """It has said nothing for too long. It still runs."""


def bare_environment(**more: str) -> dict[str, str]:
    """What a child of our own code needs, and nothing of the server's environment, which holds keys."""
    source = str(Path(everloom.__file__).parents[1])
    return {"PYTHONPATH": source, "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1", **more}


class ChildProcess(Generic[Ready]):
    """The child that ``command`` starts. Its first frame, read by ``decode`` within ``load_s`` seconds, says that it is
    ready, or why not.

    ``environment``: None for the server's own. ``longest``: bytes of what it may say at once. ``quiet``: what it writes
    to standard error is for nobody. One coroutine at a time may wait for what it says.
    """

    def __init__(
        self,
        command: Sequence[str],
        decode: Callable[[bytes], Ready],
        *,
        load_s: float,
        environment: Mapping[str, str] | None = None,
        longest: int = LONGEST,
        quiet: bool = False,
    ) -> None:
        self._command = command
        self._decode = decode
        self._load_s = load_s
        self._environment = environment
        self._longest = longest
        self._stderr = DEVNULL if quiet else None
        self._process: Process | None = None
        self._ready: Ready | None = None
        self._length: int | None = None
        """Of the frame whose head has been read."""
        self._ending = False

    @property
    def pid(self) -> int | None:
        """The process id while there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def ready(self, first: bytes = b"") -> Ready:
        """What it said when it was ready, starting it first if there is none. ``first`` is what a new one is told.

        Whoever stops waiting leaves it loading, and the next one waits on. Errors: ``OSError`` for a program that is
        not there, ``ChildSilent``, ``ChildLost``.
        """
        if self.pid is None:
            await self.end()
            await self._spawn()
            if first:
                await self.tell(first)
        if self._ready is None:
            self._ready = await self.hear(self._decode, self._load_s)
        return self._ready

    async def _spawn(self) -> None:
        self._ready = self._length = None
        self._ending = False
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._stderr,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for the server
        )

    async def receive(self, seconds: float | None = None) -> bytes:
        """Its next frame. Whoever stops waiting loses nothing: the next one goes on from there.

        Errors: ``ChildSilent`` after so many seconds; ``ChildLost`` when it has ended, or said what is no frame of
        ours: then it is ended.
        """
        if self._process is None or self._process.stdout is None:
            raise ChildLost("is not there")
        stdout = self._process.stdout
        try:
            async with asyncio.timeout(seconds):
                if self._length is None:
                    self._length = length_of(await stdout.readexactly(LENGTH.size), self._longest)
                data = await stdout.readexactly(self._length)
        except TimeoutError:
            raise ChildSilent(f"has said nothing for {seconds:g} seconds") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ChildLost(await self._died()) from None
        except FrameTooLong as error:
            raise ChildLost(await self._unreadable(repr(error))) from None
        self._length = None
        return data

    async def hear(self, decode: Callable[[bytes], T], seconds: float | None = None) -> T:
        """As ``receive``, and read by ``decode``."""
        data = await self.receive(seconds)
        try:
            return decode(data)
        except NO_JSON as error:
            raise ChildLost(await self._unreadable(repr(error))) from None

    def send(self, data: bytes) -> None:
        """Tell it something. One that has ended hears nothing."""
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(framed(data))

    async def tell(self, data: bytes) -> None:
        """Tell it something, and wait while it has too much to read. Errors: ``ChildLost``."""
        if self._process is None or self._process.stdin is None:
            raise ChildLost("is not there")
        self.send(data)
        try:
            await self._process.stdin.drain()
        except ConnectionError:
            raise ChildLost(await self._died()) from None

    async def gone(self, seconds: float) -> bool:
        """Whether it has ended, or does so within so many seconds."""
        process = self._process  # which somebody else may forget meanwhile
        if process is None:
            return True
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), seconds)
        return process.returncode is not None

    async def end(self, *, at_once: bool = False) -> None:
        """End it: by the end of its input, by force when that does not do, or ``at_once``."""
        process, self._ending = self._process, True
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if at_once or not await self.gone(EXIT_S):
            _kill(process)
        await _drained(process)
        await process.wait()
        if self._process is process:
            self._process = self._ready = None

    async def _died(self) -> str:
        """What has become of one that says no more."""
        process = self._process
        if process is None:
            return "was ended"
        expected = self._ending
        lingers = not await self.gone(_LINGER_S)
        await self.end(at_once=True)
        status = process.returncode or 0
        reason = f"ended with status {status}" if status >= 0 else f"was ended by {_signal(-status)}"
        if lingers:
            reason = "had closed its output"
        if not expected:
            _log.warning("the child process %s (pid %d) %s", self._name(), process.pid, reason)
        return reason

    async def _unreadable(self, why: str) -> str:
        pid = self.pid
        await self.end(at_once=True)
        _log.error("the child process %s (pid %s) said what cannot be read, and was ended: %s", self._name(), pid, why)
        return "said what cannot be read"

    def _name(self) -> str:
        return " ".join(self._command[1:])


def _kill(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()


async def _drained(process: Process) -> None:
    """Pass over what it has said that nobody will read: asyncio tells of no end before that has been taken."""
    with suppress(RuntimeError, ConnectionError, TimeoutError):  # somebody reads it, or a child of its own holds it
        async with asyncio.timeout(EXIT_S):
            while process.stdout is not None and await process.stdout.read(LONGEST):
                pass


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
