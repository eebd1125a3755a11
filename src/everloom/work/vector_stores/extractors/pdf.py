"""PDF, read by PDFium. A page's text is what a reader would select on it; pages are apart by an empty line."""

from collections.abc import Iterator
from typing import IO

import pypdfium2  # type: ignore[import-untyped]  # it brings no types

from everloom.work.vector_stores.extractors.base import Unreadable

_BROKEN_WORD = "\ufffe"
"""PDFium's mark for the hyphen at which a line's end broke a word."""


def read_pdf(file: IO[bytes], unpacked: int) -> Iterator[str]:
    """The text of all pages. A scan without a text layer has none."""
    return _pages(file)


def _pages(file: IO[bytes]) -> Iterator[str]:
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if "assword" in str(error):
            raise Unreadable("The PDF is encrypted; it cannot be read without its password.") from None
        raise Unreadable("The file is not a PDF that can be read.") from None
    for number in range(len(document)):
        try:
            page = document[number]
            layer = page.get_textpage()
        except pypdfium2.PdfiumError:
            continue  # a damaged page among good ones
        text = layer.get_text_range()
        layer.close()
        page.close()
        if text.strip():
            yield text.replace(_BROKEN_WORD + "\r\n", "").replace(_BROKEN_WORD, "").rstrip() + "\n\n"
