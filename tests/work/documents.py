"""Real files of the formats that file search reads, written by hand: a PDF, Office documents old and new, bombs."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable
from xml.sax.saxutils import escape

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_SLIDES = (
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    f'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:r="{_RELATIONS}"'
)


def pdf(*pages: str | bytes, trailer: bytes = b"", filters: str = "/FlateDecode") -> bytes:
    """A PDF with a page for each text (Latin letters), or for each content stream as it stands."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in enumerate(pages):
        place = f"/Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * number} 0 R"
        objects.append(f"<< /Type /Page {place} /Resources << /Font << /F 3 0 R >> >> >>".encode())
        stream = zlib.compress(_content(page)) if isinstance(page, str) else page
        head = f"<< /Length {len(stream)} /Filter [{filters}] >>\nstream\n".encode()
        objects.append(head + stream + b"\nendstream")
    return _pdf_of(objects, trailer)


def _pdf_of(objects: list[bytes], trailer: bytes = b"") -> bytes:
    out = io.BytesIO(b"%PDF-1.7\n")
    out.seek(0, io.SEEK_END)
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R %b >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start))
    return out.getvalue()


def pdf_form(text: str, *annotations: str, root: str = "") -> bytes:
    """A PDF of one page with annotations, all of which are fields of its form, too; ``root``: more in its catalogue."""
    stream = _content(text)
    count = len(annotations)
    refs = " ".join(f"{6 + at} 0 R" for at in range(count))
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [{refs}] {root} >> >>".encode(),
        b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R /Annots [{refs}] "
        "/Resources << /Font << /F 3 0 R >> >> >>".encode(),
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream),
        *(f"<< /Type /Annot /Rect [50 50 200 70] {each} >>".encode("latin-1") for each in annotations),
    ]
    return _pdf_of(objects)


