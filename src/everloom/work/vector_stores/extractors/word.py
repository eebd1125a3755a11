"""DOC, Word's format from 97 to 2003: the text of its main document, notes, headers and footers, comments and boxes.

Sources: [MS-CFB] for the container, [MS-DOC] sections 2.5 (the FIB) and 2.8.35 (the piece table).
"""

import re
import struct
from collections.abc import Iterator
from typing import IO

from everloom.work.vector_stores.extractors.base import Unreadable

_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_END = 0xFFFFFFFA
"""Sector numbers from here on mean no sector."""

_MAIN, _TABLES = "WordDocument", ("0Table", "1Table")
_ENCRYPTED, _TABLE_ONE = 0x0100, 0x0200
_FIELD = re.compile("\x13[^\x13\x14\x15]*\x14|\x13[^\x13\x14\x15]*\x15|[\x14\x15]")
"""The instructions of a field, as far as its result, which stays."""

_SIGNS = str.maketrans(
    {"\r": "\n\n", "\x0b": "\n", "\x0c": "\n\n", "\x07": "\t", "\x1e": "\u2011", "\x1f": None, "\xa0": " "}
)


def read_doc(file: IO[bytes], unpacked: int) -> Iterator[str]:
    """The document's text; cells of tables are apart by tabs."""
    return _text(file)


def _text(file: IO[bytes]) -> Iterator[str]:
    container = _Container(file.read())
    try:
        main = container.stream(_MAIN)
        if len(main) < 0x1AA or main[:2] != b"\xec\xa5":
            raise Unreadable("The file is not a Word document.")
        (flags,) = struct.unpack_from("<H", main, 0x0A)
        if flags & _ENCRYPTED:
            raise Unreadable("The document is encrypted; it cannot be read without its password.")
        table = container.stream(_TABLES[bool(flags & _TABLE_ONE)])
        # The main text, and right behind it footnotes, headers and footers, (macros), comments, endnotes, text boxes.
        length = sum(size for size in struct.unpack_from("<8i", main, 0x4C) if size > 0)
        place, size = struct.unpack_from("<2I", main, 0x1A2)
        whole = "".join(_pieces(main, table[place : place + size], length))
    except struct.error:
        raise Unreadable("The Word document is damaged.") from None
    yield _FIELD.sub("", whole).translate(_SIGNS)


def _pieces(main: bytes, complex_: bytes, length: int) -> Iterator[str]:
    """The pieces of the text in order, cut where it is ``length`` characters long."""
    at = 0
    while complex_[at : at + 1] == b"\x01":  # formatting, which goes before the table of pieces
        at += 3 + struct.unpack_from("<H", complex_, at + 1)[0]
    if complex_[at : at + 1] != b"\x02":
        raise Unreadable("The Word document is damaged.")
    (size,) = struct.unpack_from("<I", complex_, at + 1)
    count = (size - 4) // 12
    bounds = struct.unpack_from(f"<{count + 1}I", complex_, at + 5)
    for number in range(count):
        (place,) = struct.unpack_from("<I", complex_, at + 5 + 4 * (count + 1) + 8 * number + 2)
        signs = min(bounds[number + 1], length) - bounds[number]
        if signs <= 0:
            return
        if place & 0x40000000:
            start = (place & 0x3FFFFFFF) // 2
            yield main[start : start + signs].decode("cp1252", "replace")
        else:
            yield main[place : place + 2 * signs].decode("utf-16-le", "replace")


class _Container:
    """A compound file: sectors in chains, and a directory of streams."""

    def __init__(self, data: bytes) -> None:
        if data[:8] != _MAGIC:
            raise Unreadable("The file is not a Word document of the years 97 to 2003.")
        self._data = data
        self._size = 1 << struct.unpack_from("<H", data, 0x1E)[0]
        if self._size not in (512, 4096):
            raise Unreadable("The Word document is damaged.")
        first, self._cutoff, small = struct.unpack_from("<I4xII", data, 0x30)
        self._next = self._numbers(self._fat_sectors())
        self._small_next = self._numbers(self._chain(small, self._next))
        directory = b"".join(map(self._sector, self._chain(first, self._next)))
        self._entries = dict(map(_entry, (directory[at : at + 128] for at in range(0, len(directory) - 127, 128))))
        root = self._entries.get("Root Entry", (_END, 0))
        self._small = b"".join(map(self._sector, self._chain(root[0], self._next)))

    def stream(self, name: str) -> bytes:
        """A stream of the directory, whole."""
        if name not in self._entries:
            raise Unreadable("The file is not a Word document.")
        first, size = self._entries[name]
        if size < self._cutoff:
            parts = [self._small[64 * at : 64 * at + 64] for at in self._chain(first, self._small_next)]
        else:
            parts = list(map(self._sector, self._chain(first, self._next)))
        return b"".join(parts)[:size]

    def _fat_sectors(self) -> list[int]:
        sectors = list(struct.unpack_from("<109I", self._data, 0x4C))
        (more,) = struct.unpack_from("<I", self._data, 0x44)
        seen = set[int]()
        while more < _END and more not in seen:
            seen.add(more)
            *listed, following = struct.unpack(f"<{self._size // 4}I", self._sector(more))
            sectors += listed
            more = following
        return [sector for sector in sectors if sector < _END]

    def _numbers(self, sectors: list[int]) -> list[int]:
        return [n for sector in sectors for n in struct.unpack(f"<{self._size // 4}I", self._sector(sector))]

    def _sector(self, number: int) -> bytes:
        start = (number + 1) * self._size
        return self._data[start : start + self._size].ljust(self._size, b"\0")

    def _chain(self, sector: int, following: list[int]) -> list[int]:
        """The sectors of a chain; one that comes back to itself is damaged."""
        chain: list[int] = []
        while sector < len(following):
            chain.append(sector)
            if len(chain) > len(following):
                raise Unreadable("The Word document is damaged.")
            sector = following[sector]
        return chain


def _entry(data: bytes) -> tuple[str, tuple[int, int]]:
    """A directory's entry: its name, where it starts and how long it is."""
    (length,) = struct.unpack_from("<H", data, 64)
    first, size = struct.unpack_from("<II", data, 116)
    return data[: max(0, length - 2)].decode("utf-16-le", "replace"), (first, size)
