"""Events posted over HTTPS to servers that strangers have named."""

import asyncio
import errno
import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler

from everloom import __version__
from everloom.kit.bounded_heads import BoundedHeads
from everloom.webhooks.addresses import is_public
from everloom.webhooks.base import Undelivered
from everloom.webhooks.lookups import OwnThreads

SECONDS = 15.0
"""What an endpoint has for its whole answer, connecting included."""

_READ = 16 * 1024
"""Bytes of an answer's body that are read, so that its connection can be used again; nobody looks at them."""

_RECEIVED = 64 * 1024
"""Bytes of an answer that are looked at, its head among them. What holds them (a head of interim answers without end, a
body of chunks of one byte) costs the loop milliseconds, and everybody waits for the loop."""

_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
"""The last label of a host that is no name."""

_FORBIDDEN = "its address is not one that webhooks are sent to"


class HttpCourier:
    """A ``Courier``. ``private`` lets it go to addresses of this machine and its neighbours, and by ``http://``."""

    def __init__(self, *, private: bool = False, seconds: float = SECONDS) -> None:
        self._private = private
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    def problem(self, url: str) -> str | None:
        """See ``Courier.problem``."""
        if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
            return "a URL is made of visible ASCII characters, without spaces"
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            return "it is no URL"
        schemes = ("https", "http") if self._private else ("https",)
        if parts.scheme not in schemes or not host or port == 0:
            return f"expected an {' or '.join(f'{scheme}://' for scheme in schemes)} URL"
        if "@" in parts.netloc:
            return "it must not have a user or a password in it"
        address = _address(host)
        if address is None and _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            return "it is no URL"  # An address in one of the forms that only some programs know.
        return None if self._private or address is None or is_public(address) else _FORBIDDEN

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """See ``Courier.post``."""
        if (problem := self.problem(url)) is not None:  # The settings may have been others when it was named.
            raise Undelivered(problem)
        session = self._session = self._session or self._open()
        try:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await self._leave(answer)
                return answer.status
        except TimeoutError:
            raise Undelivered(f"it did not answer within {self._seconds:g} seconds") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Undelivered(_told(error)) from None

    async def close(self) -> None:
        """See ``Courier.close``."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = _Connector(
            limit=0,  # Whoever sends bounds how many there are.
            resolver=OwnThreads(),
            socket_factory=self._socket,
            keepalive_timeout=10,
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(self._seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"user-agent": f"Everloom/{__version__}", "content-type": "application/json"},
        )

    def _socket(self, found: Any) -> socket.socket:
        """A socket for an address that is about to be connected to: the last moment, behind every lookup."""
        family, kind, protocol, _, address = found
        if not self._private and not is_public(str(address[0])):
            raise PermissionError(errno.EACCES, _FORBIDDEN)
        return socket.socket(family, kind, protocol)

    async def _leave(self, answer: aiohttp.ClientResponse) -> None:
        """Read a short answer to its end, and break off a long one: its status is all that counts."""
        try:
            async with asyncio.timeout(1):
                read = 0
                while not answer.content.at_eof():
                    read += len(await answer.content.read(_READ - read))
                    if read >= _READ:
                        break
                else:
                    return
        except (TimeoutError, aiohttp.ClientError):
            pass
        answer.close()


class _Answering(ResponseHandler):
    """A connection that is cut behind ``_RECEIVED`` bytes of an answer: aiohttp takes interim answers (1xx) as long as
    they come, and reads what has come before anybody else has a turn.
    """

    _left = _RECEIVED

    def set_response_params(self, **options: Any) -> None:
        """Another answer begins."""
        self._left = _RECEIVED
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Take what there is room for. What was cut off in its body has had its status read all the same."""
        taken = data[: self._left]
        self._left -= len(taken)
        if taken or not data:
            super().data_received(taken)
        if len(taken) < len(data) and self.transport is not None:
            self.transport.abort()


class _Connector(BoundedHeads):
    handler = _Answering


def _address(host: str) -> str | None:
    """The IP address that a host is, None for a name: where that leads shows later."""
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        return None


def _told(error: BaseException) -> str:
    """What went wrong, in words that tell nothing of where the name leads."""
    if isinstance(error, aiohttp.InvalidURL):
        return "it is no URL"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name could not be looked up"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "no secure connection could be made"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _FORBIDDEN if error.os_error.errno == errno.EACCES else "it could not be connected to"
    if isinstance(error, aiohttp.ClientResponseError):
        return "its answer was not HTTP"
    return "the connection broke off"
