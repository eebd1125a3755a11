"""``everloom serve`` and ``everloom worker``: from the start to the last line."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from everloom.cli import CommandError, garbage
from everloom.cli.connection_limits import ConnectionLimits, raise_file_limit
from everloom.cli.operator import operator_origin
from everloom.cli.private import make_private
from everloom.cli.server import Stop, base_url, listen, serve
from everloom.cli.serving_child import Place
from everloom.config import Settings
from everloom.kit import log

METRICS_PORT = "--metrics-port"

STOP_SECONDS = 2.0
"""How long work in hand may go on once nobody is listening any more; the next worker takes up the rest."""

_logger = logging.getLogger(__name__)


def run_serve(settings: Settings, build: Callable[[Settings], Any] | None = None, place: Place | None = None) -> int:
    """Serve until a signal; the exit status. ``build`` makes another application of the settings than ours; ``place``
    is that of a process among several.
    """
    log.setup(settings.log_level, settings.log_format)
    if settings.processes > 1 and place is None:
        return _run_processes(settings)
    if not settings.worker and settings.sqlite_file:
        _logger.warning("without a worker, and on SQLite no other process is one: runs will stay queued")
    port = settings.port if place is None else place.port
    listener = listen(settings.host, port, shared=place is not None)
    return _run(_serve(settings, listener, build, place))


def _run_processes(settings: Settings) -> int:
    if settings.sqlite_file:
        raise CommandError(
            "several processes need PostgreSQL (EVERLOOM_DATABASE=postgresql://…); on SQLite one process serves"
        )
    from everloom.cli.processes import port_to_share, serve_by_processes

    with port_to_share(settings.host, settings.port) as holder:
        url = base_url(settings.host, holder)
        port = holder.getsockname()[1]
        return _run(serve_by_processes(settings.processes, port, lambda: _say_ready(settings, url)))


def run_worker(settings: Settings, metrics_port: int | None = None) -> int:
    """Work on runs until a signal; the exit status. With ``metrics_port``, be watched there meanwhile."""
    log.setup(settings.log_level, settings.log_format)
    if settings.sqlite_file:
        raise CommandError(
            "a worker of its own needs PostgreSQL (EVERLOOM_DATABASE=postgresql://…); "
            "on SQLite 'everloom serve' works on runs itself"
        )
    return _run(
        _work(settings, None if metrics_port is None else listen(settings.host, metrics_port, option=METRICS_PORT))
    )


def _run(main: Coroutine[Any, Any, int]) -> int:
    garbage.hold_off()
    import uvloop

    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def _serve(
    settings: Settings, listener: socket.socket, build: Callable[[Settings], Any] | None, place: Place | None
) -> int:
    stop = Stop()
    with listener:
        async with _Started(settings, stop, build) as app:
            if place is not None:
                place.watch()
            await _answer(app, settings, listener, stop, place)
    return 130 if stop.insisted else 0


async def _answer(
    app: Any, settings: Settings, listener: socket.socket, stop: Stop, place: Place | None = None
) -> None:
    from everloom.work.organization.establishing import first_start

    url = base_url(settings.host, listener)
    keys = await first_start(
        app.ports.database, api_key=settings.api_key, admin_key=settings.admin_key, origin=operator_origin()
    )
    if keys is not None:
        _say(f"Base URL:  {url}")
        if keys.api_key:
            _say(f"API key:   {keys.api_key}")
        if keys.admin_key:
            _say(f"Admin key: {keys.admin_key}")
        _say("Keys are shown this once; 'everloom keys create' makes more.")
    fetching: list[asyncio.Task[None]] = []

    def ready() -> None:
        if place is None:
            _say_ready(settings, url)
            _say_who_stands_in(settings)
        else:
            place.ready()
            if place.number:
                return  # The first has it to do.
        fetching.append(asyncio.create_task(_fetch_weights(settings)))

    limits = ConnectionLimits(
        per_address=settings.max_connections_per_address,
        head_seconds=settings.head_timeout,
        idle_seconds=settings.idle_timeout,
        least_rate=settings.least_rate,
    )
    try:
        await serve(app.asgi, listener, stop, ready, limits, app.leave)
    finally:
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)


def _say_ready(settings: Settings, url: str) -> None:
    """Where the console and the API are: the ready line last, since others wait for it."""
    if settings.console:
        _say(f"everloom: console on {url.removesuffix('/v1')}/console/")
    _say(f"everloom: ready on {url}")


def _say_who_stands_in(settings: Settings) -> None:
    from everloom.app.pulled import PulledModels

    if (told := PulledModels(settings).chats_for_others()) is not None:
        _say(f"everloom: {told}")


async def _fetch_weights(settings: Settings) -> None:
    from everloom.cli.weights import fetch_beside

    await fetch_beside(settings)


async def _work(settings: Settings, watched_at: socket.socket | None) -> int:
    stop = Stop()
    with watched_at or contextlib.nullcontext():
        async with _Started(settings, stop) as app:
            if watched_at is None:
                _say("everloom: worker ready")
                await stop.asked.wait()
            else:
                await _be_watched(app, settings, watched_at, stop)
    return 130 if stop.insisted else 0


async def _be_watched(app: Any, settings: Settings, listener: socket.socket, stop: Stop) -> None:
    from everloom.app.http import WATCHED, build_server

    metrics = f"{base_url(settings.host, listener).rpartition('/')[0]}/metrics"

    def ready() -> None:
        _say(f"everloom: metrics on {metrics}")
        _say("everloom: worker ready")

    watched = build_server(app.ports, WATCHED)
    try:
        await serve(watched, listener, stop, ready, option=METRICS_PORT)
    finally:
        await watched.close()


class _Started:
    """The application, started on entry and stopped on leaving; a signal meanwhile gives the start up."""

    def __init__(self, settings: Settings, stop: Stop, build: Callable[[Settings], Any] | None = None) -> None:
        self._settings = settings
        self._stop = stop
        self._build = build

    async def __aenter__(self) -> Any:
        from everloom.app import build

        self._stop.watch()
        if self._settings.data.exists() and not self._settings.data.is_dir():
            raise CommandError(f"cannot start: {self._settings.data} (EVERLOOM_DATA) is no folder")
        await asyncio.to_thread(make_private, self._settings)
        try:
            self._app = (self._build or build)(self._settings)
        except Exception as error:
            raise _cannot_start(error) from error
        start = asyncio.ensure_future(self._app.start())
        self._stop.then = start.cancel
        try:
            await start
        except asyncio.CancelledError:
            await self._give_up()
            raise CommandError("stopped before it was ready", status=0) from None
        except Exception as error:
            await self._give_up()
            raise _cannot_start(error) from error
        self._stop.then = lambda: None
        garbage.settle()
        return self._app

    async def __aexit__(self, *_: object) -> None:
        self._stop.then = self._force_soon
        self._force_soon()
        await self._app.stop(0 if self._stop.insisted else STOP_SECONDS)

    async def _give_up(self) -> None:
        try:
            await self._app.stop(0)
        except Exception:  # What never opened may not know how to close; the first error is the one to show.
            _logger.debug("stop after a failed start", exc_info=True)

    def _force_soon(self) -> None:
        """Leave for certain once somebody insists: whatever hangs then is taken up by the next start."""
        if self._stop.insisted:
            asyncio.get_running_loop().call_later(STOP_SECONDS, os._exit, 130)


def _cannot_start(error: Exception) -> CommandError:
    _logger.debug("start failed", exc_info=error)
    return CommandError(log.mask(f"cannot start: {str(error) or type(error).__name__}"))


def _say(line: str) -> None:
    print(line, flush=True)
