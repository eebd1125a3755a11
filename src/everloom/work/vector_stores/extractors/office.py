"""DOCX and PPTX: zipped XML (Office Open XML, ECMA-376), read by the parts that hold text and nothing else.

Elements are told by their local names, which the transitional and the strict form of the standard share.
"""

import posixpath
import re
import zipfile
from collections.abc import Iterator
from typing import IO
from xml.parsers import expat

from msgspec import Struct

from everloom.work.vector_stores.extractors.base import Unreadable
from everloom.work.vector_stores.extractors.office_text import Body, Chart, Words, local

_BLOCK = 1 << 16
_MEMBERS = 20_000
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OLE = b"\xd0\xcf\x11\xe0"
_DRAWN = ("chart", "chartEx", "diagramData")
"""Parts that hold what stands in a drawing: charts old and new, and SmartArt."""

_EMPTY_LINES = re.compile(r"\n\s*\n")


class _Link(Struct, frozen=True):
    """A relationship of one part to another; ``type`` is the last word of its URI."""

    id: str
    type: str
    target: str


def read_docx(file: IO[bytes], unpacked: int) -> Iterator[str]:
    """What stands at the head of its pages, paragraphs and tables, then the foot, notes, comments and charts."""
    return _document(file, unpacked)


def read_pptx(file: IO[bytes], unpacked: int) -> Iterator[str]:
    """The slides in their order, each with its charts and diagrams, its speaker's notes and comments."""
    return _slides(file, unpacked)


def _document(file: IO[bytes], unpacked: int) -> Iterator[str]:
    with _Package(file, unpacked) as package:
        main = package.main("word/document.xml")
        links = [link for link in package.links(main) if link.target in package]
        yield from _once(package, links, "header")
        yield from package.text(main)
        yield from _once(package, links, "footer")
        for link in links:
            if link.type in ("footnotes", "endnotes"):
                yield from package.text(link.target)
        for kind in ("comments", *_DRAWN):
            yield from _once(package, links, kind)


def _once(package: "_Package", links: list[_Link], kind: str) -> Iterator[str]:
    """The parts of a kind. A document has a header for each section, and often it is the same; so are its pages."""
    told = set[str]()
    for link in links:
        if link.type == kind and (text := package.beside(link)) not in told:
            told.add(text)
            yield f"{text}\n\n"


def _slides(file: IO[bytes], unpacked: int) -> Iterator[str]:
    with _Package(file, unpacked) as package:
        main = package.main("ppt/presentation.xml")
        links = {link.id: link.target for link in package.links(main) if link.type == "slide"}
        for slide in (links[id] for id in package.slide_ids(main) if links.get(id) in package):
            yield from package.text(slide, between="\n")
            beside = [link for link in package.links(slide) if link.target in package]
            for kind in (*_DRAWN, "notesSlide", "comments"):
                for link in beside:
                    if link.type == kind and (text := package.beside(link)):
                        yield f"{text}\n"
            yield "\n"


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
            if local(element) == "Relationship" and given.get("TargetMode") != "External":
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
            if local(element) == "sldId":
                ids.extend(value for name, value in given.items() if name.endswith(" id"))

        parser = _parser()
        parser.StartElementHandler = start
        for _ in self._fed(parser, part):
            pass
        return ids

    def text(self, part: str, between: str = "\n\n") -> Iterator[str]:
        """The text of a part, as it is parsed; ``between`` paragraphs."""
        yield from self._told(Body(between), part)

    def beside(self, link: _Link) -> str:
        """The text of a part that hangs on another, without empty lines."""
        reader: Body | Chart | Words = Body("\n")
        if link.type in ("chart", "chartEx"):
            reader = Chart() if link.type == "chart" else Words()
        return _EMPTY_LINES.sub("\n", "".join(self._told(reader, link.target))).strip("\n")

    def _told(self, reader: Body | Chart | Words, part: str) -> Iterator[str]:
        parser = _parser()
        parser.StartElementHandler = reader.start
        parser.EndElementHandler = reader.end
        parser.CharacterDataHandler = reader.data
        for _ in self._fed(parser, part):
            yield from reader.take()
        yield from reader.rest()

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
