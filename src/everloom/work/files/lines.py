"""Lines of an input file, as it comes in blocks."""

import codecs
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_BLANK = re.compile(rb"[ \t\r\n]*\n")
"""Blank lines, from the beginning of one. A file may be nothing else: a step for each of 200 million takes minutes."""


class RawLine(NamedTuple):
    """A line that is not blank: its number, from 1, and where its bytes stand in the file, its end included.

    ``data`` is None for a line that is longer than lines may be.
    """

    number: int
    offset: int
    end: int
    data: bytes | None


class LineSplitter:
    """Cuts blocks into lines, holding no more than one line of ``longest`` bytes.

    ``number`` and ``offset`` are those of the first line, where it is not the file's. A line ends with a line feed, or
    with the file, and a carriage return before it is no part of it; so is no mark of the byte order in front.
    """

    def __init__(self, longest: int, *, number: int = 1, offset: int = 0) -> None:
        self._longest = longest
        self._number = number
        self._offset = offset
        self._end = offset
        self._rest: list[bytes] = []
        self._held = 0

    def feed(self, block: bytes) -> Iterator[RawLine]:
        """The lines that a block completes, but for blank ones."""
        start = 0
        while True:
            if not self._held and (blank := _BLANK.match(block, start)):
                self._number += block.count(b"\n", start, blank.end())
                self._offset = self._end = self._end + blank.end() - start
                start = blank.end()
            end = block.find(b"\n", start)
            if end < 0:
                break
            self._hold(block[start:end])
            self._end += 1
            start = end + 1
            if (line := self._cut()) is not None:
                yield line
        self._hold(block[start:])

    def finish(self) -> Iterator[RawLine]:
        """The last line, where nothing ends it."""
        if (line := self._cut()) is not None:
            yield line

    def _hold(self, piece: bytes) -> None:
        self._end += len(piece)
        self._held += len(piece)
        if self._held <= self._longest:
            self._rest.append(piece)
        else:
            self._rest.clear()

    def _cut(self) -> RawLine | None:
        number, offset, held = self._number, self._offset, self._held
        data = b"".join(self._rest) if held <= self._longest else None
        self._number, self._offset, self._held = number + 1, self._end, 0
        self._rest.clear()
        if data is not None:
            if offset == 0:
                data = data.removeprefix(codecs.BOM_UTF8)
            data = data.strip(b" \t\r")
        return None if data == b"" else RawLine(number, offset, self._end, data)


def is_utf_16(beginning: bytes) -> bool:
    """Whether a file begins as texts in UTF-16 do."""
    return beginning.startswith(_UTF_16)


class Portion(NamedTuple):
    """Lines that are worked on together: ``lines`` of them from number ``first`` on, in ``length`` bytes at
    ``offset``.
    """

    first: int
    lines: int
    offset: int
    length: int


def portions(ends: Sequence[tuple[int, int, int]], most: int, size: int) -> list[Portion]:
    """Lines, as (number, offset, end), in portions of ``most`` at the most, of not much more bytes than ``size``."""
    found: list[Portion] = []
    begin = 0
    for place, (_, _, end) in enumerate(ends, start=1):
        first, offset, _ = ends[begin]
        if place - begin >= most or end - offset >= size or place == len(ends):
            found.append(Portion(first, place - begin, offset, end - offset))
            begin = place
    return found
