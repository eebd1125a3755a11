"""Marks in an answer, and what they stand for: passages that a search found, files that code made.

Only what the model really wrote is annotated: a mark that stands in the text, letter by letter, and
that a tool of this run gave it. Indices count characters, so that ``text[start_index:end_index]`` is the mark.
"""

import re
from collections.abc import Iterable

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


class Citations:
    """The marks that an answer may hold. ``read`` is called as the text grows and gives each annotation once."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {source.mark: source for source in sources}
        longest_first = sorted(self._sources, key=len, reverse=True)
        self._marks = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._read = 0

    def read(self, text: str, *, ended: bool) -> list[Annotation]:
        """The annotations of marks that are new in ``text``. A path at its end may still grow, until ``ended``."""
        found: list[Annotation] = []
        for mark in self._marks.finditer(text, self._read) if self._marks else ():
            if mark[0].startswith(PATH):
                if not ended and mark.end() + _LOOK_AHEAD > len(text):
                    break
                if _GOES_ON.match(text, mark.end()):
                    continue
            found.append(self._annotation(mark[0], mark.start()))
            self._read = mark.end()
        return found

    def _annotation(self, mark: str, start: int) -> Annotation:
        source = self._sources[mark]
        end = start + len(mark)
        if mark.startswith(PATH):
            target = FilePathTarget(file_id=source.file_id)
            return FilePath(text=mark, file_path=target, start_index=start, end_index=end)
        cited = FileCitationSource(file_id=source.file_id, quote=source.quote)
        return FileCitation(text=mark, file_citation=cited, start_index=start, end_index=end)


def indexed(annotation: Annotation, index: int) -> AnnotationDelta:
    """The annotation as a delta tells it."""
    fields = {name: getattr(annotation, name) for name in annotation.__struct_fields__}
    if isinstance(annotation, FilePath):
        return FilePathDelta(index=index, **fields)
    return FileCitationDelta(index=index, **fields)
