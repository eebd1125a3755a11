"""An answer that is all there as one message to the server beneath: an extension of ASGI.

ASGI sends head and body as two messages, and its servers look through every header of every answer, most of which are
the same each time: a third of what a short answer costs. A server that names ``WHOLE`` in a scope's ``extensions``
takes both in one message, the lines of the head rendered and checked here, those that never change once. Under any
other server the two messages are sent.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

WHOLE = "everloom.http.response"
"""The extension's name in a scope, and the type of its message."""


def whole_answer(status: int, lines: bytes, body: bytes) -> dict[str, Any]:
    """The message. ``lines`` are the head's, as ``rendered``, without those that say how the answer is framed (its
    length, whether the connection closes), which are the server's.
    """
    return {"type": WHOLE, "status": status, "lines": lines, "body": body}


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
