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
    chart,
    diagram,
    doc,
    docx,
    flate_bomb,
    notes,
    paragraphs,
    part,
    pdf,
    pdf_form,
    pptx,
    relations,
    slide_comments,
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
    with pytest.raises(
        Unsupported, match=r"Files with extensions \[\.?\w+\] are not supported for retrieval\. See https://"
    ):
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


@pytest.mark.parametrize("name", ["zlib", "hex", "idna", "no-such", "undefined", "rot13", "utf-7", "unicode_escape"])
def test_html_may_not_declare_any_codec_of_python(name: str) -> None:
    assert read(f"<meta charset={name}><p>words".encode(), "a.html").strip() == "words"


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("gb2312", "gb18030", "朱镕基 € 𠮷"),
        ("GBK", "gb18030", "國家 𠮷"),
        ("x-sjis", "cp932", "①髙橋～"),
        ("shift_jis", "cp932", "髙島屋 ㈱"),
        ("euc-kr", "cp949", "똠방각하 펲시콜라"),
        ("ks_c_5601-1987", "cp949", "한국어 뷁"),
        ("big5", "big5hkscs", "香港 嘅 咗"),
        ("euc-jp", "euc_jp", "日本語"),
        ("iso-2022-jp", "iso2022_jp", "日本語です"),
        ("iso-8859-1", "cp1252", "“Grüße” – 5 €"),
        ("us-ascii", "cp1252", "“Grüße”"),
        ("latin1", "cp1252", "naïve…"),
        ("iso-8859-9", "cp1254", "İstanbul ŞĞ “a”"),
        ("tis-620", "cp874", "ไทย €"),
        ("iso-8859-8-i", "iso8859_8", "שלום"),
        ("koi8-r", "koi8_r", "Привет"),
        ("x-mac-cyrillic", "mac_cyrillic", "Привет"),
        ("utf-16", "utf-8", "Grüße 日本"),
        ("utf-16le", "utf-8", "Grüße"),
        ("UTF8", "utf-8", "Grüße"),
        ("no-such", "utf-8", "Grüße"),
    ],
)
def test_labels_mean_what_browsers_take_them_for(label: str, codec: str, text: str) -> None:
    ways = [
        f"<meta charset={label}>",
        f"<html><head><meta content='text/html; charset={label}' http-equiv=\"Content-Type\">",
        f"<?xml version='1.0' encoding='{label}'?><html>",
        "<!-- <meta charset=koi8-u> --><p title='<meta charset=koi8-u>' lang=it's>"
        f"<meta name=a content='charset=koi8-u'><META\nCHARSET = \" {label} \"/>",
    ]
    for way in ways:
        assert read(f"{way}<p>{text}</p>".encode(codec), "a.html").strip() == text, way


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_mark_of_the_encoding_comes_before_what_a_page_declares(encoding: str) -> None:
    page = "<?xml version='1.0' encoding='koi8-r'?><html><meta charset=shift_jis><p>Grüße aus Oslo</p></html>"
    assert read(page.encode(encoding), "a.html").strip() == "Grüße aus Oslo"


def test_a_page_that_declares_nothing() -> None:
    assert read("<p>Grüße “aus” Oslo".encode("cp1252"), "a.html").strip() == "Grüße “aus” Oslo"
    assert read("<p>Grüße “aus” Oslo".encode(), "a.html").strip() == "Grüße “aus” Oslo"


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("utf-8", "utf-8", "Grüße"),
        ("", "utf-8", "Grüße aus Ålesund"),
        ("shift_jis", "cp932", "日本語"),
        ("gb2312", "gb18030", "中文"),
        ("euc-kr", "cp949", "한국어"),
        ("windows-1252", "cp1252", "Grüße"),
    ],
)
def test_one_stray_byte_costs_one_character(label: str, codec: str, text: str) -> None:
    stray = {"cp1252": b"\x81", "cp932": b"\x85"}.get(codec, b"\xff")
    page = f"<meta charset={label}><p>before " if label else "<p>before "
    said = read(page.encode() + stray + f" {text} after".encode(codec), "a.html").strip()
    assert said == f"before \ufffd {text} after"
    said = read(page.encode() + f"{text} af".encode(codec) + b"\0ter", "a.html").strip()
    assert said == f"before {text} after"


