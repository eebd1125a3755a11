"""Frames between the server and its child processes: a length (four bytes, little-endian), then so many bytes.

The child's end of the pipes stands here too. One kind of child lives in another Python's environment and loads this
file by its path, so nothing but Python's own is imported.
"""

import os
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from typing import IO

LENGTH = struct.Struct("<I")

LONGEST = 1 << 26
"""Bytes of a frame, where nothing less was agreed on."""


class FrameTooLong(Exception):
    """A frame of more bytes than were agreed on, or something else that wrote into the pipe."""


def framed(data: bytes) -> bytes:
    """A frame as it goes through a pipe."""
    return LENGTH.pack(len(data)) + data


def length_of(head: bytes, longest: int = LONGEST) -> int:
    """The bytes that follow. Errors: ``FrameTooLong``, before any room is made for them."""
    (length,) = LENGTH.unpack(head)
    if length > longest:
        raise FrameTooLong(f"a frame of {length} bytes")
    return int(length)


def read_frame(file: IO[bytes]) -> bytes | None:
    """The next frame; None when the other end has gone. Errors: ``FrameTooLong``."""
    head = file.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    length = length_of(head)
    data = file.read(length)
    return data if len(data) == length else None


class ParentPipe:
    """The parent, as a child sees it: frames come by standard input, and go by what was standard output.

    Made before anything else is done: what libraries print goes to standard error from then on.
    """

    def __init__(self) -> None:
        # The parent closes the pipe when we are to go; a terminal or an init system signals both of us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._input = sys.stdin.buffer
        self._output = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._one = threading.Lock()

    def frames(self) -> Iterator[bytes]:
        """What the parent says, until it has gone."""
        while (frame := read_frame(self._input)) is not None:
            yield frame

    def listen(self, hear: Callable[[bytes], None]) -> None:
        """Have every frame heard beside the work. When the parent has gone, this process goes, whatever it is at."""

        def run() -> None:
            try:
                for frame in self.frames():
                    hear(frame)
            finally:
                os._exit(0)

        threading.Thread(target=run, daemon=True).start()

    def say(self, data: bytes) -> None:
        """One frame, from any thread. A child that nobody listens to any more ends here."""
        with self._one:
            try:
                self._output.write(framed(data))
                self._output.flush()
            except BrokenPipeError:
                os._exit(0)
