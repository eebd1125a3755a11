"""``serve --processes N``: a parent that serves nothing itself, and the children that share its port.

Each child is the same command again, with its place (``serving_child.py``) behind the other arguments. The kernel
spreads connections over their sockets (SO_REUSEPORT). The parent starts another for one that dies, passes signals on,
and waits for all.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import tempfile
from collections.abc import Callable

from everloom.cli import CommandError
from everloom.cli.server import Stop, listen
from everloom.cli.serving_child import ALIVE, READY, Place
from everloom.kit.backoff import Backoff

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 30.0
"""Before a child is started anew that has died again and again."""

BEAT_SECONDS = 20.0
MOST_MISSED = 3
"""How often a child is asked for a sign of life, and how many it may owe: then it hangs, whatever it hangs in, and the
connections that the kernel gives it with it. It is killed, and another one is started.
"""

STOP_SECONDS = 60.0
INSISTED_SECONDS = 10.0
"""How long a child may take to end, several times what it gives itself, and how long where somebody insists. One that
is still there hangs, and is killed: else it would keep the parent, and then the port, for ever.
"""


class _Child:
    """One of the processes, started anew as long as nobody asks it to stop."""

    def __init__(self, number: int, port: int, metrics: str, stop: Stop) -> None:
        self.ready = asyncio.Event()
        self._number = number
        self._port = port
        self._metrics = metrics
        self._stop = stop
        self._process: asyncio.subprocess.Process | None = None

    async def run_once(self) -> int:
        """Start a process, and wait for its end; its exit status."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            place = Place(self._port, self._number, theirs.fileno(), self._metrics)
            # A session of its own: a terminal's interrupt comes to the parent alone, which passes it on.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, *sys.orig_argv[1:], "--place", place.told()),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            if self._stop.asked.is_set():
                self.pass_on(signal.SIGTERM)
            theirs.close()
            ours.setblocking(False)
            hearing = asyncio.create_task(self._hear(ours))
            try:
                return await self._process.wait()
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def keep(self) -> None:
        """Have it run until the stop, whatever it dies of."""
        backoff = Backoff(longest=LONGEST_PAUSE_SECONDS)
        while True:
            self.ready.clear()
            try:
                ended = f"ended (status {await self.run_once()})"
            except OSError as error:  # No room for a process, for one: the others serve on meanwhile.
                ended = f"could not be started ({error})"
            if self._stop.asked.is_set():
                return
            log.error("serving process %d %s; another one is started", self._number, ended)
            if self.ready.is_set():
                backoff.renew()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.asked.wait(), backoff.pause())
                return

    def pass_on(self, number: int) -> None:
        """Send the process a signal, if it is there."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _hear(self, line: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if await loop.sock_recv(line, len(READY)) != READY:
            return
        self.ready.set()
        missed = 0
        while missed < MOST_MISSED:
            with contextlib.suppress(OSError):
                await loop.sock_sendall(line, ALIVE)
            try:
                if not await asyncio.wait_for(loop.sock_recv(line, 64), BEAT_SECONDS):
                    return
            except TimeoutError:
                missed += 1
            except OSError:
                return  # It has ended, as who waits for it will see.
            else:
                missed = 0
                await asyncio.sleep(BEAT_SECONDS)
        log.error(
            "serving process %d has given no sign of life for %g s, and is killed", self._number, missed * BEAT_SECONDS
        )
        self.pass_on(signal.SIGKILL)


async def serve_by_processes(count: int, port: int, ready: Callable[[], None]) -> int:
    """Have ``count`` processes serve ``port`` until a signal; the exit status. ``ready`` is called once, when all do.

    The first starts alone: it makes what there has to be (tables, keys), and where it cannot start none can.
    """
    stop = Stop()
    stop.watch()
    with tempfile.TemporaryDirectory(prefix="everloom-metrics-") as metrics:
        children = [_Child(number, port, metrics, stop) for number in range(count)]
        stop.then = lambda: _pass_on(children, stop)
        first = asyncio.create_task(children[0].run_once())
        status = await _first_is_ready(children[0], first, stop)
        if status is not None:
            return status
        keeping = [asyncio.create_task(_goes_on(children[0], first, stop))]
        keeping += [asyncio.create_task(child.keep()) for child in children[1:]]
        told = asyncio.create_task(_all_ready(children, ready))
        await asyncio.gather(*keeping)
        told.cancel()
        await asyncio.gather(told, return_exceptions=True)
    return 130 if stop.insisted else 0


def _pass_on(children: list[_Child], stop: Stop) -> None:
    patience = INSISTED_SECONDS if stop.insisted else STOP_SECONDS
    for child in children:
        child.pass_on(signal.SIGINT if stop.insisted else signal.SIGTERM)
        asyncio.get_running_loop().call_later(patience, child.pass_on, signal.SIGKILL)


async def _first_is_ready(child: _Child, running: "asyncio.Task[int]", stop: Stop) -> int | None:
    """None once it is; where it ended before, the exit status that comes of it."""
    ready = asyncio.create_task(child.ready.wait())
    await asyncio.wait({ready, running}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if child.ready.is_set():
        return None
    status = await running
    if status >= 0:
        return status
    return 0 if stop.asked.is_set() else 128 - status  # By a signal: ours, or as a shell would tell.


async def _goes_on(child: _Child, running: "asyncio.Task[int]", stop: Stop) -> None:
    status = await running
    if not stop.asked.is_set():
        log.error("serving process 0 ended (status %d); another one is started", status)
        await child.keep()


async def _all_ready(children: list[_Child], ready: Callable[[], None]) -> None:
    for child in children:
        await child.ready.wait()
    ready()


def port_to_share(host: str, port: int) -> socket.socket:
    """A socket that holds the port for the children and accepts nothing. Errors: ``CommandError``, where it is taken.

    With SO_REUSEPORT alone another server of the same user's would be joined, not found in the way.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise CommandError("this system cannot share a port among processes (SO_REUSEPORT)")
    listen(host, port).close()
    return listen(host, port, shared=True)
