"""Marks in an answer, and what they stand for: passages that a search found, files that code made.

Only what the model really wrote is annotated: a mark that stands in the text, letter by letter, and
that a tool of this run gave it. Indices count characters, so that ``text[start_index:end_index]`` is the mark.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from everloom.objects.messages import (
    Annotation,
    AnnotationDelta,
    FileCitation,
    FileCitationDelta,
    FileCitationSource,
    FilePath,
    FilePathDelta,
    FilePathTarget,
)
from everloom.objects.runs import Source

PATH = "sandbox:/mnt/data/"

_GOES_ON = re.compile(r"\.?[\w-]")
"""Behind a path: the name is longer than the one that is known."""

_LOOK_AHEAD = 2


class CitedPiece(NamedTuple):
    """A part of a text: a whole mark with what it stands for, or whatever stands between marks."""

    text: str
    annotation: Annotation | None


class Citations:
    """The marks that an answer may hold. A text is fed as it comes and leaves in pieces, each mark whole.

    Programs add up what a stream brings and look for a mark where its annotation comes, so the beginning of a mark is
    held back until the mark is whole or cannot become one: no further than the longest mark is.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {mark: source for source in sources for mark in _spellings(source.mark)}
        longest_first = sorted(self._sources, key=len, reverse=True)
        self._marks = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._longest = len(longest_first[0]) if longest_first else 0
        self._held = ""
        self._passed = 0
        """Characters of the text that have left."""

    def feed(self, more: str, *, ended: bool = False) -> list[CitedPiece]:
        """The pieces that are certain once the text has grown by ``more``; with ``ended`` all that is left."""
        text = self._held + more
        pieces: list[CitedPiece] = []
        done = 0
        for start, end in self._found(text, ended=ended):
            if start > done:
                pieces.append(CitedPiece(text[done:start], None))
            pieces.append(CitedPiece(text[start:end], self._annotation(text[start:end], self._passed + start)))
            done = end
        rest = len(text) if ended else self._certain(text, done)
        if rest > done:
            pieces.append(CitedPiece(text[done:rest], None))
        self._held = text[rest:]
        self._passed += rest
        return pieces

    def _found(self, text: str, *, ended: bool) -> Iterator[tuple[int, int]]:
        """Where whole marks stand, up to the first place where a longer one may still come."""
        for mark in self._marks.finditer(text) if self._marks else ():
            start, end = mark.span()
            if not ended and self._may_grow(text, start, end):
                return
            if not (mark[0].startswith(PATH) and _GOES_ON.match(text, end)):
                yield start, end

    def _may_grow(self, text: str, start: int, end: int) -> bool:
        if text.startswith(PATH, start) and end + _LOOK_AHEAD > len(text):
            return True
        return self._begins_mark(text[start:])

    def _begins_mark(self, beginning: str) -> bool:
        return any(len(mark) > len(beginning) and mark.startswith(beginning) for mark in self._sources)

    def _certain(self, text: str, done: int) -> int:
        """How far the text can leave: up to what may be the beginning of a mark, or a path that may go on."""
        for start in range(max(done, len(text) - self._longest - _LOOK_AHEAD), len(text)):
            if text[start] in "【s" and (self._begins_mark(text[start:]) or self._ends_open(text, start)):
                return start
        return len(text)

    def _ends_open(self, text: str, start: int) -> bool:
        """Whether a path stands here of which it cannot be told yet whether its name is whole."""
        mark = self._marks.match(text, start) if self._marks else None
        return mark is not None and mark[0].startswith(PATH) and mark.end() + _LOOK_AHEAD > len(text)

    def _annotation(self, mark: str, start: int) -> Annotation:
        source = self._sources[mark]
        end = start + len(mark)
        if mark.startswith(PATH):
            target = FilePathTarget(file_id=source.file_id)
            return FilePath(text=mark, file_path=target, start_index=start, end_index=end)
        cited = FileCitationSource(file_id=source.file_id, quote=source.quote)
        return FileCitation(text=mark, file_citation=cited, start_index=start, end_index=end)


def _spellings(mark: str) -> set[str]:
    """The ways in which a model may write a mark: a path in a link is often percent-encoded, or its spaces are."""
    if not mark.startswith(PATH):
        return {mark}
    name = mark.removeprefix(PATH)
    return {mark, PATH + quote(name), PATH + name.replace(" ", "%20")}


def indexed(annotation: Annotation, index: int) -> AnnotationDelta:
    """The annotation as a delta tells it."""
    fields = {name: getattr(annotation, name) for name in annotation.__struct_fields__}
    if isinstance(annotation, FilePath):
        return FilePathDelta(index=index, **fields)
    return FileCitationDelta(index=index, **fields)
