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
    """A Word document with this XML in its body, and other parts named as in ``footnotes=xml``."""
    names = {f"word/{name}.xml": xml for name, xml in parts.items()}
    links = [(f"r{number}", name, f"{name}.xml") for number, name in enumerate(parts)]
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


def pptx(*slides: tuple[list[str], str]) -> bytes:
    """A presentation: for each slide its paragraphs and the speaker's note. The files lie in the opposite order."""
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
        members[f"ppt/slides/{name}"] = _slide(texts)
        members[f"ppt/slides/_rels/{name}.rels"] = relations(("r1", "notesSlide", f"../notesSlides/{name}"))
        members[f"ppt/notesSlides/{name}"] = _slide([note])
    return archive(members)


def _slide(texts: list[str]) -> str:
    each = "".join(f"<a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p>" for text in texts)
    return f"<p:sld {_SLIDES}><p:cSld><p:txBody>{each}</p:txBody></p:cSld></p:sld>"


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