def _content(text: str) -> bytes:
    shown = [line.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(") for line in text.split("\n")]
    return b"BT /F 12 Tf 14 TL 50 780 Td " + b" ".join(b"(%b) Tj T*" % s.replace(b")", b"\\)") for s in shown) + b" ET"


def archive(members: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, body in members.items():
            packed.writestr(name, body)
    return out.getvalue()


def relations(*links: tuple[str, str, str]) -> str:
    """A part of relationships: id, type's last word, target."""
    each = "".join(
        f'<Relationship Id="{id}" Type="{_RELATIONS}/{kind}" Target="{target}"/>' for id, kind, target in links
    )
    return f"<Relationships {_PACKAGE}>{each}</Relationships>"


def docx(body: str, **parts: str) -> bytes:
    """A Word document with this XML in its body, and other parts named as in ``footnotes=xml``, ``header2=xml``."""
    names = {f"word/{name}.xml": xml for name, xml in parts.items()}
    links = [(f"r{number}", name.rstrip("0123456789"), f"{name}.xml") for number, name in enumerate(parts)]
    return archive(
        {
            "_rels/.rels": relations(("r1", "officeDocument", "word/document.xml")),
            "word/document.xml": f"<w:document {_WORD}><w:body>{body}</w:body></w:document>",
            "word/_rels/document.xml.rels": relations(*links),
            **names,
        }
    )


def paragraphs(texts: Iterable[str]) -> str:
    return "".join(f"<w:p><w:r><w:t>{escape(text)}</w:t></w:r></w:p>" for text in texts)


def notes(name: str, *texts: str) -> str:
    return f"<w:{name}s {_WORD}><w:{name}>{paragraphs(texts)}</w:{name}></w:{name}s>"


def part(name: str, xml: str) -> str:
    """A part of a Word document whose element ``w:name`` holds this XML."""
    return f"<w:{name} {_WORD}>{xml}</w:{name}>"


_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006"
_CHART = f'xmlns:c="{_DRAWING}/chart" xmlns:a="{_DRAWING}/main"'


def chart(title: str, categories: list[str], **series: list[str]) -> str:
    """A part that is a chart."""

    def cache(values: list[str]) -> str:
        points = "".join(f'<c:pt idx="{at}"><c:v>{escape(value)}</c:v></c:pt>' for at, value in enumerate(values))
        return f"<c:strRef><c:f>Sheet1!A1</c:f><c:strCache>{points}</c:strCache></c:strRef>"

    each = "".join(
        f"<c:ser><c:tx>{cache([name])}</c:tx><c:cat>{cache(categories)}</c:cat><c:val>{cache(values)}</c:val></c:ser>"
        for name, values in series.items()
    )
    shown = f"<c:title><c:tx><c:rich><a:p><a:r><a:t>{escape(title)}</a:t></a:r></a:p></c:rich></c:tx></c:title>"
    return f"<c:chartSpace {_CHART}><c:chart>{shown}<c:plotArea>{each}</c:plotArea></c:chart></c:chartSpace>"


def diagram(*texts: str) -> str:
    """A part that is the data of SmartArt, with line breaks between its elements, as some programs write them."""
    point = "<d:pt>\n<d:t>\n<a:p>\n<a:r><a:t>{}</a:t></a:r>\n</a:p>\n</d:t>\n</d:pt>\n"
    empty = '<d:pt type="sibTrans"><d:t><a:p><a:endParaRPr/></a:p></d:t></d:pt>'
    each = empty.join(point.format(escape(text)) for text in texts)
    names = f'xmlns:d="{_DRAWING}/diagram" xmlns:a="{_DRAWING}/main"'
    return f"<d:dataModel {names}><d:ptLst>{each}</d:ptLst></d:dataModel>"


def slide_comments(*texts: str) -> str:
    each = "".join(
        f'<p:cm authorId="0" idx="1"><p:pos x="1" y="1"/><p:text>{escape(text)}</p:text></p:cm>' for text in texts
    )
    return f"<p:cmLst {_SLIDES}>{each}</p:cmLst>"


def pptx(*slides: tuple[list[str], str], shapes: str = "", **parts: str) -> bytes:
    """A presentation: for each slide its paragraphs and the speaker's note. The files lie in the opposite order.

    ``shapes``: more XML on each slide; ``parts``: what hangs on the first, named as in ``chart=xml``.
    """
    count = len(slides)
    ids = "".join(f'<p:sldId id="{256 + at}" r:id="rId{at}"/>' for at in range(count))
    members: dict[str, str | bytes] = {
        "_rels/.rels": relations(("r1", "officeDocument", "/ppt/presentation.xml")),
        "ppt/presentation.xml": f"<p:presentation {_SLIDES}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(
            *((f"rId{at}", "slide", f"slides/slide{count - at}.xml") for at in range(count))
        ),
    }
    for at, (texts, note) in enumerate(slides):
        name = f"slide{count - at}.xml"
        members[f"ppt/slides/{name}"] = _slide(texts, shapes)
        beside = [(f"x{kind}", kind, f"../parts/{kind}.xml") for kind in (() if at else parts)]
        members[f"ppt/slides/_rels/{name}.rels"] = relations(("r1", "notesSlide", f"../notesSlides/{name}"), *beside)
        members[f"ppt/notesSlides/{name}"] = _slide([note])
    return archive(members | {f"ppt/parts/{kind}.xml": xml for kind, xml in parts.items()})


def _slide(texts: list[str], shapes: str = "") -> str:
    each = "".join(f"<a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p>" for text in texts)
    return f"<p:sld {_SLIDES}><p:cSld><p:txBody>{each}</p:txBody>{shapes}</p:cSld></p:sld>"


def zip_bomb(name: str, size: int, *, declared: int | None = None) -> bytes:
    """An archive of one member that unpacks to ``size`` bytes of spaces (MiB by MiB), and may say another size."""
    block = zlib.compressobj(9, zlib.DEFLATED, -15)
    mebibyte = block.compress(b" " * (1 << 20)) + block.flush(zlib.Z_FULL_FLUSH)
    data = mebibyte * (size >> 20) + b"\x03\x00"
    sizes = struct.pack("<4sII", b"\0\0\0\0", len(data), size if declared is None else declared)
    fields = struct.pack("<HHHHH", 20, 0, 8, 0, 0x21) + sizes + struct.pack("<HH", len(name), 0)
    local = b"PK\x03\x04" + fields + name.encode()
    listed = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(listed), len(local) + len(data), 0)
    return local + data + listed + end


def flate_bomb(size: int) -> bytes:
    """``size`` zero bytes, deflated twice."""
    inner, outer = zlib.compressobj(9), zlib.compressobj(9)
    block = bytes(1 << 20)
    packed = [outer.compress(inner.compress(block)) for _ in range(size >> 20)]
    return b"".join([*packed, outer.compress(inner.flush()), outer.flush()])


def doc(text: str, *, pieces: int = 1, footnotes: str = "", flags: int = 0) -> bytes:
    """A Word document of 97: its text in so many pieces, by turns in UTF-16 and in Windows' Latin letters."""
    whole = text + footnotes
    cuts = [len(whole) * number // pieces for number in range(pieces + 1)]
    main = bytearray(0x400)
    places = []
    for number in range(pieces):
        part = whole[cuts[number] : cuts[number + 1]]
        wide = number % 2 == 0
        places.append(len(main) if wide else len(main) * 2 | 0x40000000)
        main += part.encode("utf-16-le") if wide else part.encode("cp1252")
    table = struct.pack(f"<{pieces + 1}I", *cuts) + b"".join(struct.pack("<HIH", 0, place, 0) for place in places)
    complex_ = b"\x01\x02\x00ab" + b"\x02" + struct.pack("<I", len(table)) + table
    struct.pack_into("<H8xH", main, 0, 0xA5EC, flags | 0x0200)
    struct.pack_into("<2i", main, 0x4C, len(text), len(footnotes))
    struct.pack_into("<2I", main, 0x1A2, 0, len(complex_))
    return compound({"WordDocument": bytes(main), "1Table": complex_})


def compound(streams: dict[str, bytes]) -> bytes:
    """A compound file: streams under 4 096 bytes go into the mini stream, as they must."""
    small, small_next, entries = b"", list[int](), []
    sectors: list[bytes] = []
    following: list[int] = []

    def put(data: bytes) -> int:
        first, count = len(sectors), max(1, -(-len(data) // 512))
        sectors.extend(data[512 * at : 512 * at + 512].ljust(512, b"\0") for at in range(count))
        following.extend([*range(first + 1, first + count), 0xFFFFFFFE])
        return first

    for name, data in streams.items():
        if len(data) >= 4096:
            entries.append((name, 2, put(data), len(data)))
            continue
        first, count = len(small_next), -(-len(data) // 64)
        small += data.ljust(64 * count, b"\0")
        small_next += [*range(first + 1, first + count), 0xFFFFFFFE]
        entries.append((name, 2, first, len(data)))
    root = ("Root Entry", 5, put(small), len(small))
    small_fat = put(struct.pack(f"<{len(small_next)}I", *small_next).ljust(512, b"\xff"))
    directory = put(b"".join(_entry(*entry) for entry in (root, *entries)))
    fat_sectors = -(-(len(sectors) + 1) // 127)
    fat_at = len(sectors)
    table = following + [0xFFFFFFFD] * fat_sectors
    fat = struct.pack(f"<{len(table)}I", *table).ljust(512 * fat_sectors, b"\xff")
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<5H6x", 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<9I", 0, fat_sectors, directory, 0, 4096, small_fat, 1, 0xFFFFFFFE, 0)
    head += struct.pack(f"<{fat_sectors}I", *range(fat_at, fat_at + fat_sectors)).ljust(436, b"\xff")
    return head + b"".join(sectors) + fat


def _entry(name: str, kind: int, first: int, size: int) -> bytes:
    spelt = name.encode("utf-16-le") + b"\0\0"
    head = spelt.ljust(64, b"\0") + struct.pack("<HBB3I", len(spelt), kind, 1, *[0xFFFFFFFF] * 3)
    return head.ljust(116, b"\0") + struct.pack("<IQ", first, size)
