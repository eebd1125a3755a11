"""Whether bytes are a PNG image, and what of it can be told without drawing it (PNG specification, third edition).

Nothing is believed that was not counted: the picture's data must inflate to as many bytes as its header promises.
Memory stays within a block however much it would inflate to, and no more is inflated than was promised. What is in the
picture is for whoever draws it.
"""

import struct
import zlib
from collections.abc import Iterator

from msgspec import Struct

MAX_SIDE = 4096
"""Pixels of the longest side: what a model's server makes of a picture grows with its square."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BLOCK = 64 * 1024
_MOST_PARTS = 65_536

_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


class BadPng(Exception):
    """Bytes that are no PNG, or one that lies about itself; the message is a clause that says what is wrong."""


class TooLarge(BadPng):
    """A picture of more pixels than anybody is to draw."""


class Png(Struct, frozen=True):
    """What a picture says of itself, and keeps. ``mode`` is the name that imaging libraries give to its channels."""

    width: int
    height: int
    mode: str
    transparent: bool
    """It has an alpha channel, or names colours that are transparent."""


class _Header(Struct, frozen=True):
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    def sizes(self) -> tuple[int, int]:
        """Bytes of the picture's rows, each with its filter's byte before it: the least and the most there may be.

        An interlaced one has its pixels in more rows, fewer than 2 * height + 8, each filled up to a byte.
        """
        bits = self.width * _CHANNELS[self.colour] * self.depth
        if self.interlaced:
            pixels = (bits * self.height + 7) // 8
            return pixels, pixels + 2 * (2 * self.height + 8)
        size = self.height * (1 + (bits + 7) // 8)
        return size, size


def read_png(data: bytes, max_side: int = MAX_SIDE) -> Png:
    """The picture in ``data``. Takes time in the order of its pixels: not for an event loop.

    Errors: ``BadPng``; ``TooLarge`` for one with a side of more than ``max_side`` pixels.
    """
    chunks = _chunks(data)
    kind, body = next(chunks, (b"", b""))
    if kind != b"IHDR":
        raise BadPng("it does not begin with a header")
    header = _header(body)
    if max(header.width, header.height) > max_side:
        raise TooLarge(f"it has {header.width}x{header.height} pixels")
    rows = _Rows(*header.sizes())
    alpha = False
    for kind, body in chunks:
        if kind == b"IDAT":
            rows.feed(body)
        elif kind == b"tRNS" and not rows.begun:
            alpha = True
    rows.end()
    return Png(header.width, header.height, _MODES[header.colour], alpha or header.colour in (4, 6))


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Every chunk up to the end of the picture, its checksum compared. What follows the end is nobody's."""
    if not data.startswith(_SIGNATURE):
        raise BadPng("it does not begin as a PNG file does")
    view = memoryview(data)
    at = len(_SIGNATURE)
    for _ in range(_MOST_PARTS):
        if at + 12 > len(view):
            raise BadPng("it breaks off")
        length, kind = struct.unpack_from(">I4s", view, at)
        end = at + 12 + length
        if end > len(view):
            raise BadPng("it breaks off")
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", view, end - 4)[0]:
            raise BadPng("a checksum does not fit")
        if kind == b"IEND":
            return
        yield kind, view[at + 8 : end - 4]
        at = end
    raise BadPng("it has too many parts")


def _header(body: bytes | memoryview) -> _Header:
    if len(body) != 13:
        raise BadPng("its header is broken")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", body)
    sound = depth in _DEPTHS.get(colour, ()) and compression == 0 and filtering == 0 and interlace in (0, 1)
    if not sound or not 0 < width < 2**31 or not 0 < height < 2**31:
        raise BadPng("its header is broken")
    return _Header(width, height, depth, colour, interlace == 1)


class _Rows:
    """Counts what the picture's data inflates to, and holds no more of it than a block."""

    def __init__(self, least: int, most: int) -> None:
        self.begun = False
        self._optional = most - least
        self._left = most
        self._inflate = zlib.decompressobj()

    def feed(self, data: memoryview) -> None:
        self.begun = True
        for at in range(0, len(data), _BLOCK):  # what is not yet consumed is copied every time
            rest: bytes | memoryview = data[at : at + _BLOCK]
            while rest and not self._inflate.eof:
                self._take(rest)
                rest = self._inflate.unconsumed_tail

    def end(self) -> None:
        """What the inflater still holds back is counted too."""
        while not self._inflate.eof and self._take(b""):
            pass
        if self._left > self._optional or not self._inflate.eof:
            raise BadPng("its data is less than its header says")

    def _take(self, data: bytes | memoryview) -> int:
        try:
            size = len(self._inflate.decompress(data, _BLOCK))
        except zlib.error as error:
            raise BadPng("its data is broken") from error
        self._left -= size
        if self._left < 0:
            raise BadPng("its data is more than its header says")
        return size
