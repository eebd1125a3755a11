"""Text out of real files of every kind, and files that were made to do harm."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everloom.work.vector_stores.extraction import KINDS, Bounds, Invalid, Unsupported, extract, kind_of
from tests.work.documents import (
    archive,
    doc,
    docx,
    flate_bomb,
    notes,
    paragraphs,
    pdf,
    pptx,
    relations,
    zip_bomb,
)

MEBIBYTE = 1 << 20
LISTED = "c cpp cs css doc docx go html java js json md pdf php pptx py rb sh tex ts txt"
"""The extensions that the platform's guide lists for file search."""


async def blocks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def read(data: bytes, name: str, mime: str | None = None, bounds: Bounds | None = None) -> str:
    return asyncio.run(extract(blocks(data, 1 << 20), name, mime, bounds=bounds or Bounds()))


def test_every_listed_kind_is_known() -> None:
    assert set(LISTED.split()) <= set(KINDS)


@pytest.mark.parametrize(
    ("name", "mime", "kind"),
    [
        ("notes.TXT", None, "text"),
        ("../../etc/a.PDF", "text/plain", "pdf"),
        ("archive.tar.py", None, "text"),
        (".md", None, "text"),
        ("README", "text/markdown; charset=utf-8", "text"),
        ("letter", "application/MSWORD", "doc"),
    ],
)
def test_a_name_tells_the_kind(name: str, mime: str | None, kind: str) -> None:
    assert kind_of(name, mime) == kind


@pytest.mark.parametrize(
    ("name", "mime"),
    [("data.csv", "text/csv"), ("photo.png", None), ("x.exe", "text/plain"), ("README", None), ("", "image/png")],
)
def test_other_kinds_are_not_supported(name: str, mime: str | None) -> None:
    with pytest.raises(Unsupported, match=r"Files with extensions \[\.?\w+\] are not supported for file search\."):
        read(b"some text", name, mime)


TEXT = "Grüße aus Oslo —\n\tfür 5 €: 你好 😀\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark_or_in_utf8(encoding: str) -> None:
    assert read(TEXT.encode(encoding), "a.md") == TEXT


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "ascii"])
def test_encodings_without_a_mark(encoding: str) -> None:
    text = "Plain words, enough of them to tell.\n"
    assert read(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize(
    "data",
    [
        "naïve café".encode("latin-1"),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"abc\0\0\0def" * 9,
        "\ud800".encode("utf-16", "surrogatepass"),
    ],
    ids=["latin-1", "an image", "nuls", "half a character"],
)
def test_what_is_no_text_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid, match=r"not encoded in UTF-8, UTF-16 or ASCII|not a text file"):
        read(data, "a.txt")


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n ", b"\xef\xbb\xbf", b"\x01\x02"])
def test_a_file_without_text_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid, match="contains no text"):
        read(data, "a.txt")


def test_lines_end_alike_and_controls_go() -> None:
    assert read(b"one\r\ntwo\rthree\x07\x1b[0m", "a.py") == "one\ntwo\nthree[0m"


def test_a_character_may_lie_across_blocks() -> None:
    text = "x" + "é" * MEBIBYTE
    assert read(text.encode(), "a.txt") == text


def test_a_path_is_read_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "kept under another name"
    path.write_text("inside")
    assert asyncio.run(extract(path, "a.txt")) == "inside"


def test_html_is_what_a_reader_sees() -> None:
    page = """<!doctype html><html><head><meta charset=utf-8><title>A &amp; B</title><style>p{color:red}</style>
    <script>if (a < b) document.write("</p>never")</script></head><body><h1>Head</h1><p>One   two
    three <b>bo</b>ld &mdash; x<p>Next<ul><li>a<li>b</ul><table><tr><td>1<td>2<tr><td>3<td>4</table>
    <pre>def f():
        pass</pre><img src=x alt="a fjord"><br>end<noscript>never</noscript></body></html>"""
    assert read(page.encode(), "page.html").split("\n") == [
        *["A & B", "", "Head", "", "One two three bold — x", "", "Next", "", "- a", "- b", "", "1\t2", "3\t4", ""],
        *["def f():", "        pass", "", "a fjord", "end", ""],
    ]


@pytest.mark.parametrize("name", ["iso-8859-1", "windows-1252", "shift_jis"])
def test_html_may_declare_its_encoding(name: str) -> None:
    text = "日本" if name == "shift_jis" else "Grüße"
    page = f'<meta http-equiv="Content-Type" content="text/html; charset={name}"><p>{text}'
    assert read(page.encode(name), "a.htm").strip() == text


