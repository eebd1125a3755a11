"""DOCX and PPTX: zipped XML (Office Open XML, ECMA-376), read by the parts that hold text and nothing else.

Elements are told by their local names, which the transitional and the strict form of the standard share.
"""

import posixpath
import zipfile
from collections.abc import Iterator
from typing import IO
from xml.parsers import expat

from msgspec import Struct

from everloom.work.vector_stores.extractors.base import Unreadable

_BLOCK = 1 << 16
_MEMBERS = 20_000
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OLE = b"\xd0\xcf\x11\xe0"


def read_docx(file: IO[bytes], unpacked: int) -> Iterator[str]:
    """The document's paragraphs and tables, then its notes."""
    return _document(file, unpacked)


def read_pptx(file: IO[bytes], unpacked: int) -> Iterator[str]:
    """The slides in their order, each with its speaker's notes."""
    return _slides(file, unpacked)


def _document(file: IO[bytes], unpacked: int) -> Iterator[str]:
    with _Package(file, unpacked) as package:
        main = package.main("word/document.xml")
        yield from package.text(main)
        for link in package.links(main):
            if link.type in ("footnotes", "endnotes") and link.target in package:
                yield from package.text(link.target)


def _slides(file: IO[bytes], unpacked: int) -> Iterator[str]:
    with _Package(file, unpacked) as package:
        main = package.main("ppt/presentation.xml")
        links = {link.id: link.target for link in package.links(main) if link.type == "slide"}
        for slide in (links[id] for id in package.slide_ids(main) if links.get(id) in package):
            yield from package.text(slide, between="\n")
            for link in package.links(slide):
                if link.type == "notesSlide" and link.target in package:
                    yield from package.text(link.target, between="\n")
            yield "\n"


class _Link(Struct, frozen=True):
    """A relationship of one part to another; ``type`` is the last word of its URI."""

    id: str
    type: str
    target: str


class _Package:
    """The archive. ``unpacked``: bytes that all of it may come to, by its own directory, before any of it is read."""

    def __init__(self, file: IO[bytes], unpacked: int) -> None:
        head = file.read(4)
        file.seek(0)
        if head == _OLE:
            raise Unreadable("The file is encrypted, or of an older format than its name says.")
        try:
            self._archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile:
            raise Unreadable("The file is not an Office document.") from None
        members = self._archive.infolist()
        if len(members) > _MEMBERS or sum(member.file_size for member in members) > unpacked:
            raise Unreadable(f"The file unpacks to more than {unpacked >> 20} MiB or {_MEMBERS} members.")
        self._members = {member.filename: member for member in members}

    def __enter__(self) -> "_Package":
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def __contains__(self, part: object) -> bool:
        return part in self._members

    def main(self, usual: str) -> str:
        """The part that the package is about."""
        named = (link.target for link in self.links("") if link.type == "officeDocument")
        main = next((part for part in named if part in self), usual)
        if main not in self:
            raise Unreadable("The file is not an Office document of the kind its name says.")
        return main

    def links(self, part: str) -> list[_Link]:
        """The relationships of a part, those to places outside the package left out."""
        folder, name = posixpath.split(part)
        listed = posixpath.join(folder, "_rels", name + ".rels")
        found: list[_Link] = []

        def start(element: str, given: dict[str, str]) -> None:
            if _local(element) == "Relationship" and given.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, given.get("Target", ""))).lstrip("/")
                found.append(_Link(given.get("Id", ""), given.get("Type", "").rpartition("/")[2], target))

        if listed in self:
            parser = _parser()
            parser.StartElementHandler = start
            for _ in self._fed(parser, listed):
                pass
        return found

    def slide_ids(self, part: str) -> list[str]:
        """The ids of the presentation's relationships to its slides, in the order in which they are shown."""
        ids: list[str] = []

        def start(element: str, given: dict[str, str]) -> None:
            if _local(element) == "sldId":
                ids.extend(value for name, value in given.items() if name.endswith(" id"))

        parser = _parser()
        parser.StartElementHandler = start
        for _ in self._fed(parser, part):
            pass
        return ids

    def text(self, part: str, between: str = "\n\n") -> Iterator[str]:
        """The text of a part, as it is parsed; ``between`` paragraphs."""
        body = _Body(between)
        parser = _parser()
        parser.StartElementHandler = body.start
        parser.EndElementHandler = body.end
        parser.CharacterDataHandler = body.data
        for _ in self._fed(parser, part):
            yield from body.take()

    def _fed(self, parser: expat.XMLParserType, part: str) -> Iterator[None]:
        """Feeds a part to a parser, block by block. A member gives no more than its directory says."""
        member = self._members[part]
        if member.compress_type not in _PACKED or member.flag_bits & 1:
            raise Unreadable("The file is encrypted, or packed in a way that Office does not know.")
        with self._archive.open(member) as source:
            while block := source.read(_BLOCK):
                parser.Parse(block, False)
                yield
        parser.Parse(b"", True)
        yield


def _parser() -> expat.XMLParserType:
    """A parser that refuses declarations of types and with them entities, which no Office document has."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse
    parser.buffer_text = True
    return parser


def _refuse(*_: object) -> None:
    raise Unreadable("The file declares XML entities, which no Office document does.")


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


class _Body:
    """The running text of WordprocessingML and DrawingML: both have ``p``, ``t``, ``tab``, ``br``, ``tr``, ``tc``."""

    def __init__(self, between: str) -> None:
        self._between = between
        self._pieces: list[str] = []
        self._texts = 0
        self._cells = 0
        self._twice = 0
        """Depth inside ``mc:Fallback``, which says again what its ``mc:Choice`` has said."""

    def take(self) -> list[str]:
        """The text since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def start(self, element: str, given: dict[str, str]) -> None:
        name = _local(element)
        if name == "Fallback":
            self._twice += 1
        elif self._twice:
            return
        elif name == "t":
            self._texts += 1
        elif name == "tc":
            self._cells += 1
        elif name in _SIGNS and "alignment" not in given and not any(key.endswith(" pos") for key in given):
            self._pieces.append(_SIGNS[name])

    def end(self, element: str) -> None:
        name = _local(element)
        if name == "Fallback":
            self._twice -= 1
        elif self._twice:
            return
        elif name == "t":
            self._texts -= 1
        elif name == "tc":
            self._cells -= 1
            self._close(" ", "\t")
        elif name == "tr":
            self._close("\t", "\n")
        elif name == "tbl" and not self._cells:
            self._pieces.append("\n")
        elif name == "p":
            self._pieces.append(" " if self._cells else self._between)

    def _close(self, inner: str, outer: str) -> None:
        """Ends a cell or a row, whose last paragraph or cell has ended just before."""
        if self._pieces[-1:] == [inner]:
            self._pieces.pop()
        self._pieces.append(outer)

    def data(self, text: str) -> None:
        if self._texts and not self._twice:
            self._pieces.append(text)


_SIGNS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "\u2011"}
