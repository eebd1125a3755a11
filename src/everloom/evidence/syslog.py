"""Events as syslog messages (RFC 5424), the event in JSON as each one's text: by UDP, TCP, or a socket of this machine.

Over TCP a batch is a connection of its own (octet counting, RFC 6587), and it is delivered when the receiver has read
it to its end and hung up: syslog itself answers nothing. Over UDP nobody knows.
"""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import SplitResult, urlsplit

from everloom.evidence.base import SinkAway
from everloom.objects.base import JsonObject, encode

SECONDS = 10.0
"""How long a receiver may take to connect and, again, over a batch."""

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
        messages = [_message(event) for event in events]
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


def _message(event: JsonObject) -> bytes:
    """An event as RFC 5424 has it. The text has no byte order mark: it is JSON, whose texts are all UTF-8."""
    when = datetime.fromtimestamp(event["effective_at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    host = "".join(letter for letter in socket.gethostname() if letter.isascii() and letter.isprintable()) or "-"
    head = f"<{_PRIORITY}>1 {when} {host[:255]} everloom {os.getpid()} {event['type'][:32]} - "
    return head.encode() + encode(event)


async def _by_udp(address: SplitResult, messages: Sequence[bytes]) -> None:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(*_place(address), type=socket.SOCK_DGRAM)
    family, kind, protocol, _, place = found[0]
    with socket.socket(family, kind, protocol) as sender:
        sender.setblocking(False)
        sender.connect(place)
        for message in messages:
            await loop.sock_sendall(sender, message)


async def _by_tcp(address: SplitResult, messages: Sequence[bytes]) -> None:
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(*_place(address))
    await _stream(reader, writer, messages)


async def _by_unix(address: SplitResult, messages: Sequence[bytes]) -> None:
    """As datagrams, which is what /dev/log takes; a socket of the other kind is written to as over TCP."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.connect(address.path)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
        else:
            for message in messages:
                await loop.sock_sendall(sender, message)
            return
    await _stream(*await asyncio.open_unix_connection(address.path), messages)


async def _stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, messages: Sequence[bytes]) -> None:
    try:
        writer.writelines(_counted(messages))
        await writer.drain()
        writer.write_eof()
        while await reader.read(4096):  # Whatever it says, it has to read to the end before it hangs up.
            pass
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _counted(messages: Sequence[bytes]) -> Iterator[bytes]:
    for message in messages:
        yield b"%d %b" % (len(message), message)


def _place(address: SplitResult) -> tuple[str, int]:
    return address.hostname or "localhost", address.port or PORTS[address.scheme]


_WAYS: dict[str, Callable[[SplitResult, Sequence[bytes]], Awaitable[None]]] = {
    "syslog+udp": _by_udp,
    "syslog+tcp": _by_tcp,
    "syslog+unix": _by_unix,
}
