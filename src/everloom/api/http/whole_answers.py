"""Answers for the server beneath as messages of their own, all there or block by block: an extension of ASGI.

ASGI sends head and body as two messages, and its servers look through every header of every answer, most of which are
the same each time: a third of what a short answer costs. A server that names ``WHOLE`` in a scope's ``extensions``
takes both in one message, the lines of the head rendered and checked here, those that never change once. Under any
other server the two messages are sent.

Such a server takes the head of a stream likewise, and then each block of it by a plain call (``Outlet``): as messages
each would be a dict, two coroutines, and a task that is woken to send it.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from everloom.kit.pouring import Put, Room

WHOLE = "everloom.http.response"
"""The extension's name in a scope, and the type of its message."""

STREAM = "everloom.http.stream"
"""The type of the extension's other message."""


def whole_answer(status: int, lines: bytes, body: bytes) -> dict[str, Any]:
    """The message. ``lines`` are the head's, as ``rendered``, without those that say how the answer is framed (its
    length, whether the connection closes), which are the server's.
    """
    return {"type": WHOLE, "status": status, "lines": lines, "body": body}


class Outlet:
    """Where the blocks of an answer go, once the server has taken its ``stream_answer``; none after its end, which is a
    message of ASGI's own.
    """

    __slots__ = ("put", "room")

    put: Put
    room: Room


def stream_answer(status: int, lines: bytes, outlet: Outlet) -> dict[str, Any]:
    """The message that begins an answer of unknown length; the server fills in the outlet. ``lines``: as above."""
    return {"type": STREAM, "status": status, "lines": lines, "outlet": outlet}


def rendered(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as the lines of a head. ``ValueError`` for one that would end its line early, and begin another."""
    return b"".join([_line(name, value) for name, value in headers])


_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


@lru_cache(maxsize=1024)
def _line(name: bytes, value: bytes) -> bytes:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(f"no header can be made of {name!r}: {value!r}")
    return b"%b: %b\r\n" % (name, value)
