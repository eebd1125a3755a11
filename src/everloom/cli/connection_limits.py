"""What connections may take: how many there may be, how long each may be slow, what they may hold unread.

Nobody has shown a key yet when a connection opens, so all of this is a stranger's to try.
"""

import asyncio
import fcntl
import ipaddress
import os
import resource
import socket
import struct
import termios
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct
from uvicorn.protocols.http.flow_control import FlowControl

from everloom.cli.garbage import BodyCount
from everloom.kit.errors import ApiError, RateLimited

MOST_FILES = 65_536
"""The soft limit of open files that a process asks for, where the hard one lets it."""

HEAD_BYTES = 64 * 1024
"""The longest head of a request."""

HEADER_BYTES = 16 * 1024
"""The longest header, and the longest URL; trailers together."""

MAX_HEADERS = 256

MAX_PIPELINED = 512
"""Requests that wait for the answer to an earlier one on their connection, parsed."""

CYCLE_BYTES = 4096
"""About what each of them takes."""

IDLE_FRAMING = 32 * 1024
"""Bytes of a body's coding (extensions of chunks) without a byte of the body."""

SLICE_BYTES = 8 * 1024
"""What is parsed at once where it may hold many requests, or crumbs: others have their turn behind it."""

DISCARDED_BYTES = 1024 * 1024
LINGER_SECONDS = 2.0
"""What is read and thrown away behind a refusal, and for how long: closed over unread bytes, a connection is reset, and
the refusal may never be read."""

PROBE_SECONDS = 5.0
"""From a client's closing of its half to the first look whether it has left."""

HELD_BYTES = 64 * 1024 * 1024
"""What unfinished heads and waiting requests of all connections may have in memory together."""


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """What an operator may set about connections. Times in seconds."""

    per_address: int = 4096
    """Connections of one client address; 0: no bound of its own."""
    head_seconds: float = 15.0
    """From a connection's opening, or from a request's first byte, to the end of the request's head."""
    idle_seconds: float = 30.0
    """How long a client may keep silent within a body, or leave an answer unread, that was no slower before."""
    rest_seconds: float = 75.0
    """How long a connection whose requests have been answered stays open: longer than load balancers keep theirs, so
    that they close first."""
    least_rate: int = 256
    """Bytes of a body or of an answer that buy a client one more second."""


class Patience:
    """How long a client may go on: ``seconds`` of silence at most, bought back by every byte that moves."""

    __slots__ = ("_left", "_rate", "_seconds")

    def __init__(self, seconds: float, rate: int) -> None:
        self._seconds = self._left = seconds
        self._rate = rate

    def spend(self, seconds: float, moved: int) -> bool:
        """Whether there is patience left after ``seconds`` in which so many bytes moved."""
        self._left = min(self._left - seconds + moved / self._rate, self._seconds)
        return self._left > 0

    def renew(self) -> None:
        """Begin again, as for a new body."""
        self._left = self._seconds


class Unread:
    """What of its answers a client has not read yet."""

    __slots__ = ("_bytes", "_patience", "resumed")

    def __init__(self, limits: ConnectionLimits) -> None:
        self._patience = Patience(limits.idle_seconds, limits.least_rate)
        self._bytes = 0
        self.resumed = False
        """Whether it has read enough to be sent more, since it was looked at."""

    def is_read(self, seconds: float, transport: asyncio.WriteTransport, flow: FlowControl) -> bool:
        """Whether the client has read enough in these seconds, or nothing was there to be read."""
        waiting = transport.get_write_buffer_size()
        resumed, self.resumed = self.resumed, False
        if not waiting or resumed or not (flow.write_paused or transport.is_closing()):
            # What waits is little, or was taken off and has been filled up again.
            self._bytes = 0
            self._patience.renew()
            return True
        waiting += _in_kernel(socket_of(transport))
        moved, self._bytes = max(self._bytes - waiting, 0), waiting
        return self._patience.spend(seconds, moved)


class Flow(FlowControl):
    """Reading stays paused while ``has_enough`` says so: there are bytes that are not parsed yet, or none will come."""

    def __init__(self, transport: asyncio.Transport, has_enough: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_enough = has_enough

    def resume_reading(self) -> None:
        if self.read_paused and not self._has_enough():
            super().resume_reading()


class HalfClosed(Protocol):
    """A connection whose client may have left."""

    def look_whether_gone(self, seconds: float) -> None: ...


class Entrance:
    """Counts the connections of a server, and refuses those that would be too many."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.held = 0
        """Bytes of all connections that are no request yet."""
        self.bodies = BodyCount()
        self.half_closed: set[HalfClosed] = set()
        """Those that are looked at some times a second: to look for them among all, as often, would cost each of a
        thousand open streams as much as its chunks.
        """
        self._addresses: Counter[str] = Counter()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._last_descriptor = soft - 1 if soft != resource.RLIM_INFINITY else MOST_FILES
        # Half of what is left when serving begins: a connection may need another to an upstream, or files.
        self._highest_descriptor = (_lowest_free_descriptor() + self._last_descriptor) // 2

    def enter(self, address: str, descriptor: int) -> ApiError | None:
        """Count a connection; what to answer to it in place of serving it, if it is one too many.

        The kernel gives out the lowest descriptor that is free, so a high one says that so many are in use.
        """
        self._addresses[address] += 1
        if descriptor > self._highest_descriptor:
            text = "This server has too many open connections. Please try again in a moment."
            return ApiError(503, text, type="server_error", code="server_overloaded", headers={"retry-after": "2"})
        if address and 0 < self.limits.per_address < self._addresses[address]:
            text = f"Too many connections from your address. The limit is {self.limits.per_address}."
            return RateLimited(text, retry_after=2)
        return None

    def exhausted(self, descriptor: int) -> bool:
        """Whether refusals themselves take what is left for work: then there is none."""
        return descriptor > self._highest_descriptor + (self._last_descriptor - self._highest_descriptor) // 4

    def leave(self, address: str) -> None:
        """Count a connection no more."""
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]

    def hold(self, count: int) -> bool:
        """Count bytes that are held (or, below zero, are no more); whether there was room for them."""
        self.held += count
        return self.held <= HELD_BYTES


def raise_file_limit() -> None:
    """Let this process open more files, as far as the system lets it: the usual 1024 are gone with 500 clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def client_address(client: tuple[str, int] | None) -> str:
    """What is counted as one client: an IPv4 address, a network of 64 bits in IPv6; empty where there is none."""
    if client is None:
        return ""
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def socket_of(transport: asyncio.BaseTransport) -> socket.socket:
    """The socket of a connection."""
    found: socket.socket = transport.get_extra_info("socket")
    return found


def _in_kernel(connection: socket.socket) -> int:
    """Bytes that the kernel holds for the other side; 0 where the system does not tell."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4))
    except OSError:
        return 0
    return int(count)


def _lowest_free_descriptor() -> int:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor
