"""Whether bytes are a PNG image, and what of it can be told without drawing it (PNG specification, third edition).

Nothing is believed that was not counted: the picture's data must inflate to exactly as many bytes as its header
promises. Memory stays within a block however much it would inflate to, and no more is inflated than was promised.
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
_KNOWN = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})

_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced picture: first column and row, steps between columns and rows."""


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

    def size(self) -> int:
        """Bytes of the picture's rows, each with its filter's byte before it."""
        if not self.interlaced:
            return self._rows(self.width, self.height)
        return sum(
            self._rows(-(-(self.width - left) // across), -(-(self.height - top) // down))
            for left, top, across, down in _ADAM7
        )

    def _rows(self, width: int, height: int) -> int:
        if width <= 0 or height <= 0:
            return 0
        return height * (1 + (width * _CHANNELS[self.colour] * self.depth + 7) // 8)


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
    rows = _Rows(header.size())
    palette = alpha = False
    for kind, body in chunks:
        if kind == b"IDAT":
            rows.feed(body)
        elif kind == b"PLTE":
            palette = _palette(header, body)
        elif kind == b"tRNS" and not rows.begun:
            alpha = True
    rows.end()
    if header.colour == 3 and not palette:
        raise BadPng("it has no palette")
    return Png(header.width, header.height, _MODES[header.colour], alpha or header.colour in (4, 6))


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Every chunk up to the end of the picture, its checksum compared. What follows the end is nobody's."""
    if not data.startswith(_SIGNATURE):
        raise BadPng("it does not begin as a PNG file does")
    view = memoryview(data)
    at = len(_SIGNATURE)
    idat = "before"
    for _ in range(_MOST_PARTS):
        if at + 12 > len(view):
            raise BadPng("it breaks off")
        length, kind = struct.unpack_from(">I4s", view, at)
        end = at + 12 + length
        if end > len(view):
            raise BadPng("it breaks off")
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", view, end - 4)[0]:
            raise BadPng("a checksum does not fit")
        if not kind.isalpha() or (kind[:1].isupper() and kind not in _KNOWN):
            raise BadPng("it has a part that nobody knows")
        if kind == b"IHDR" and at != len(_SIGNATURE):
            raise BadPng("it has two headers")
        if kind == b"IDAT" and idat == "after":
            raise BadPng("its data is scattered")
        idat = "in" if kind == b"IDAT" else "after" if idat == "in" else idat
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


def _palette(header: _Header, body: memoryview) -> bool:
    if not 0 < len(body) <= 768 or len(body) % 3 or header.colour in (0, 4):
        raise BadPng("its palette is broken")
    return True


class _Rows:
    """Counts what the picture's data inflates to, and holds no more of it than a block."""

    def __init__(self, size: int) -> None:
        self.begun = False
        self._left = size
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
        if self._left or not self._inflate.eof:
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