@pytest.mark.parametrize("name", ["a.txt", "a.py", "a.json"])
def test_a_stray_byte_in_a_long_text_costs_one_character(name: str) -> None:
    text = "one line of a log\n" * 100
    assert read(text.encode() + b"\xe2\x82\n" + text.encode(), name) == f"{text}\ufffd\n{text}"


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", bytes(range(256)) * 9])
def test_what_is_no_page_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid):
        read(data, "a.html")


def test_empty_cells_keep_the_others_in_their_columns() -> None:
    page = "<table><tr><td></td><td>a</td> <td>b<tr><th> <td></td><td>c</td></tr><tr><td>d</td><td></td><td>e</table>"
    assert read(page.encode(), "a.html") == "\ta\tb\n\t\tc\nd\t\te\n\n"
    cells = "<w:tr>" + "".join(f"<w:tc>{paragraphs([text])}</w:tc>" for text in ("", "a", "b")) + "</w:tr>"
    skipped = f"<w:tr><w:trPr><w:gridBefore w:val='2'/></w:trPr><w:tc>{paragraphs(['c'])}</w:tc></w:tr>"
    assert read(docx(f"<w:tbl>{cells}{skipped}</w:tbl>"), "a.docx") == "\ta\tb\n\t\tc\n\n"
    empty = "<a:tc><a:txBody><a:p/></a:txBody></a:tc>"
    cells = "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></a:txBody></a:tc>" for text in "ab")
    said = read(pptx((["Title"], "note"), shapes=f"<a:tbl><a:tr>{empty}{cells}</a:tr></a:tbl>"), "a.pptx")
    assert said == "Title\n\ta\tb\n\nnote\n\n"


@pytest.mark.parametrize(
    "ruby",
    [
        "<ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>",
        "<ruby>漢字<rt>かんじ</ruby>",
        "<ruby>漢<rt>かん</rt>字<rt>じ</rt></ruby>",
        "<ruby><rb>漢<rb>字<rp>(<rt>かん<rt>じ<rp>)</ruby>",
    ],
)
def test_readings_stand_apart_from_what_they_are_of(ruby: str) -> None:
    assert read(f"<p>これは{ruby}です".encode(), "a.html").strip() == "これは漢字(かんじ)です"
    unclosed = ruby.replace("</ruby>", "")
    assert read(f"<p>{unclosed}<p>next".encode(), "a.html").strip() == "漢字(かんじ)\n\nnext"


def test_readings_in_a_word_document() -> None:
    run = "<w:r><w:t>{}</w:t></w:r>"
    ruby = f"<w:ruby><w:rubyPr/><w:rt>{run}</w:rt><w:rubyBase>{run}</w:rubyBase></w:ruby>".format("かんじ", "漢字")
    body = f"<w:p>{run.format('これは')}<w:r>{ruby}</w:r>{run.format('です')}</w:p>"
    assert read(docx(body), "a.docx") == "これは漢字(かんじ)です\n\n"


def test_a_pdf_gives_its_pages_in_order() -> None:
    text = read(pdf("Page one (first)\nsecond line: café", "Page two"), "a.pdf")
    assert text == "Page one (first)\nsecond line: café\n\nPage two\n\n"


