"""HTML: the text that a reader sees, a line a block."""

import codecs
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import IO

import webencodings  # type: ignore[import-untyped]  # it brings no types

from everloom.work.vector_stores.extractors.text import decoded, encoding

_HEAD = 4096
_SAMPLE = 1 << 20
_TOLERATED = 0.1
"""The part of a page that may be no characters: a page in an encoding that it does not declare has more."""

_ATTRIBUTES = rb"(?:\s*+(?:=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>]++)|[^\s=>]++))*+"
_META = re.compile(
    rb"<!--.*?(?:-->|\Z)|<meta(?=[\s/])(%b)|</?[a-z]%b" % (_ATTRIBUTES, _ATTRIBUTES), re.IGNORECASE | re.DOTALL
)
"""Comments and tags; those called ``meta`` have a group. Possessive: no stranger's tag is gone through twice."""

_ATTRIBUTE = re.compile(rb"([^\s/>=\"']+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([^\s;\"']+)", re.IGNORECASE)
_DECLARATION = re.compile(rb"<\?xml\s[^>]{0,200}?encoding\s*=\s*[\"']([^\"'>]{1,100})[\"']")
_CHARACTER = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")

_CODECS = {
    "gbk": "gb18030",
    "replacement": "utf-8",
    "utf-16be": "utf-8",
    "utf-16le": "utf-8",
    "x-user-defined": "cp1252",
}
"""What a declared encoding means other than its own name says: a page that could be read so far as to find it is not
in UTF-16 (HTML standard, 13.2.3.2), GBK is decoded as what contains it (Encoding standard, 10.1.1).
"""

_UNSEEN = frozenset({"iframe", "noscript", "script", "style", "svg", "template"})
_APART = frozenset(
    {"article", "blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "section", "table", "title"}
    | {"ul"}
)
"""Blocks with an empty line around them."""

_BLOCKS = _APART | frozenset(
    {"address", "aside", "body", "br", "caption", "dd", "details", "dialog", "div", "dt", "fieldset", "figcaption"}
    | {"figure", "footer", "form", "header", "hr", "li", "main", "menu", "nav", "summary", "tr"}
)
"""Blocks that begin and end a line."""

_READINGS = frozenset({"rp", "rt", "rtc"})
_SPACE = re.compile(r"[ \t\n\r\f]+")


def read_html(file: IO[bytes], unpacked: int) -> Iterator[str]:
    """The visible text, in the encoding that a browser takes it to be in: the file's mark, what its head declares,
    else UTF-8, or windows-1252 where that makes more sense.
    """
    head = file.read(_HEAD)
    name = encoding(head)
    if name == "utf-8":
        name = _declared(head) or _guessed(head + file.read(_SAMPLE))
    file.seek(0)
    codecs.lookup(name)
    return _visible(decoded(file, name, _TOLERATED))


def _declared(head: bytes) -> str | None:
    """The codec of the encoding that a page declares; labels mean what they mean to browsers."""
    labels = [label for found in _META.finditer(head) if (label := _label(found[1] or b""))]
    if found := _DECLARATION.match(head):
        labels.append(found[1])
    for label in labels:
        if known := webencodings.lookup(label.decode("latin-1")):
            codec: str = _CODECS.get(known.name) or known.codec_info.name
            return codec
    return None


def _label(attributes: bytes) -> bytes | None:
    """The encoding that a ``meta`` element names, whichever of the two ways."""
    given: dict[bytes, bytes] = {}
    for name, *values in _ATTRIBUTE.findall(attributes):
        given.setdefault(name.lower(), b"".join(values))
    if b"charset" in given:
        return given[b"charset"]
    if given.get(b"http-equiv", b"").strip().lower() == b"content-type":
        found = _CHARSET.search(given.get(b"content", b""))
        return found[1] if found else None
    return None


def _guessed(sample: bytes) -> str:
    """The encoding of a page that declares none: UTF-8, unless most of what is no ASCII is not."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(sample)
    legacy = text.count("\ufffd") > len(_CHARACTER.findall(sample)) and b"\0" not in sample
    return "cp1252" if legacy else "utf-8"


def _visible(texts: Iterator[str]) -> Iterator[str]:
    page = _Page()
    for text in texts:
        page.feed(text)
        yield from page.take()
    page.close()
    yield from page.take()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[str] = []
        self._unseen: list[str] = []
        self._verbatim = 0
        self._blank = 2
        """Line ends that the text so far ends with; 2 at its start, where nothing has to be set apart."""
        self._space = False
        self._cells = 0
        self._told = False
        """How many cells of a table's row have begun, and whether there was a word in one."""
        self._reading: list[str] = []
        self._part = ""
        """How the base of a ruby is read, which goes behind it, and which part of the ruby the text is in."""

    def take(self) -> list[str]:
        """The text since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen.append(tag)
        self._border(tag)
        if tag == "pre":
            self._verbatim += 1
        elif tag == "tr":
            self._cells, self._told = 0, False
        elif tag in ("td", "th"):
            self._begin_cell()
        elif tag == "li":
            self._put("- ")
        elif tag in _READINGS or tag == "rb":
            self._part = tag
        elif tag == "img" and (seen := next((value for name, value in attrs if name == "alt" and value), None)):
            self.handle_data(f" {seen} ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        if tag == "pre":
            self._verbatim = max(0, self._verbatim - 1)
        elif tag in _READINGS:
            self._part = ""
        elif tag == "ruby":
            self._end_ruby()
        self._border(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in _UNSEEN or tag == "pre":
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if self._part in _READINGS:
            if self._part != "rp":
                self._reading.append(data.strip())
            return
        shown = data if self._verbatim else _SPACE.sub(" ", data)
        if not self._verbatim and (self._blank or self._space):
            shown = shown.lstrip(" ")
        if shown:
            self._put(shown)
            self._space = shown.endswith(" ")
            self._told = self._told or not shown.isspace()

    def _begin_cell(self) -> None:
        """Set a cell apart from the one before it, which may be empty; not where that ends with a line anyway."""
        if self._cells and not (self._blank and self._told):
            self._trim()
            self._put("\t")
            self._space = True
        self._cells += 1

    def _end_ruby(self) -> None:
        """Tell the reading behind its base, so that the base can be found."""
        reading, self._reading, self._part = "".join(self._reading), [], ""
        if reading:
            self._put(f"({reading})")

    def _border(self, tag: str) -> None:
        wanted = 2 if tag in _APART else 1 if tag in _BLOCKS else 0
        if wanted:
            self._end_ruby()  # which somebody forgot
        if self._blank < wanted:
            self._trim()
            self._pieces.append("\n" * (wanted - self._blank))
            self._blank = wanted
            self._space = False

    def _trim(self) -> None:
        if self._space and self._pieces:
            self._pieces[-1] = self._pieces[-1].rstrip(" ")

    def _put(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self._blank = 0
            self._space = False
