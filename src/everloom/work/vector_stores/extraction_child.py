"""The process that reads one file.

``python -m everloom.work.vector_stores.extraction_child KIND CPU WALL MEMORY TEXT UNPACKED``.

The file is standard input, which can be sought. Standard output is a word and a line's end, then: after ``text`` the
text in UTF-8, after ``invalid`` what is wrong with the file, after ``broken`` what is wrong with us.

The limits (``extraction.Bounds``) are set first. Once the parser is imported, no file or socket can be opened any
more: who takes over a parser with a crafted file finds a process that can compute and answer, and ends shortly.
"""

import codecs
import errno
import importlib
import re
import resource
import signal
import sys
from collections.abc import Iterator

from everloom.work.vector_stores.extractors.base import Unreadable

READERS = {
    "text": ("text", "read_text"),
    "html": ("html", "read_html"),
    "pdf": ("pdf", "read_pdf"),
    "docx": ("office", "read_docx"),
    "pptx": ("office", "read_pptx"),
    "doc": ("word", "read_doc"),
}
CODECS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp437", "latin-1")
"""What is decoded with once nothing can be opened: a codec is a module that is loaded at its first use."""

_UNWANTED = re.compile("[\\x00-\\x08\\x0b\\x0e-\\x1f\\x7f\\ud800-\\udfff\\ufffe\\uffff]")
"""What is no character of any text: a database refuses the first, a JSON encoder the surrogates."""


def main() -> None:
    """Read standard input and say what is in it."""
    kind = sys.argv[1]
    cpu, wall, memory, longest, unpacked = map(int, sys.argv[2:7])
    signal.alarm(wall)
    _limit(resource.RLIMIT_CPU, cpu, grace=1)  # with no second between, the kernel kills without saying why
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        verdict, said = _read(kind, longest, unpacked)
    except MemoryError:
        verdict, said = b"invalid", f"The file needs more than {memory >> 20} MiB of memory to read.".encode()
    sys.stdout.buffer.write(verdict + b"\n")
    sys.stdout.buffer.write(said)
    sys.stdout.buffer.flush()


def _read(kind: str, longest: int, unpacked: int) -> tuple[bytes, bytes]:
    try:
        module, name = READERS[kind]
        read = getattr(importlib.import_module(f"everloom.work.vector_stores.extractors.{module}"), name)
        for codec in CODECS:
            codecs.lookup(codec)
        pieces = read(sys.stdin.buffer, unpacked)
        _limit(resource.RLIMIT_NOFILE, 3)
        text = _text(pieces, longest)
    except Unreadable as error:
        return b"invalid", str(error).encode(errors="replace")
    except MemoryError:
        raise
    except Exception as error:
        ours = isinstance(error, ImportError) or (isinstance(error, OSError) and error.errno == errno.EMFILE)
        what = f"The file cannot be read as {kind}: {type(error).__name__}: {str(error)[:200]}"
        return b"broken" if ours else b"invalid", what.encode(errors="replace")
    if not text.strip():
        return b"invalid", b"The file contains no text."
    return b"text", text.encode()


def _text(pieces: Iterator[str], longest: int) -> str:
    """The pieces in one, cleaned, as long as they are no longer than ``longest`` bytes."""
    texts: list[str] = []
    size = 0
    for piece in pieces:
        clean = _UNWANTED.sub("", piece)
        size += len(clean) if clean.isascii() else len(clean.encode())
        if size > longest:
            raise Unreadable(f"The file holds more than {longest >> 20} MiB of text.")
        texts.append(clean)
    return "".join(texts).replace("\r\n", "\n").replace("\r", "\n")


def _limit(what: int, most: int, grace: int = 0) -> None:
    _, hard = resource.getrlimit(what)
    limits = [most, most + grace] if hard == resource.RLIM_INFINITY else [min(most, hard), min(most + grace, hard)]
    try:
        resource.setrlimit(what, (limits[0], limits[1]))
    except (ValueError, OSError):
        # macOS knows no limit on address space. The clock and the processor are limited there, too.
        if sys.platform == "linux":
            raise


if __name__ == "__main__":
    main()
