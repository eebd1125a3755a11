"""Serve an ASGI application over HTTP until told to stop, and let open answers end first."""

import asyncio
import contextlib
import errno
import itertools
import signal
import socket
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import uvicorn

from everloom.cli import CommandError
from everloom.cli.connection import HttpConnection
from everloom.cli.connection_limits import ConnectionLimits, Entrance

DRAIN_SECONDS = 20
"""How long open streams may go on after SIGTERM."""

PROBE_SECONDS = 30
"""After which a silent connection is probed."""

BACKLOG = 2048

_TICK_SECONDS = 0.1
_TICKS_A_LOOK = 10


def listen(host: str, port: int, *, shared: bool = False, option: str = "--port") -> socket.socket:
    """A socket bound to the address (not yet accepting), or a ``CommandError`` that says why not. ``shared``: others of
    this user may listen there too. ``option`` is what names the port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise CommandError(f"no such address: {host} ({error.strerror})") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _keep_alive(listener)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise CommandError(_why_not(error, host, port, option)) from error
    listener.setblocking(False)
    return listener


def _keep_alive(listener: socket.socket) -> None:
    """Have the system probe silent connections, which inherit this: a stream may say nothing for minutes, and what
    stands between forgets such ones.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), PROBE_SECONDS)


def base_url(host: str, listener: socket.socket) -> str:
    """The URL a client is given, with the port that the socket really has."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}/v1"


def _why_not(error: OSError, host: str, port: int, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken; name another with {option} (0 takes a free one)"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} is not ours to take; ports below 1024 belong to root"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {host}"
    return f"cannot listen on {host} port {port}: {error.strerror}"


class Stop:
    """The signals that end a process: the first SIGTERM or SIGINT asks, a second SIGINT insists."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = False
        self.then: Callable[[], object] = lambda: None
        """Called at every signal."""

    def watch(self) -> None:
        """Take the signals over, for the running loop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGINT, self._on, signal.SIGINT)

    def _on(self, number: signal.Signals) -> None:
        self.insisted = self.insisted or (self.asked.is_set() and number == signal.SIGINT)
        self.asked.set()
        self.then()


class _Server(uvicorn.Server):
    """uvicorn, told when to stop by us, and telling us when it accepts."""

    def __init__(self, config: uvicorn.Config, entrance: Entrance, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._entrance = entrance
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    async def watch(self) -> None:
        """End the connections of clients that are too slow, or that have left without a word, till cancelled."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        for tick in itertools.count(1):
            await asyncio.sleep(_TICK_SECONDS)
            for half_closed in [*self._entrance.half_closed]:
                half_closed.look_whether_gone(_TICK_SECONDS)
            if tick % _TICKS_A_LOOK == 0:
                # However late we are ourselves: what nobody could have read is not the clients' fault.
                passed, last = min(loop.time() - last, 2 * _TICKS_A_LOOK * _TICK_SECONDS), loop.time()
                for connection in [*self.server_state.connections]:
                    if isinstance(connection, HttpConnection):
                        connection.look(passed)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # The signals are ``Stop``'s.


async def serve(
    app: Any,
    listener: socket.socket,
    stop: Stop,
    ready: Callable[[], None],
    limits: ConnectionLimits | None = None,
    leave: Callable[[], None] = lambda: None,
    option: str = "--port",
) -> None:
    """Answer requests from ``listener`` until ``stop``, then wait for open answers ``DRAIN_SECONDS`` at most.

    ``ready`` is called once connections are accepted, ``leave`` when they are no more. ``option`` is what
    names the port. Closes the socket.
    """
    entrance = Entrance(limits or ConnectionLimits())
    server = _Server(_config(app, entrance), entrance, ready)

    def on_signal() -> None:
        server.should_exit = True
        server.force_exit = stop.insisted
        leave()

    stop.then = on_signal
    if stop.asked.is_set():
        on_signal()
    host, port = listener.getsockname()[:2]
    watch = asyncio.create_task(server.watch())
    try:
        await server.serve(sockets=[listener])
    except OSError as error:
        raise CommandError(_why_not(error, host, port, option)) from error
    finally:
        watch.cancel()
        listener.close()


def _config(app: Any, entrance: Entrance) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=partial(HttpConnection, entrance),  # type: ignore[arg-type]  # whatever makes one does
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
