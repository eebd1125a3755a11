"""A bus across processes: PostgreSQL's NOTIFY carries topics, many in one notification.

A NOTIFY per call breaks down at a few hundred a second (they queue for one lock of the whole
server), so each process sends at most one batch every ``_PAUSE`` seconds, whatever happens in it.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # asyncpg ships no types

from everloom.bus.base import Watch
from everloom.bus.memory import MemoryBus
from everloom.kit import log

_CHANNEL = "everloom_bus"
_NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
_PAUSE = 0.04
"""Seconds between two batches of one process."""
_PAYLOAD = 7_999
"""Bytes in one notification; the server's limit is below 8000."""
_TOPIC = 1_000
"""Bytes in one topic."""
_CHECK = 15.0
"""Seconds without traffic after which the connection is tried, since a dead peer may say nothing."""
_PATIENCE = 10.0
"""Seconds that one statement or one connect may take."""

Connection = Any
"""An ``asyncpg.Connection``."""

_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class PostgresBus:
    """The port's ``Bus`` over one connection, which is made again when it is lost.

    Watchers in the same process are woken without the round trip. After a reconnect every watcher
    is woken once, because calls may have been missed meanwhile.
    """

    def __init__(self, url: str) -> None:
        """``url``: ``postgresql://…``; any database that all processes share."""
        self._url = url
        self._local = MemoryBus()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._name = secrets.token_hex(4)
        self._pending: dict[str, None] = {}
        self._work = asyncio.Event()
        self._connection: Connection = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect; raises what asyncpg raises when the server cannot be reached."""
        await self._local.open()
        self._loop = asyncio.get_running_loop()
        self._connection = await self._connect()
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Send what still waits to be sent, and disconnect. Closing twice is allowed."""
        self._loop = None
        await self._local.close()
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        with contextlib.suppress(*_LOST):
            await self._send()
        await self._disconnect()

    def wake(self, topic: str) -> None:
        """Wake the watchers of ``topic`` everywhere; may be called from any thread.

        Raises ValueError for a topic of over 1000 bytes or with a line break.
        """
        if "\n" in topic or len(topic.encode()) > _TOPIC:
            raise ValueError(f"not a topic: {topic[:80]!r}")
        self._local.wake(topic)
        if self._loop:
            self._loop.call_soon_threadsafe(self._note, topic)

    def watch(self, topic: str) -> AbstractContextManager[Watch]:
        """Watch from the moment the context is entered."""
        return self._local.watch(topic)

    def _note(self, topic: str) -> None:
        self._pending[topic] = None
        self._work.set()

    async def _connect(self) -> Connection:
        connection = await asyncpg.connect(self._url, timeout=_PATIENCE, command_timeout=_PATIENCE)
        # A lost connection must end the wait for work.
        connection.add_termination_listener(lambda _: self._work.set())
        await connection.add_listener(_CHANNEL, self._hear)
        return connection

    async def _disconnect(self) -> None:
        # A connection that cannot say goodbye in order is dropped by asyncpg.
        with contextlib.suppress(*_LOST):
            await self._connection.close(timeout=2)

    async def _keep(self) -> None:
        """Send batches for ever, connecting again whenever that fails."""
        while True:
            try:
                await self._send_batches()
            except Exception as problem:
                # Whatever it was, the bus must go on; a new connection is the cure for all of it.
                log.outage("the bus", repr(problem))
            await self._disconnect()
            await self._reconnect()
            self._local.wake_all()

    async def _reconnect(self) -> None:
        delay = 0.1
        while True:
            await asyncio.sleep(delay)
            try:
                self._connection = await self._connect()
                return
            except Exception as problem:
                log.outage("the bus", repr(problem))
                delay = min(delay * 2, 5.0)

    async def _send_batches(self) -> None:
        """Send until the connection is lost: then return, or raise what was met."""
        while not self._connection.is_closed():
            await self._send()
            await asyncio.sleep(_PAUSE)
            try:
                async with asyncio.timeout(_CHECK):
                    await self._work.wait()
            except TimeoutError:
                await self._connection.execute("SELECT 1")

    async def _send(self) -> None:
        self._work.clear()
        topics, self._pending = self._pending, {}
        if not topics:
            return
        payloads = list(pack(self._name, topics))
        try:
            await self._connection.execute(_NOTIFY, _CHANNEL, payloads)
        except BaseException:
            self._pending = topics | self._pending
            self._work.set()
            raise

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        sender, *topics = str(payload).split("\n")
        if sender != self._name:
            for topic in topics:
                self._local.wake(topic)


def pack(sender: str, topics: Iterable[str]) -> Iterable[str]:
    """Notifications' payloads: the sender and as many topics as fit, a line each."""
    lines, size = [sender], len(sender.encode())
    for topic in topics:
        more = len(topic.encode()) + 1
        if size + more > _PAYLOAD:
            yield "\n".join(lines)
            lines, size = [sender], len(sender.encode())
        lines.append(topic)
        size += more
    yield "\n".join(lines)
