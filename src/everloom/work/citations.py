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

_MARK = re.compile(r"【[^【】]{1,300}】|sandbox:/mnt/data/[^\s()\[\]<>\"'`]+")

PATH = "sandbox:/mnt/data/"


class Citations:
    """The marks that an answer may hold. ``read`` is called as the text grows and gives each annotation once."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {source.mark: source for source in sources}
        self._read = 0

    def read(self, text: str, *, ended: bool) -> list[Annotation]:
        """The annotations of marks that end in what is new. A path that may still grow waits until ``ended``."""
        found: list[Annotation] = []
        for mark in _MARK.finditer(text, self._read):
            if mark.end() == len(text) and mark[0].startswith(PATH) and not ended:
                break
            annotation = self._annotation(mark[0], mark.start())
            if annotation is not None:
                found.append(annotation)
                self._read = annotation.end_index
        return found

    def _annotation(self, mark: str, start: int) -> Annotation | None:
        if mark.startswith(PATH):
            # A sentence may end behind a path: what follows the name is not part of it.
            while mark not in self._sources and mark and mark[-1] in ".,;:!?*":
                mark = mark[:-1]
        source = self._sources.get(mark)
        if source is None:
            return None
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
