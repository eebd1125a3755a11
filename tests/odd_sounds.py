"""WAV files with odd heads, and files of every kind with a few bytes changed."""

import math
import random
import struct
from collections.abc import Iterator

from tests.recordings import FORMATS, encoded

RATE = 16_000
TONE = b"".join(struct.pack("<h", round(9000 * math.sin(place / 5))) for place in range(RATE))
_GUID = bytes.fromhex("000000001000800000aa00389b71")
_HUGE = (0, 1, 3, 2**31 - 1, 2**31, 2**32 - 1)
_WORDS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x80")


def _chunk(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(body) if size is None else size) + body


def riff(*chunks: bytes, kind: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return kind + struct.pack("<I", len(body) if size is None else size) + body


def fmt(
    tag: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16, align: int | None = None, more: bytes = b""
) -> bytes:
    """The chunk that says what the samples are."""
    align = channels * bits // 8 & 0xFFFF if align is None else align
    head = struct.pack("<HHIIHH", tag, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    return _chunk(b"fmt ", head + more)


def extensible(format: int, channels: int = 1, mask: int = 4, guid: bytes = _GUID) -> bytes:
    """The same in its longer form (WAVEFORMATEXTENSIBLE)."""
    more = struct.pack("<HHIH", 22, 16, mask, format) + guid
    return fmt(0xFFFE, channels, more=more)


def odd_wavs() -> Iterator[tuple[str, bytes]]:
    """Their names and bytes. A few of them can be heard all the same."""
    data = _chunk(b"data", TONE)
    plain = riff(fmt(), data)
    yield from ((f"cut at {at}", plain[:at]) for at in (12, 16, 20, 24, 36, 40, 44, 45))
    yield from {
        "no data": riff(fmt()),
        "no format": riff(data),
        "empty": riff(fmt(), _chunk(b"data", b"")),
        "a format cut short": riff(extensible(1)[:32], data),
        "an unknown extension": riff(extensible(1, guid=b"\xff" * 14), data),
        "RF64 without sizes": riff(fmt(), data, kind=b"RF64"),
        "RF64 with huge sizes": riff(
            _chunk(b"ds64", b"\xff" * 28), fmt(), _chunk(b"data", TONE, 2**32 - 1), kind=b"RF64"
        ),
        "numbers that are none": riff(fmt(3, bits=32), _chunk(b"data", b"\xff" * 64_000)),
    }.items()
    for channels in (0, 65, 255, 65_535):
        yield f"{channels} channels", riff(fmt(channels=channels), data)
        yield f"{channels} channels at large", riff(extensible(1, channels, mask=0xFFFFFFFF), data)
    yield from ((f"{rate} Hz", riff(fmt(rate=rate), data)) for rate in (0, 1, 999, 768_001, 2**31 - 1, 2**32 - 1))
    yield from ((f"{bits} bits", riff(fmt(bits=bits), data)) for bits in (0, 1, 7, 33, 65, 65_535))
    yield from ((f"blocks of {align}", riff(fmt(align=align), data)) for align in (0, 1, 3, 65_535))
    for tag in (0, 2, 3, 4, 6, 7, 8, 0x11, 0x31, 0x50, 0x55, 0x70, 0xFF, 0x130, 0x161, 0x674F, 0xA106, 0xFFFF):
        yield f"codec {tag:#x}", riff(fmt(tag, more=b"\2\0\0\1"), data)
        yield f"codec {tag:#x} in blocks", riff(fmt(tag, 2, bits=4, align=256, more=b"\x20\0" + bytes(32)), data)
        yield f"codec {tag:#x} at large", riff(extensible(tag), data)
    for size in _HUGE:
        for kind in (b"LIST", b"bext", b"id3 ", b"SMV0", b"junk", b"fmt "):
            yield f"{kind.decode()} of {size}", riff(_chunk(kind, bytes(40), size), fmt(), data)
        yield f"data of {size}", riff(fmt(), _chunk(b"data", TONE, size))
        yield f"a file of {size}", riff(fmt(), data, size=size)


def mutated(count: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """``count`` files of each kind, most of them changed in their heads."""
    chance = random.Random(seed)
    for end in sorted(FORMATS):
        for number in range(count):
            data = bytearray(encoded(end)[:40_000])
            way = ("cut", "word", "lost", "more", "byte")[number % 5]
            if way == "cut":
                del data[chance.randrange(13, 2000) :]
            for _ in range(chance.choice((1, 2, 8))):
                at = chance.randrange(4, min(len(data), 600))
                if way == "word":
                    data[at : at + 4] = chance.choice(_WORDS)
                elif way == "lost":
                    del data[at : at + chance.randrange(1, 9)]
                elif way == "more":
                    data[at:at] = chance.randbytes(chance.randrange(1, 9))
                else:
                    data[at] = chance.randrange(256)
            yield f"{end} {number} ({way})", bytes(data)
