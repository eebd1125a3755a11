"""``Content-Disposition`` as clients write it: what a part of a form is called, and its file."""

import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from urllib.parse import unquote_to_bytes

_PARAMETER = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\["\\]|\\(?!["\\]))*)"|([^;"]*))\s*')

_ESCAPED = re.compile(r'\\(["\\])')
"""Only what has to be escaped: in other places a backslash is one, as in the paths of Windows."""

_ENCODED_WORD = re.compile(r"=\?[\w-]+\?[BbQq]\?[^?\s]*\?=")


def disposition(header: str) -> tuple[str, dict[str, str]]:
    """The kind and the parameters, whose names are in lower case.

    ``filename*`` (RFC 8187) wins over ``filename``, where encoded words (RFC 2047) are read: .NET sends both, and
    some clients one of them. Forms should have neither (RFC 7578), which was never held.
    """
    kind, separator, rest = header.partition(";")
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(separator + rest):
        name, quoted, plain = match[1].lower(), match[2], match[3]
        value = _ESCAPED.sub(r"\1", quoted) if quoted is not None else plain.strip()
        found.setdefault(name, value)
    if (plain_name := found.get("filename")) is not None and _ENCODED_WORD.search(plain_name):
        found["filename"] = _decoded(plain_name)
    if (name := _extended(found.pop("filename*", ""))) is not None:
        found["filename"] = name
    return kind.strip().lower(), found


def _extended(value: str) -> str | None:
    """``charset'language'percent-encoded``; None where it is not that."""
    charset, quote, rest = value.partition("'")
    _, second, text = rest.partition("'")
    if not (quote and second):
        return None
    try:
        return unquote_to_bytes(text).decode(charset)
    except (LookupError, ValueError):
        return None


def _decoded(text: str) -> str:
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):
        return text
