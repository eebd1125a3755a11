"""Pictures that are what they say, and files that lie: refused without believing them, in little memory."""

import struct
import tracemalloc
import zlib

import pytest

from everloom.kit.png import BadPng, Png, TooLarge, read_png
from tests.pictures import SIGNATURE, chunk, half, header, noise, png, rows

END = chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("colour", "mode", "transparent"), [(0, "L", False), (2, "RGB", False), (4, "LA", True), (6, "RGBA", True)]
)
def test_a_picture_is_told_by_its_bytes(colour: int, mode: str, transparent: bool) -> None:
    assert read_png(png(5, 7, colour=colour)) == Png(5, 7, mode, transparent)


def test_other_kinds_of_pictures_that_are_right() -> None:
    assert read_png(half(64)) == Png(64, 64, "RGBA", True)
    assert read_png(noise(300)) == Png(300, 300, "RGBA", True)
    palette = header(9, 3, colour=3, depth=1) + chunk(b"PLTE", b"abcdef")
    data = chunk(b"IDAT", zlib.compress(bytes(3 * (1 + 2))))
    assert read_png(SIGNATURE + palette + data + END) == Png(9, 3, "P", False)
    assert read_png(SIGNATURE + palette + chunk(b"tRNS", b"\0") + data + END).transparent
    assert read_png(SIGNATURE + palette + chunk(b"tEXt", b"k\0v") + data + END + b"what follows").width == 9


def test_data_may_come_in_parts_and_a_picture_interlaced() -> None:
    packed = zlib.compress(rows(100, 100))
    parts = b"".join(chunk(b"IDAT", packed[at : at + 7]) for at in range(0, len(packed), 7))
    assert read_png(SIGNATURE + header(100, 100) + parts + END).width == 100
    # Adam7 of 5x3 in grey: passes of 1x1, 1x1, 2x1 (third row: none), 1x1 …, counted by hand as in the specification.
    # How its rows are told apart is for whoever draws it; no pixel may be missing, and there may not be much more.
    passes = [(1, 1), (1, 1), (0, 0), (1, 1), (3, 1), (2, 2), (5, 1)]
    size = sum(height * (1 + width) for width, height in passes if width)
    interlaced = SIGNATURE + header(5, 3, colour=0, interlace=1)
    assert read_png(interlaced + chunk(b"IDAT", zlib.compress(bytes(size))) + END) == Png(5, 3, "L", False)
    for wrong in (5 * 3 - 1, 5 * 3 + 2 * (2 * 3 + 8) + 1):
        with pytest.raises(BadPng, match="than its header says"):
            read_png(interlaced + chunk(b"IDAT", zlib.compress(bytes(wrong))) + END)


IDAT = chunk(b"IDAT", zlib.compress(rows(8, 8)))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "begin"),
        (b"\xff\xd8\xff\xe0 a photograph", "begin"),
        (SIGNATURE, "breaks off"),
        (png(8)[:-1], "breaks off"),
        (png(8)[:40], "breaks off"),
        (SIGNATURE + struct.pack(">I4s", 2**32 - 1, b"IHDR") + b"x" * 40, "breaks off"),
        (SIGNATURE + IDAT + END, "header"),
        (SIGNATURE + header(0, 8) + IDAT + END, "header is broken"),
        (SIGNATURE + header(8, 8, depth=3) + IDAT + END, "header is broken"),
        (SIGNATURE + header(8, 8, colour=5) + IDAT + END, "header is broken"),
        (SIGNATURE + header(8, 8, interlace=2) + IDAT + END, "header is broken"),
        (SIGNATURE + chunk(b"IHDR", b"short") + IDAT + END, "header is broken"),
        (SIGNATURE + header(8, 8) + END, "less"),
        (SIGNATURE + header(8, 9) + IDAT + END, "less"),
        (SIGNATURE + header(8, 7) + IDAT + END, "more"),
        (SIGNATURE + header(256, 256) + IDAT + END, "less"),
        (SIGNATURE + header(8, 8) + chunk(b"IDAT", b"no zlib at all") + END, "data is broken"),
        (SIGNATURE + header(8, 8) + chunk(b"IDAT", zlib.compress(rows(8, 8))[:-5]) + END, "less"),
        (png(8).replace(b"IDAT", b"IDAX"), "checksum"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BadPng, match=why):
        read_png(data)


def test_a_picture_too_large_to_be_drawn_is_refused_by_its_header() -> None:
    with pytest.raises(TooLarge, match="60000x60000"):
        read_png(SIGNATURE + header(60_000, 60_000) + IDAT + END)


def test_a_bomb_is_refused_in_little_memory() -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join([packer.compress(bytes(1 << 20)) for _ in range(512)]) + packer.flush()
    data = SIGNATURE + header(64, 64) + chunk(b"IDAT", bomb) + END
    assert len(data) < 4 * 1024 * 1024
    tracemalloc.start()
    try:
        with pytest.raises(BadPng, match="more than its header says"):
            read_png(data)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data) + 1_000_000
    finally:
        tracemalloc.stop()
