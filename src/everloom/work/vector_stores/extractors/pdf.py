"""PDF, read by PDFium. A page's text is what a reader would select on it, and behind it what somebody filled in or
wrote beside it; pages are apart by an empty line.
"""

import ctypes
from collections.abc import Callable, Iterator
from typing import IO, Any

import pypdfium2  # type: ignore[import-untyped]  # it brings no types
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]

from everloom.work.vector_stores.extractors.base import Unreadable

_BROKEN_WORD = "\ufffe"
"""PDFium's mark for the hyphen at which a line's end broke a word."""

_REMARKS = frozenset(
    {pdfium.FPDF_ANNOT_TEXT, pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_HIGHLIGHT, pdfium.FPDF_ANNOT_UNDERLINE}
    | {pdfium.FPDF_ANNOT_SQUIGGLY, pdfium.FPDF_ANNOT_STRIKEOUT, pdfium.FPDF_ANNOT_CARET, pdfium.FPDF_ANNOT_STAMP}
)
_TICKED = (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON)
_WRITTEN = (pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX)
_PASSWORD = 1 << 13
"""A flag of text fields (ISO 32000-1, table 228)."""

_UNSHOWN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
_LONGEST = 1 << 24
"""Bytes of a value that are read."""


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
    form = _form(document)
    told = set[str]()
    for number in range(len(document)):
        try:
            page = document[number]
            layer = page.get_textpage()
        except pypdfium2.PdfiumError:
            continue  # a damaged page among good ones
        text = layer.get_text_range()
        layer.close()
        lines = [line for line in _entries(page, form) if line not in told]  # a field may stand on every page
        told.update(lines)
        page.close()
        if text.strip():
            yield text.replace(_BROKEN_WORD + "\r\n", "").replace(_BROKEN_WORD, "").rstrip() + "\n\n"
        if lines:
            yield "\n".join(lines) + "\n\n"


def _form(document: Any) -> Any:
    """The handle of the document's form; None where it has none. Scripts are not run: this PDFium has no engine."""
    try:
        document.init_forms(pdfium.FPDF_FORMFILLINFO(version=2))
    except pypdfium2.PdfiumError:
        return None
    return document.formenv


def _entries(page: Any, form: Any) -> Iterator[str]:
    """What stands on a page beside its text, a line each: fields that are filled, with their names, and remarks."""
    for number in range(pdfium.FPDFPage_GetAnnotCount(page)):
        if not (annotation := pdfium.FPDFPage_GetAnnot(page, number)):
            continue
        subtype = pdfium.FPDFAnnot_GetSubtype(annotation)
        line = ""
        if pdfium.FPDFAnnot_GetFlags(annotation) & _UNSHOWN:
            pass
        elif subtype == pdfium.FPDF_ANNOT_WIDGET and form is not None:
            line = _field(form, annotation)
        elif subtype in _REMARKS:
            line = _said(pdfium.FPDFAnnot_GetStringValue, annotation, b"Contents")
        pdfium.FPDFPage_CloseAnnot(annotation)
        if line.strip():
            yield line


def _field(form: Any, annotation: Any) -> str:
    """``name: value``; empty for what is not filled in, a button, or a password."""
    kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
    value = ""
    if kind in _TICKED and pdfium.FPDFAnnot_IsChecked(form, annotation):
        value = _said(pdfium.FPDFAnnot_GetFormFieldExportValue, form, annotation)
    elif kind in _WRITTEN and not pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
        value = _said(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)
    if not value.strip():
        return ""
    name = _said(pdfium.FPDFAnnot_GetFormFieldAlternateName, form, annotation)
    name = name or _said(pdfium.FPDFAnnot_GetFormFieldName, form, annotation)
    return f"{name}: {value}" if name else value


def _said(ask: Callable[..., int], *about: Any) -> str:
    """A text of PDFium's, which is asked for its length first (bytes of UTF-16, a NUL at the end)."""
    size = ask(*about, None, 0)
    if not 2 < size <= _LONGEST:
        return ""
    room = ctypes.create_string_buffer(size)
    ask(*about, ctypes.cast(room, ctypes.POINTER(pdfium.FPDF_WCHAR)), size)
    text = room.raw[: size - 2].decode("utf-16-le", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\0\n ")