def test_what_was_filled_into_a_pdf_is_read() -> None:
    field = "/Subtype /Widget /FT /Tx /T ({}) /V ({})"
    data = pdf_form(
        "Name and town",
        field.format("name", "Ann (the first)".replace("(", "\\(").replace(")", "\\)")),
        field.format("town", "\xfe\xff\x00O\x00s\x00l\x00o") + " /TU (Where you live)",
        field.format("name2", ""),
        field.format("secret", "hidden") + " /Ff 8192",
        field.format("unseen", "hidden") + " /F 2",
        "/Subtype /Widget /FT /Ch /Ff 131072 /T (colour) /Opt [(red) (blue)] /V (blue)",
        "/Subtype /Widget /FT /Btn /T (agreed) /V /Yes /AS /Yes /AP << /N << /Yes 5 0 R /Off 5 0 R >> >>",
        "/Subtype /Widget /FT /Btn /T (refused) /V /Off /AS /Off /AP << /N << /Yes 5 0 R /Off 5 0 R >> >>",
        "/Subtype /FreeText /Contents (typed on the page) /DA (/F 12 Tf)",
        "/Subtype /Text /Contents (a remark)",
        "/Subtype /Link /Contents (no remark)",
    )
    assert read(data, "a.pdf").split("\n") == [
        *["Name and town", "", "name: Ann (the first)", "Where you live: Oslo", "colour: blue", "agreed: Yes"],
        *["typed on the page", "a remark", "", ""],
    ]


def test_a_pdf_of_nothing_but_what_was_filled_in() -> None:
    assert read(pdf_form("", "/Subtype /Widget /FT /Tx /T (name) /V (Ann)"), "a.pdf") == "name: Ann\n\n"


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


def test_what_stands_beside_a_word_documents_text() -> None:
    head, foot = part("hdr", paragraphs(["Contract 12"])), part("ftr", paragraphs(["Page"]))
    comment = part("comments", f"<w:comment w:author='Ann'>{paragraphs(['Is this so?', 'Ask Bob.'])}</w:comment>")
    data = docx(
        paragraphs(["Text"]),
        header1=head,
        header2=head,
        header3=part("hdr", paragraphs(["First page"])),
        footer1=foot,
        comments=comment,
        footnotes=notes("footnote", "A note."),
        chart1=chart("Sales", ["Q1"], North=["3"]),
        diagramData=diagram("Plan", "Do"),
    )
    assert read(data, "a.docx").split("\n\n") == [
        *["Contract 12", "First page", "Text", "Page", "A note.", "Is this so?\nAsk Bob."],
        *["Sales\n\tNorth\nQ1\t3", "Plan\nDo", ""],
    ]


def test_moved_text_stands_once_and_deleted_text_never() -> None:
    run = "<w:r><w:t>{}</w:t><w:tab/></w:r>"
    moved = f"<w:moveFrom>{run.format('moved')}</w:moveFrom>"
    deleted = f"<w:del>{run.format('gone')}</w:del><w:r><w:rPr><w:del/></w:rPr><w:t>kept</w:t></w:r>"
    here = "<w:moveTo><w:r><w:t> moved</w:t></w:r></w:moveTo>"
    body = f"<w:p>{moved}<w:r><w:t>a</w:t></w:r></w:p><w:p>{deleted}{here}</w:p>"
    assert read(docx(body), "a.docx") == "a\n\nkept moved\n\n"


def test_charts_diagrams_and_comments_of_a_presentation() -> None:
    sold = chart("Sold & kept", ["2023", "Q 2"], North=["1.10000000000000009", "2"], South=["3"])
    newer = "<x:chartSpace xmlns:x='cx'>\n<x:pt idx='0'>Oslo</x:pt>\n<x:v>Towns</x:v>\n</x:chartSpace>"
    slides = [(["One"], "note"), (["Two"], "")]
    said = read(
        pptx(*slides, chart=sold, chartEx=newer, diagramData=diagram("Plan", "Do"), comments=slide_comments("Why?")),
        "a.pptx",
    )
    assert said.startswith("One\nSold & kept\n\tNorth\tSouth\n2023\t1.1\t3\nQ 2\t2\n")
    assert said.endswith("\nOslo\nTowns\nPlan\nDo\nnote\nWhy?\n\nTwo\n\n")


def test_a_chart_without_end_is_cut() -> None:
    many = [str(place) for place in range(200_000)]
    said = read(pptx((["One"], "note"), chart=chart("Many", many, North=many)), "a.pptx")
    assert said.startswith("One\nMany\n\tNorth\n0")
    assert said.count("\n") < 20_100


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