@pytest.mark.parametrize("name", ["zlib", "hex", "idna", "no-such", "undefined"])
def test_html_may_not_declare_any_codec_of_python(name: str) -> None:
    try:
        assert read(f"<meta charset={name}><p>words".encode(), "a.html").strip() == "words"
    except Invalid:
        assert name in ("idna", "undefined")


def test_a_pdf_gives_its_pages_in_order() -> None:
    text = read(pdf("Page one (first)\nsecond line: café", "Page two"), "a.pdf")
    assert text == "Page one (first)\nsecond line: café\n\nPage two\n\n"


def test_a_pdf_without_text_is_invalid() -> None:
    with pytest.raises(Invalid, match="contains no text"):
        read(pdf(""), "scan.pdf")


@pytest.mark.parametrize("kept", [0, 9, 200, 700])
def test_a_pdf_cut_short_ends_one_way_or_the_other(kept: int) -> None:
    try:
        assert "Some words" in read(pdf("Some words")[:kept], "a.pdf")
    except Invalid:
        assert kept < 700


def test_a_locked_pdf_says_so() -> None:
    lock = b"/Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <%b> /U <%b> >> /ID [<00> <00>]"
    with pytest.raises(Invalid, match="encrypted"):
        read(pdf("secret", trailer=lock % (b"41" * 32, b"42" * 32)), "a.pdf")


def test_a_word_document() -> None:
    body = (
        paragraphs(["Title", "Rain & wind < storm"])
        + "<w:p><w:pPr><w:tabs><w:tab w:val='left' w:pos='720'/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t>"
        + "<w:br/><w:t>c</w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
        + "<w:tbl><w:tr><w:tc>"
        + paragraphs(["1"])
        + "</w:tc><w:tc>"
        + paragraphs(["2", "3"])
        + "</w:tc></w:tr></w:tbl>"
        + "<w:p><x:AlternateContent xmlns:x='mc'><x:Choice><w:r><w:t>box</w:t></w:r></x:Choice>"
        + "<x:Fallback><w:r><w:t>box</w:t></w:r></x:Fallback></x:AlternateContent></w:p>"
    )
    text = read(docx(body, footnotes=notes("footnote", "A note.")), "a.docx")
    assert text == "Title\n\nRain & wind < storm\n\na\tb\nc\n\n1\t2 3\n\nbox\n\nA note.\n\n"


def test_a_presentation_in_the_order_of_its_slides() -> None:
    slides = [([f"Slide {number}", "a", "b"], f"note {number}") for number in range(12)]
    assert read(pptx(*slides), "a.pptx") == "".join(f"Slide {number}\na\nb\nnote {number}\n\n" for number in range(12))


@pytest.mark.parametrize("pieces", [1, 5])
@pytest.mark.parametrize("words", [3, 3000])
def test_an_old_word_document(pieces: int, words: int) -> None:
    text = "Grüße\r" + "word " * words + 'see \x13 HYPERLINK "http://x" \x14the page\x15\rcell\x07\x07\r'
    said = read(doc(text, pieces=pieces, footnotes="\x02A note.\r"), "a.doc")
    assert said == "Grüße\n\n" + "word " * words + "see the page\n\ncell\t\t\n\nA note.\n\n"


def test_a_locked_old_word_document_says_so() -> None:
    with pytest.raises(Invalid, match="encrypted"):
        read(doc("secret " * 900, flags=0x0100), "a.doc")


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.pptx", "a.doc"])
@pytest.mark.parametrize("data", [b"", b"just text", b"PK\x03\x04" + bytes(80), b"%PDF-1.7\n%%EOF", bytes(5000)])
def test_a_name_that_lies_is_invalid(name: str, data: bytes) -> None:
    with pytest.raises(Invalid):
        read(data, name)


def test_a_document_inside_an_old_container_is_called_encrypted() -> None:
    with pytest.raises(Invalid, match="encrypted, or of an older format"):
        read(doc("words"), "a.docx")


# Bombs. The bounds are small, so that the tests are quick; a defence that did nothing would fail them all the same.

SMALL = Bounds(cpu_s=20, wall_s=40, memory=256 * MEBIBYTE, text=8 * MEBIBYTE, unpacked=64 * MEBIBYTE)


def test_two_gigabytes_in_a_docx() -> None:
    bomb = zip_bomb("word/document.xml", 2048 * MEBIBYTE)
    assert len(bomb) < 4 * MEBIBYTE
    with pytest.raises(Invalid, match="unpacks to more than 512 MiB"):
        read(bomb, "a.docx")


def test_two_gigabytes_that_say_they_are_few() -> None:
    with pytest.raises(Invalid):
        read(zip_bomb("word/document.xml", 2048 * MEBIBYTE, declared=1000), "a.docx", bounds=SMALL)


