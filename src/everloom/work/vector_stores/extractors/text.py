"""Plain text, source code, Markdown, JSON: what the platform reads is UTF-8, UTF-16 and ASCII."""

import codecs
from collections.abc import Iterator
from typing import IO

from everloom.work.vector_stores.extractors.base import Unreadable

_BLOCK = 1 << 20
_SAMPLE = 4096
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""The longer mark first: UTF-32's begins with UTF-16's."""

_STRAY = "everloom.stray"
_TOLERATED = 0.001
"""The part of a text that may be no characters: a log that was cut in the middle of one is a text all the same, and
one in another encoding has many more.
"""


def read_text(file: IO[bytes], unpacked: int) -> Iterator[str]:
    """The text as it stands."""
    head = file.read(_SAMPLE)
    file.seek(0)
    return decoded(file, encoding(head), _TOLERATED)


def encoding(head: bytes) -> str:
    """How a text is encoded, by its mark, or by the NULs that Latin letters have in UTF-16; UTF-8 otherwise."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    even, odd = head[::2].count(0), head[1::2].count(0)
    if even + odd and len(head) > 1:
        if odd > len(head) // 5 and not even:
            return "utf-16-le"
        if even > len(head) // 5 and not odd:
            return "utf-16-be"
    return "utf-8"


def decoded(file: IO[bytes], name: str, tolerated: float) -> Iterator[str]:
    """The blocks of a file as text, a sign in place of each stray byte. ``tolerated``: the part of the characters that
    may be stray, NULs among them; ``Unreadable`` with more.
    """
    strays = _Strays()
    codecs.register_error(_STRAY, strays)
    decoder = codecs.getincrementaldecoder(name)(_STRAY)
    length = nuls = 0
    while True:
        block = file.read(_BLOCK)
        text = decoder.decode(block, final=not block)
        length += len(text)
        nuls += text.count("\0")
        if nuls > length * tolerated:
            raise Unreadable("The file is not a text file.")
        if strays.count > length * tolerated:
            raise Unreadable("The file is not encoded in UTF-8, UTF-16 or ASCII.")
        yield text
        if not block:
            return


class _Strays:
    """What to do about bytes that are no character, as browsers do: a sign in their place, and on with the next."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        self.count += 1
        return "\ufffd", error.end
