"""Lines of input files: the same ones however the file comes in blocks, and at no cost a line where all are blank."""

import random
import sys
from collections.abc import Iterator
from types import FrameType

import pytest

from everloom.work.files.lines import LineSplitter, RawLine

_PIECES = (b"", b"", b" ", b"\t\r", b"\r", b"{}", b" {} ", b"\xef\xbb\xbf", b"a" * 12, b"\x0b", b"\x00", b"\xc2\xa0")


def cut(blocks: list[bytes], longest: int = 10) -> list[RawLine]:
    splitter = LineSplitter(longest)
    return [line for block in blocks for line in splitter.feed(block)] + list(splitter.finish())


def expected(file: bytes, longest: int = 10) -> Iterator[RawLine]:
    """The lines as the class says, from the whole file at once."""
    end = 0
    for number, line in enumerate(file.split(b"\n"), 1):
        offset, end = end, min(end + len(line) + 1, len(file))
        data = line if offset else line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > longest:
            yield RawLine(number, offset, end, None)
        elif data := data.strip(b" \t\r"):
            yield RawLine(number, offset, end, data)


@pytest.mark.parametrize("seed", range(4))
def test_lines_are_the_same_however_the_file_comes(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(500):
        assert_the_same(chance)


def assert_the_same(chance: random.Random) -> None:
    file = b"\n".join(chance.choices(_PIECES, k=chance.randrange(30)))
    places = sorted(chance.choices(range(len(file) + 1), k=chance.randrange(6)))
    blocks = [file[start:end] for start, end in zip([0, *places], [*places, len(file)], strict=True)]
    assert cut(blocks) == list(expected(file))


def test_blank_lines_take_no_step_each() -> None:
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += 1

    file = b"\n \r\n\t\n" * 10_000 + b"{}"
    sys.setprofile(count)
    try:
        (line,) = cut([file])
    finally:
        sys.setprofile(None)
    assert line == RawLine(30_001, 60_000, 60_002, b"{}")
    assert calls < 100
