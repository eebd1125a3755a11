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


def read_text(file: IO[bytes], unpacked: int) -> Iterator[str]:
    """The text as it stands."""
    head = file.read(_SAMPLE)
    file.seek(0)
    return decoded(file, encoding(head))


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


def decoded(file: IO[bytes], name: str) -> Iterator[str]:
    """The blocks of a file as text; ``Unreadable`` where it is none."""
    decoder = codecs.getincrementaldecoder(name)()
    try:
        while block := file.read(_BLOCK):
            text = decoder.decode(block)
            if "\0" in text:
                raise Unreadable("The file is not a text file.")
            yield text
        yield decoder.decode(b"", final=True)
    except UnicodeError:
        raise Unreadable("The file is not encoded in UTF-8, UTF-16 or ASCII.") from None
