"""A server that a command starts for itself, on the folder that it names, and ends when it is done."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from everloom.cli import CommandError
from everloom.cli.tables import printable

T = TypeVar("T")

START_SECONDS = 60
_STOP_SECONDS = 30
_ENDS = (signal.SIGTERM, signal.SIGHUP)
_TOLD = 4096
"""Bytes at the end of its log that are looked at where it does not start."""


class OwnServer:
    """``everloom serve`` with these arguments on a free port of this machine.

    It leads a process group of its own: Ctrl-C is for the command alone, and all that it has started can be ended with
    it at once. What it logs goes to the file ``log``. The start is blocking, and so are all ends.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str] | None, *, log: Path) -> None:
        self._arguments = arguments
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self.said: list[str] = []
        """What it printed before it was ready: its first start prints keys."""

    @property
    def pid(self) -> int:
        """Its process's id, which is its group's."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> str:
        """Its base URL, once it is ready; at a second start the same again. Errors: ``CommandError``."""
        command = [sys.executable, "-m", "everloom", "serve", "--host", "127.0.0.1", "--port", str(self._port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                env=None if self._environment is None else dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        too_late = threading.Timer(START_SECONDS, self._process.kill)
        too_late.start()
        try:
            url = self._ready(self._process.stdout)
        finally:
            too_late.cancel()
        if not url:
            self.stop()
            raise CommandError(self._why_not())
        self._port = int(url.removesuffix("/v1").rpartition(":")[2])
        return url

    def kill(self) -> None:
        """End it and all that it has started as a power cut would: SIGKILL to the whole process group."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """Have it end what it has in hand, and leave."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        self._wait()

    def _ready(self, output: IO[str]) -> str:
        """The URL that it says it is ready on; empty where it ends before."""
        for line in output:
            head, found, url = line.strip().partition("ready on ")
            if found and head == "everloom: ":
                return url
            self.said.append(line.rstrip())
        return ""

    def _wait(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _why_not(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _TOLD))
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
        why = lines[-1].removeprefix("everloom: ") if lines else "it said nothing"
        return f"no server could be started: {printable(why)}"


@contextlib.contextmanager
def ending_by_signals() -> Iterator[None]:
    """Have SIGTERM and a terminal that closes end this process by way of its ``finally``: so servers of its own end."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = {each: signal.signal(each, leave) for each in _ENDS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, where what ends the process cancels the work as Ctrl-C does, so that it can end what it began:
    an exception out of a signal would leave a loop in the middle of anything. Errors: ``SystemExit`` behind the work.
    """
    ended: list[int] = []

    async def held() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def leave(number: int) -> None:
            ended.append(number)
            task.cancel()

        before = {each: signal.getsignal(each) for each in _ENDS}
        for each in _ENDS:
            loop.add_signal_handler(each, leave, each)
        try:
            return await work
        finally:
            for each, handler in before.items():
                loop.remove_signal_handler(each)
                signal.signal(each, handler)

    try:
        return asyncio.run(held())
    finally:
        if ended:
            sys.exit(128 + ended[0])
