"""Names of attached files: data until they stand in a folder, and never a path."""

import unicodedata
from collections.abc import Container

_LONGEST = 200
"""Bytes; a file system's own limit is 255."""
_LONGEST_SUFFIX = 20


def safe_name(given: str) -> str:
    """The last part of a name, without control, format and direction marks; what is left of nothing is ``file``."""
    last = unicodedata.normalize("NFC", given).replace("\\", "/").rstrip("/").rpartition("/")[2]
    plain = "".join(sign for sign in last if unicodedata.category(sign)[0] != "C").strip().lstrip(".").strip()
    stem, dot, suffix = plain.rpartition(".")
    if not stem or len(suffix.encode()) > _LONGEST_SUFFIX:
        stem, dot, suffix = plain, "", ""
    room = _LONGEST - len(suffix.encode())
    stem = stem.encode()[:room].decode(errors="ignore")
    return f"{stem}{dot}{suffix}" or "file"


def free_name(given: str, taken: Container[str]) -> str:
    """The safe name, numbered if another file has it: ``data.csv``, ``data-2.csv``."""
    name = safe_name(given)
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    number = 2
    while name in taken:
        name = f"{stem}-{number}{dot}{suffix}"
        number += 1
    return name
