"""Events as syslog messages (RFC 5424), the event in JSON as each one's text: by UDP, TCP, or a socket of this machine.

Over TCP a batch is a connection of its own (octet counting, RFC 6587), and it is delivered when the receiver has read
it to its end and hung up: syslog itself answers nothing. Who hangs up before we have ended has not read it. Over UDP
nobody knows.
"""

import asyncio
import errno
import fcntl
import logging
import os
import re
import socket
import sys
import termios
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import SplitResult, urlsplit

from everloom.evidence.base import SinkAway, summary
from everloom.objects.base import JsonObject, encode

log = logging.getLogger(__name__)

SECONDS = 10.0
"""How long a receiver may take to connect and, again, over a batch."""

EARLY_SECONDS = 0.1
"""How long a receiver that reads nothing has to hang up, before we end and its hanging up means that it has read."""

_LATEST = 253_402_300_799

_PRIORITY = 13 * 8 + 5
"""The facility of log audits, as notices."""

PORTS = {"syslog+udp": 514, "syslog+tcp": 601}


class SyslogSink:
    """A ``Sink`` at ``syslog+udp://HOST[:PORT]``, ``syslog+tcp://HOST[:PORT]`` or ``syslog+unix:///PATH``."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._address = urlsplit(url)

    async def send(self, events: Sequence[JsonObject]) -> None:
        """See ``Sink.send``."""
        messages = [_Message(event) for event in events]
        send = _WAYS[self._address.scheme]
        try:
            async with asyncio.timeout(2 * SECONDS):
                await send(self._address, messages)
        except TimeoutError as error:
            raise SinkAway(f"it has not taken {len(messages)} events in time") from error
        except OSError as error:
            raise SinkAway(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Nothing stays open."""


class _Message:
    """An event as RFC 5424 has it. The text has no byte order mark: it is JSON, whose texts are all UTF-8."""

    def __init__(self, event: JsonObject) -> None:
        self.event = event
        when = datetime.fromtimestamp(min(max(event["effective_at"], 0), _LATEST), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        host = "".join(letter for letter in socket.gethostname() if letter.isascii() and letter.isprintable()) or "-"
        type = re.sub(r"[^!-~]", "?", event["type"])[:32] or "-"
        self.text = f"<{_PRIORITY}>1 {when} {host[:255]} everloom {os.getpid()} {type} - ".encode() + encode(event)


async def _datagrams(sender: socket.socket, messages: Sequence[_Message]) -> None:
    """One that no datagram has room for would keep all that follow back: it is named, and they are sent."""
    loop = asyncio.get_running_loop()
    for message in messages:
        try:
            await loop.sock_sendall(sender, message.text)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            size = len(message.text)
            log.warning("%s of the audit log has %d bytes, too many for its sink", message.event["id"], size)
            await loop.sock_sendall(sender, _Message(summary(message.event, size)).text)


async def _by_udp(address: SplitResult, messages: Sequence[_Message]) -> None:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(*_place(address), type=socket.SOCK_DGRAM)
    family, kind, protocol, _, place = found[0]
    with socket.socket(family, kind, protocol) as sender:
        sender.setblocking(False)
        sender.connect(place)
        await _datagrams(sender, messages)


async def _by_tcp(address: SplitResult, messages: Sequence[_Message]) -> None:
    loop = asyncio.get_running_loop()
    away: OSError | None = None
    for family, kind, protocol, _, place in await loop.getaddrinfo(*_place(address), type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as stream:
            stream.setblocking(False)
            try:
                async with asyncio.timeout(SECONDS):
                    await loop.sock_connect(stream, place)
            except OSError as error:
                away = error
                continue
            await _stream(stream, messages)
            return
    raise away or OSError("its name has no address")


async def _by_unix(address: SplitResult, messages: Sequence[_Message]) -> None:
    """As datagrams, which is what /dev/log takes; a socket of the other kind is written to as over TCP."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.connect(address.path)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
        else:
            await _datagrams(sender, messages)
            return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(stream, address.path)
        await _stream(stream, messages)


async def _stream(stream: socket.socket, messages: Sequence[_Message]) -> None:
    """Errors: ``OSError``, ``SinkAway``."""
    loop = asyncio.get_running_loop()
    hung_up = loop.create_task(_read_to_end(stream))
    try:
        await loop.sock_sendall(stream, b"".join(b"%d %b" % (len(each.text), each.text) for each in messages))
        await _arrived(stream, hung_up)
        await asyncio.wait([hung_up], timeout=EARLY_SECONDS)
        if hung_up.done():
            hung_up.result()
            raise SinkAway("it hung up before it had been sent everything")
        stream.shutdown(socket.SHUT_WR)
        await hung_up
        await _arrived(stream)
    finally:
        hung_up.cancel()
        await asyncio.gather(hung_up, return_exceptions=True)


async def _read_to_end(stream: socket.socket) -> None:
    """Whatever it says, it has to read to the end before it hangs up."""
    while await asyncio.get_running_loop().sock_recv(stream, 4096):
        pass


async def _arrived(stream: socket.socket, hung_up: "asyncio.Task[None] | None" = None) -> None:
    """Wait until the other side has all that was sent; a socket of this machine: until it was read there.

    Who has closed without reading refuses what arrives then. Errors: ``OSError`` of the connection.
    """
    while True:
        if error := stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        if not _on_its_way(stream) or (hung_up is not None and hung_up.done()):
            return
        await asyncio.sleep(0.005)


def _on_its_way(stream: socket.socket) -> int:
    """Bytes that were sent and not acknowledged, where a system counts them so."""
    if sys.platform != "linux":
        return 0
    return int.from_bytes(fcntl.ioctl(stream, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _place(address: SplitResult) -> tuple[str, int]:
    return address.hostname or "localhost", address.port or PORTS[address.scheme]


_WAYS: dict[str, Callable[[SplitResult, Sequence[_Message]], Awaitable[None]]] = {
    "syslog+udp": _by_udp,
    "syslog+tcp": _by_tcp,
    "syslog+unix": _by_unix,
}
