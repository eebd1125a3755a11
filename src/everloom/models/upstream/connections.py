"""Kept connections to one upstream. ``docs/decisions/upstream-client.md`` says why no library's client does this."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

import aiohappyeyeballs

from everloom.models.upstream.connection import Connection, Unconnected, Unheard, lines
from everloom.models.upstream.response import Response

_CLOSING_SECONDS = 0.25
"""Within which a kept connection that ends without a word was being closed as it was used again, so that the request is
sent over another. Behind it somebody may have worked on it.
"""

KEPT_SECONDS = 30.0
"""How long a connection that nobody uses is kept."""

_SECOND_ADDRESS_SECONDS = 0.25
"""After which the next address of a name is tried beside the first (RFC 8305)."""

_IN_PATHS = "/%:@!$&'()*+,;=~-._"


class Destination(NamedTuple):
    """Where a server is, and what every request to it says."""

    host: str
    port: int
    encrypted: bool
    path: str
    """What stands before the path of each operation."""
    head: bytes
    """Header lines."""


def destination_of(base_url: str, headers: Mapping[str, str]) -> Destination:
    """The server that a base URL means. ``ValueError`` where it is none."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{base_url} is no URL of a server")
    encrypted = parts.scheme == "https"
    usual = 443 if encrypted else 80
    host, port = parts.hostname.encode("idna").decode() if ":" not in parts.hostname else parts.hostname, parts.port
    shown = f"[{host}]" if ":" in host else host
    said = {"host": shown if port in (None, usual) else f"{shown}:{port}", "accept": "*/*", **headers}
    if parts.username is not None and "authorization" not in said:
        name = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        said["authorization"] = f"Basic {base64.b64encode(name.encode()).decode()}"
    return Destination(host, port or usual, encrypted, quote(parts.path, safe=_IN_PATHS).rstrip("/"), lines(said))


class Connections:
    """To the server at ``base_url``, each request with these ``headers``. Times in seconds: how long a connection may
    take to come about, and of silence.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str], connect_seconds: float, timeout: float) -> None:
        self._base_url = base_url
        self._headers = headers
        self._connect_seconds = connect_seconds
        self._timeout = timeout
        self._destination: Destination | None = None
        self._heads: dict[str, bytes] = {}
        """By the paths of operations, all of a request's head but its length."""
        self._tls: ssl.SSLContext | None = None
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        """The one used last at the end, where the next is taken."""
        self._sweep: asyncio.TimerHandle | None = None

    async def post(self, path: str, body: bytes) -> Response:
        """Send JSON; the answer, once it has begun. Errors: ``Unconnected``, ``Silent``, ``Disconnected``."""
        if (head := self._heads.get(path)) is None:
            head = self._heads[path] = self._head(path)
        head = b"%s%d\r\n\r\n" % (head, len(body))
        if (kept := self._kept()) is not None:
            loop = asyncio.get_running_loop()
            began = loop.time()
            try:
                return await kept.ask(head, body)
            except Unheard:
                if loop.time() - began >= _CLOSING_SECONDS:
                    raise
        connection = await self._connected()
        return await connection.ask(head, body)

    def close(self) -> None:
        """Cut every connection, and with them the answers under way."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        for connection in [*self._open]:
            connection.abort()

    def _head(self, path: str) -> bytes:
        to = self._where()
        target = (to.path + path).encode("ascii")
        return b"POST %s HTTP/1.1\r\n%scontent-type: application/json\r\ncontent-length: " % (target, to.head)

    def _where(self) -> Destination:
        if self._destination is None:
            try:
                self._destination = destination_of(self._base_url, self._headers)
            except ValueError as error:
                raise Unconnected(str(error)) from error
        return self._destination

    def _kept(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - KEPT_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def _connected(self) -> Connection:
        to, loop = self._where(), asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                if to.encrypted and self._tls is None:
                    self._tls = await asyncio.to_thread(ssl.create_default_context)  # Reads all certificates there are.
                found = await loop.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
                connected = await aiohappyeyeballs.start_connection(
                    found, happy_eyeballs_delay=_SECOND_ADDRESS_SECONDS, interleave=1, loop=loop
                )
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                _, connection = await loop.create_connection(
                    lambda: Connection(self._timeout, self._keep, self._lose),
                    sock=connected,
                    ssl=self._tls if to.encrypted else None,
                    server_hostname=to.host if to.encrypted else None,
                )
        except TimeoutError as error:
            raise Unconnected(f"no connection in {self._connect_seconds:g} seconds") from error
        except (OSError, UnicodeError) as error:
            raise Unconnected(str(error) or repr(error)) from error
        self._open.add(connection)
        return connection

    def _keep(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(KEPT_SECONDS, self._sweep_idle)

    def _lose(self, connection: Connection) -> None:
        self._open.discard(connection)

    def _sweep_idle(self) -> None:
        """Let go of what nobody has used for a while."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEPT_SECONDS
        for connection in self._idle:
            if connection.idle_since <= oldest:
                connection.abort()
        self._idle = [connection for connection in self._idle if connection.idle_since > oldest]
        self._sweep = loop.call_later(KEPT_SECONDS, self._sweep_idle) if self._idle else None
