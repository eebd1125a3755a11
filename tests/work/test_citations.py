"""Marks become annotations: exactly those that stand in the text and that a tool gave."""

from everloom.objects.messages import FileCitation, FilePath
from everloom.objects.runs import Source
from everloom.work.runs.citations import Citations

SOURCES = [
    Source(mark="【1:0†a.pdf】", file_id="file-a", quote="words"),
    Source(mark="【1:1†b.md】", file_id="file-b"),
    Source(mark="sandbox:/mnt/data/x.csv", file_id="file-x"),
    Source(mark="sandbox:/mnt/data/x.csv.gz", file_id="file-z"),
    Source(mark="sandbox:/mnt/data/my plot.png", file_id="file-p"),
]


def read(text: str, *, pieces: int) -> list[FileCitation | FilePath]:
    """The annotations of a text that grows in so many pieces."""
    citations, found = Citations(SOURCES), []
    for end in range(pieces, len(text) + pieces, pieces):
        found += citations.read(text[:end], ended=False)
    return found + citations.read(text, ended=True)


def test_indices_slice_the_mark_out_of_the_text() -> None:
    text = "Ünïcode 😀 first【1:0†a.pdf】 and【1:1†b.md】, "
    text += "see [x](sandbox:/mnt/data/x.csv). Also sandbox:/mnt/data/x.csv.gz. ![](sandbox:/mnt/data/my plot.png)"
    for pieces in (1, 2, 5, 1000):
        found = read(text, pieces=pieces)
        assert [text[a.start_index : a.end_index] for a in found] == [a.text for a in found]
        assert [a.text for a in found] == [source.mark for source in SOURCES]
        assert [a.file_citation.file_id for a in found if isinstance(a, FileCitation)] == ["file-a", "file-b"]
        assert [a.file_path.file_id for a in found if isinstance(a, FilePath)] == ["file-x", "file-z", "file-p"]


def test_what_no_tool_gave_is_only_text() -> None:
    text = "Made up【9:9†c.txt】 and sandbox:/mnt/data/nothing.csv and sandbox:/mnt/data/x.csv.bak 【 half"
    for pieces in (1, 3, 1000):
        assert read(text, pieces=pieces) == []


def test_a_mark_cited_twice_is_annotated_twice() -> None:
    found = read("one【1:0†a.pdf】 two【1:0†a.pdf】", pieces=4)
    assert [a.start_index for a in found] == [3, 18]
