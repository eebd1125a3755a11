"""What kind of audio file some bytes begin, told by their first bytes and never by the file's name."""

from typing import IO, Literal

AudioKind = Literal["flac", "mp3", "mp4", "mpeg", "ogg", "wav", "webm"]
"""The containers that the reference takes. ``mp4`` is m4a too, ``mp3`` every MPEG audio layer (mpga), ``mpeg`` a
program stream, ``webm`` Matroska too."""

NAMES = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
"""The ends of names that such files have, as the platform lists them."""

_HEAD = 4096


def audio_kind(file: IO[bytes]) -> AudioKind | None:
    """The kind of the file from where it stands; None for what is no audio file. Reads a few kilobytes.

    Only told apart, not checked: what follows the first bytes may be anything.
    """
    start = file.tell()
    head = file.read(_HEAD)
    if head[:3] == b"ID3" and len(head) >= 10:
        # A tag, which may hold pictures: what it is a tag of stands behind it (ID3v2.4, section 3.1).
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        file.seek(start + 10 + size)
        return "flac" if file.read(4) == b"fLaC" else "mp3"
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "wav"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "mp4"
    magic: dict[bytes, AudioKind] = {
        b"fLaC": "flac",
        b"OggS": "ogg",
        b"\x1a\x45\xdf\xa3": "webm",
        b"\x00\x00\x01\xba": "mpeg",
    }
    return magic.get(head[:4]) or ("mp3" if _is_frame(head.lstrip(b"\0")) else None)


def _is_frame(head: bytes) -> bool:
    """Whether MPEG audio begins here: the sync word, and no reserved value behind it (ISO 11172-3, 2.4.1.3).

    ADTS has the same sync word and a layer of 00, which is reserved here.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer != 0 and bitrate != 15 and rate != 3
