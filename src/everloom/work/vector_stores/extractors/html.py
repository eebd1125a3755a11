"""HTML: the text that a reader sees, a line a block."""

import codecs
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import IO

from everloom.work.vector_stores.extractors.text import decoded, encoding

_HEAD = 4096
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w-]{1,40})", re.IGNORECASE)
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

_SPACE = re.compile(r"[ \t\n\r\f]+")


def read_html(file: IO[bytes], unpacked: int) -> Iterator[str]:
    """The visible text. The encoding is the file's mark, what its head declares, else UTF-8."""
    head = file.read(_HEAD)
    file.seek(0)
    name = encoding(head)
    if name == "utf-8" and (found := _CHARSET.search(head)):
        name = _known(found[1].decode()) or name
    return _visible(decoded(file, name))


def _known(name: str) -> str | None:
    """The codec of a declared encoding, loaded; None for what is none (some of Python's codecs unpack archives)."""
    try:
        "".encode(name)
        codecs.getincrementaldecoder(name)
    except LookupError:
        return None
    return name


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
        elif tag in ("td", "th") and not self._blank:
            self._put("\t")
        elif tag == "li":
            self._put("- ")
        elif tag == "img" and (seen := next((value for name, value in attrs if name == "alt" and value), None)):
            self.handle_data(f" {seen} ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        if tag == "pre":
            self._verbatim = max(0, self._verbatim - 1)
        self._border(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in _UNSEEN or tag == "pre":
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        shown = data if self._verbatim else _SPACE.sub(" ", data)
        if not self._verbatim and (self._blank or self._space):
            shown = shown.lstrip(" ")
        if shown:
            self._put(shown)
            self._space = shown.endswith(" ")

    def _border(self, tag: str) -> None:
        wanted = 2 if tag in _APART else 1 if tag in _BLOCKS else 0
        if self._blank < wanted:
            if self._space and self._pieces:
                self._pieces[-1] = self._pieces[-1].rstrip(" ")
            self._pieces.append("\n" * (wanted - self._blank))
            self._blank = wanted
            self._space = False

    def _put(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self._blank = 0
            self._space = False
