"""The text of a file, read by a process of its own that can do nothing but read, and not for long.

What is in a file somebody uploaded may have been made to take the reader down: a page that unpacks to gigabytes, a
document that nests without end, a fault in a parser. So each file gets a child process (``extraction_child.py``) with
limits on time, memory and output. Why, and which parsers: ``docs/decisions/extraction.md``.
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterable, Iterable
from pathlib import Path
from typing import IO

from msgspec import Struct

import everloom
from everloom.kit.errors import BadRequest

TEXT, HTML, PDF, DOCX, PPTX, DOC = "text", "html", "pdf", "docx", "pptx", "doc"

_SOURCES = "c cc cpp cs css cxx go h hpp java js json jsx markdown md php py rb sh tex text ts tsx txt"
KINDS = dict.fromkeys(_SOURCES.split(), TEXT) | {
    "html": HTML,
    "htm": HTML,
    "pdf": PDF,
    "docx": DOCX,
    "pptx": PPTX,
    "doc": DOC,
}
"""How a file is read, by the end of its name: what the platform lists for file search, and twins of these names."""

_SOURCE_TYPES = (
    "text/x-c text/x-c++ text/x-csharp text/css text/x-golang text/x-java text/javascript application/json "
    "text/markdown text/x-php text/x-python text/x-script.python text/x-ruby application/x-sh text/x-tex "
    "application/typescript text/plain"
)
_OFFICE = "application/vnd.openxmlformats-officedocument"
TYPES = dict.fromkeys(_SOURCE_TYPES.split(), TEXT) | {
    "text/html": HTML,
    "application/pdf": PDF,
    "application/msword": DOC,
    f"{_OFFICE}.wordprocessingml.document": DOCX,
    f"{_OFFICE}.presentationml.presentation": PPTX,
}
"""The same by media type, for files whose names end in nothing."""

_SUPPORTED_FILES = "https://platform.openai.com/docs/assistants/tools/file-search/supported-files"
_BLOCK = 1 << 20


class Unsupported(Exception):
    """A kind of file that no text is read from (``unsupported_file``)."""


class Invalid(Exception):
    """A file that is not what its name says, holds no text, or takes more than the bounds (``invalid_file``)."""


class Bounds(Struct, frozen=True, kw_only=True):
    """What reading one file may take: processor and clock seconds, and bytes of memory, of text that comes out, and
    of what an archive may unpack to.
    """

    cpu_s: int = 60
    wall_s: int = 120
    memory: int = 1 << 30
    text: int = 64 << 20
    unpacked: int = 512 << 20


DEFAULT = Bounds()


def kind_of(filename: str, mime: str | None = None) -> str:
    """How a file is read, by its name first and its media type where the name says nothing; ``Unsupported``."""
    if can_be_read(filename):
        return KINDS[_extension(filename)]
    media = (mime or "").partition(";")[0].strip().lower()
    if not _extension(filename) and media in TYPES:
        return TYPES[media]
    raise Unsupported(_unsupported([filename]))


def can_be_read(filename: str) -> bool:
    """Whether text is read from files of this name. The last extension counts, in small letters or large."""
    return _extension(filename) in KINDS


def refuse_unsupported(filenames: Iterable[str]) -> None:
    """Ask that text is read from files of these names. Errors: 400 in the platform's words, before anything is kept.

    A name without an extension is refused as it was there: programs that ran there have none, and whoever writes a new
    one learns of it now instead of from a file that has failed.
    """
    if refused := [name for name in filenames if not can_be_read(name)]:
        raise BadRequest(_unsupported(refused), param="file_ids", code="unsupported_file")


def _extension(filename: str) -> str:
    """The end of a name behind its last dot, in small letters; empty where there is none."""
    _, dot, end = filename.rpartition("/")[2].rpartition(".")
    return end.lower() if dot else ""


def _unsupported(filenames: Iterable[str]) -> str:
    ends = dict.fromkeys(f".{end[:20]}" if (end := _extension(name)) else "none" for name in filenames)
    return f"Files with extensions [{', '.join(ends)}] are not supported for retrieval. See {_SUPPORTED_FILES}"


async def extract(
    source: Path | AsyncIterable[bytes],
    filename: str,
    mime: str | None = None,
    *,
    bounds: Bounds = DEFAULT,
    folder: Path | None = None,
) -> str:
    """The text in a file: with ``\\n`` between lines, no NUL, never blank.

    ``source`` is a path, or the blocks of the file, which then lies in ``folder`` while it is read (default: where
    temporary files go). Errors: ``Unsupported``, ``Invalid``; ``RuntimeError`` when the fault is this server's.
    """
    kind = kind_of(filename, mime)
    with await asyncio.to_thread(_file, source, folder) as file:
        if not isinstance(source, Path):
            async for block in source:
                await asyncio.to_thread(file.write, block)
            await asyncio.to_thread(file.seek, 0)
        verdict, said = await _read(file, kind, bounds)
    if verdict == b"invalid":
        raise Invalid(said.decode())
    return said.decode()


def _file(source: Path | AsyncIterable[bytes], folder: Path | None) -> IO[bytes]:
    return source.open("rb") if isinstance(source, Path) else tempfile.TemporaryFile(dir=folder)


async def _read(file: IO[bytes], kind: str, bounds: Bounds) -> tuple[bytes, bytes]:
    """What the child says of the file: a word, and the text or the reason."""
    limits = (bounds.cpu_s, bounds.wall_s, bounds.memory, bounds.text, bounds.unpacked)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "everloom.work.vector_stores.extraction_child", kind, *map(str, limits)),
        stdin=file,
        stdout=PIPE,
        stderr=DEVNULL,
        start_new_session=True,  # Ctrl-C is for the server
        # Nothing of our environment: it holds keys.
        env={"PYTHONPATH": str(Path(everloom.__file__).parents[1]), "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"},
    )
    try:
        async with asyncio.timeout(bounds.wall_s + 1):  # the child's own alarm comes first
            said = await _output(process, bounds.text + _BLOCK)
            await process.wait()
    except TimeoutError:
        return b"invalid", _death(signal.SIGALRM, bounds).encode()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    verdict, _, rest = said.partition(b"\n")
    if process.returncode == 0 and verdict in (b"text", b"invalid"):
        return verdict, rest
    if process.returncode is not None and process.returncode < 0:
        return b"invalid", _death(-process.returncode, bounds).encode()
    raise RuntimeError(f"reading a file failed: {rest[:500].decode(errors='replace') or process.returncode}")


async def _output(process: Process, longest: int) -> bytes:
    assert process.stdout is not None
    blocks: list[bytes] = []
    size = 0
    while block := await process.stdout.read(_BLOCK):
        blocks.append(block)
        size += len(block)
        if size > longest:
            raise RuntimeError("the process that reads files wrote more than it may")
    return b"".join(blocks)


def _death(number: int, bounds: Bounds) -> str:
    """Why a child ended that did not end by itself."""
    if number == signal.SIGXCPU:
        return f"The file takes more than {bounds.cpu_s} seconds of processor time to read."
    if number == signal.SIGALRM:
        return f"The file takes more than {bounds.wall_s} seconds to read."
    return "The file cannot be read: it is damaged, or needs more memory than it may have."