def test_too_many_members() -> None:
    with pytest.raises(Invalid, match="20000 members"):
        read(archive({f"{number}": b"" for number in range(20_001)}), "a.docx")


def test_entities_that_multiply() -> None:
    lines = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10}'>" for n in range(1, 12))
    bomb = archive({"word/document.xml": f"<!DOCTYPE d [<!ENTITY e0 'ha'>{lines}]><d><t>&e11;</t></d>"})
    with pytest.raises(Invalid, match="entities"):
        read(bomb, "a.docx")


def test_an_entity_that_names_a_file() -> None:
    spy = "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><w:d xmlns:w='w'><w:p><w:t>&e;</w:t></w:p></w:d>"
    with pytest.raises(Invalid, match="entities"):
        read(archive({"word/document.xml": spy}), "a.docx")


def test_a_part_outside_the_package() -> None:
    members: dict[str, str | bytes] = {"_rels/.rels": relations(("r", "officeDocument", "../../../../etc/passwd"))}
    with pytest.raises(Invalid, match="not an Office document"):
        read(archive(members), "a.docx")


def test_a_page_that_unpacks_to_a_gigabyte() -> None:
    bomb = pdf(flate_bomb(1024 * MEBIBYTE), filters="/FlateDecode /FlateDecode")
    assert len(bomb) < MEBIBYTE
    with pytest.raises(Invalid):
        read(bomb, "a.pdf", bounds=SMALL)


def test_more_text_than_anyone_reads() -> None:
    with pytest.raises(Invalid, match="more than 8 MiB of text"):
        read(b"word " * (2 * MEBIBYTE), "a.txt", bounds=SMALL)
    with pytest.raises(Invalid, match="more than 8 MiB of text"):
        read(docx(paragraphs(["word " * 200] * 10_000)), "a.docx", bounds=SMALL)


def endless() -> bytes:
    """XML without text that takes seconds to go through."""
    return docx("<w:p>" + "<w:b/>" * (80 * MEBIBYTE // 6) + "</w:p>")


def test_time_on_the_processor_is_limited() -> None:
    with pytest.raises(Invalid, match="more than 1 seconds of processor time"):
        read(endless(), "a.docx", bounds=Bounds(cpu_s=1))


def test_time_on_the_clock_is_limited() -> None:
    with pytest.raises(Invalid, match="more than 1 seconds to read"):
        read(endless(), "a.docx", bounds=Bounds(wall_s=1))


def test_memory_is_limited() -> None:
    with pytest.raises(Invalid, match="memory"):
        read(b"some words and more " * (4 * MEBIBYTE), "a.txt", bounds=Bounds(memory=128 * MEBIBYTE, text=1 << 30))


def children() -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
            ours = stat.rpartition(")")[2].split()[1] == str(os.getpid())
            if ours and "extraction_child" in (entry / "cmdline").read_text():
                yield int(entry.name)
        except OSError:
            continue


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_child_knows_nothing_and_ends_with_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLOOM_API_KEY", "sk-secret")

    async def main() -> None:
        task = asyncio.create_task(extract(blocks(endless(), MEBIBYTE), "a.docx"))
        deadline = time.monotonic() + 20
        locked: list[int] = []
        while not locked and time.monotonic() < deadline and not task.done():
            await asyncio.sleep(0.02)
            locked = [pid for pid in children() if _open_files(pid) == "3"]
        [pid] = locked
        assert _environment(pid) == ["PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUTF8"]
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pid not in list(children())

    asyncio.run(main())


def _environment(pid: int) -> list[str]:
    given = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    return sorted(line.partition("=")[0] for line in given)


def _open_files(pid: int) -> str:
    """The limit on open files, which falls to 3 once the parser is loaded."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return ""
    return next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))


def test_many_at_once_do_not_mix() -> None:
    async def main() -> list[str]:
        return await asyncio.gather(*(extract(blocks(f"text {n}".encode()), f"{n}.txt") for n in range(8)))

    assert asyncio.run(main()) == [f"text {n}" for n in range(8)]


GOOD = {
    "a.pdf": pdf("Some words", "more"),
    "a.docx": docx(paragraphs(["Some words"])),
    "a.pptx": pptx((["Some words"], "note")),
    "a.doc": doc("Some words\r" * 50),
    "a.html": b"<p>Some words<table><tr><td>1<pre>x</pre><li>",
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_damaged_file_is_read_or_invalid(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(GOOD)))
    damaged = bytearray(GOOD[name])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    try:
        text = read(bytes(damaged), name, bounds=SMALL)
    except Invalid:
        return
    assert text.strip()
    assert "\0" not in text
