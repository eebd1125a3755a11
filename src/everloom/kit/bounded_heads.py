"""Connections for ``aiohttp`` on which an answer has to begin: interim answers (1xx) have an end."""

import functools
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

MOST_BYTES = 64 * 1024
"""Bytes that may come before an answer's head is whole. ``aiohttp`` takes interim answers as long as they come, and all
that have come before anybody else has a turn: they held up everybody for seconds.
"""


class _Answering(ResponseHandler):
    _left = MOST_BYTES
    _begun = False

    def set_response_params(self, **options: Any) -> None:
        """Another answer is waited for."""
        self._left, self._begun = MOST_BYTES, False
        super().set_response_params(**options)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a head that is whole."""
        code = data[0].code
        self._begun = self._begun or code >= 200 or code == 101  # What follows a 101 is another protocol.
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Read no more than the rest of what a head may have, until one has come."""
        if self._begun or len(data) <= self._left:
            self._left -= 0 if self._begun else len(data)
            super().data_received(data)
            return
        head, rest = data[: self._left], data[self._left :]
        self._left = 0
        if head:
            super().data_received(head)
        if self._begun:
            super().data_received(rest)
        elif self.transport is not None:
            self.transport.abort()


class BoundedHeads(aiohttp.TCPConnector):
    """As its base; a connection is cut that has said ``MOST_BYTES`` and begun no answer. Errors: ``aiohttp``'s for a
    connection that broke off.
    """

    handler: type[ResponseHandler] = _Answering
    """What hears a connection's answers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = functools.partial(self.handler, loop=self._loop)
