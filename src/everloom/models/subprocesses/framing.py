"""Messages between the server and its child processes, over pipes: a length (four bytes, little-endian), then so much.

Imported by children, so it imports next to nothing.
"""

import os
import struct
from typing import IO

LENGTH = struct.Struct("<I")


def framed(data: bytes) -> bytes:
    """A message as it goes through a pipe."""
    return LENGTH.pack(len(data)) + data


def read_frame(file: IO[bytes]) -> bytes | None:
    """The next message; None when the other end has gone."""
    head = file.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    data = file.read(length)
    return data if len(data) == length else None


def write_frame(file: IO[bytes], data: bytes) -> None:
    """Send a message. A child that nobody listens to any more ends here."""
    try:
        file.write(framed(data))
        file.flush()
    except BrokenPipeError:
        os._exit(0)
