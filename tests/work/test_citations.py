"""Marks become annotations: exactly those that stand in the text and that a tool gave, each in a piece of its own."""

import pytest

from everloom.objects.messages import FileCitation, FilePath
from everloom.objects.runs import Source
from everloom.work.runs.citations import Citations, CitedPiece

SOURCES = [
    Source(mark="【1:0†source】", file_id="file-a", quote="words"),
    Source(mark="【1:1†source】", file_id="file-b"),
    Source(mark="sandbox:/mnt/data/x.csv", file_id="file-x"),
    Source(mark="sandbox:/mnt/data/x.csv.gz", file_id="file-z"),
    Source(mark="sandbox:/mnt/data/my plot.png", file_id="file-p"),
]
SIZES = (1, 2, 3, 5, 1000)


def pieces_of(text: str, size: int) -> list[CitedPiece]:
    """The pieces in which a text leaves that comes in pieces of ``size``."""
    citations, pieces = Citations(SOURCES), []
    for start in range(0, len(text), size):
        pieces += citations.feed(text[start : start + size])
    pieces += citations.feed("", ended=True)
    assert "".join(piece.text for piece in pieces) == text
    assert all(piece.text for piece in pieces)
    return pieces


def read(text: str, *, size: int) -> list[FileCitation | FilePath]:
    """The annotations, each of which came with the whole mark that it is of."""
    cited = [piece for piece in pieces_of(text, size) if piece.annotation]
    assert [piece.text for piece in cited] == [piece.annotation.text for piece in cited if piece.annotation]
    return [piece.annotation for piece in cited if piece.annotation]


@pytest.mark.parametrize("size", SIZES)
def test_indices_slice_the_mark_out_of_the_text(size: int) -> None:
    text = "Ünïcode 😀 first【1:0†source】 and【1:1†source】, "
    text += "see [x](sandbox:/mnt/data/x.csv). Also sandbox:/mnt/data/x.csv.gz. ![](sandbox:/mnt/data/my plot.png)"
    found = read(text, size=size)
    assert [text[a.start_index : a.end_index] for a in found] == [a.text for a in found]
    assert [a.text for a in found] == [source.mark for source in SOURCES]
    assert [a.file_citation.file_id for a in found if isinstance(a, FileCitation)] == ["file-a", "file-b"]
    assert [a.file_path.file_id for a in found if isinstance(a, FilePath)] == ["file-x", "file-z", "file-p"]


@pytest.mark.parametrize("size", SIZES)
def test_what_no_tool_gave_is_only_text(size: int) -> None:
    text = "Made up【9:9†source】 and sandbox:/mnt/data/nothing.csv and sandbox:/mnt/data/x.csv.bak 【 half"
    assert read(text, size=size) == []


@pytest.mark.parametrize("size", SIZES)
def test_a_mark_cited_twice_is_annotated_twice(size: int) -> None:
    found = read("one【1:0†source】 two【1:0†source】", size=size)
    assert [a.start_index for a in found] == [3, 19]


@pytest.mark.parametrize("size", SIZES)
def test_a_path_may_be_percent_encoded(size: int) -> None:
    text = "![plot](sandbox:/mnt/data/my%20plot.png)"
    (found,) = read(text, size=size)
    assert isinstance(found, FilePath)
    assert found.file_path.file_id == "file-p"
    assert text[found.start_index : found.end_index] == found.text == "sandbox:/mnt/data/my%20plot.png"


def test_nothing_is_held_back_longer_than_it_may_be_a_mark() -> None:
    citations = Citations(SOURCES)
    assert citations.feed("It is so【1:0†") == [CitedPiece("It is so", None)]
    assert citations.feed("quite") == [CitedPiece("【1:0†quite", None)]
    assert citations.feed(" sand") == [CitedPiece(" ", None)]
    assert citations.feed("y") == [CitedPiece("sandy", None)]


def test_without_sources_every_word_leaves_at_once() -> None:
    assert Citations([]).feed("so【1:0†") == [CitedPiece("so【1:0†", None)]
