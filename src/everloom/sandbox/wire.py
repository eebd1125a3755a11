"""Jupyter's messages (jupyter-client.readthedocs.io, "Messaging in Jupyter", protocol 5), as far as running code needs.

Whoever answers is a sandbox, so an answer may be anything: what is no message is dropped. Nothing is decoded but the
few texts that are shown, and of them no more than is shown: a message's other values are passed over where they stand,
since fifteen megabytes of ``{},`` would become gigabytes of objects. Nesting ends at the decoder's own bound.
"""

import binascii
import contextlib
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from everloom.sandbox.base import Output, Picture, Printed
from everloom.sandbox.zmtp import Part

T = TypeVar("T")

_MARK = b"<IDS|MSG>"
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = 1 << 16
"""Bytes of a header."""
_CHARACTER = 12
"""Bytes that a character may have in JSON: two halves of a pair, escaped."""
_TRACEBACK, _LINES = 2 << 20, 20_000
"""Bytes of a traceback that is read, and quotation marks in it."""
_REPAIRED = 1 << 20
"""Bytes of a message that is read again without its halves of surrogate pairs."""
_HALVES = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_LARGE, _DENSE = 4 << 20, 50_000
"""Bytes of a message that is not read if it has more signs of structure than so many: that would hold up the server."""
_STREAM = re.compile(rb'\{ ?(?:"name": ?"\w{1,20}", ?)?"text": ?')
_BACKSLASH = re.compile(rb"\\")
_ODD = (msgspec.DecodeError, ValueError, RecursionError)


class _Header(Struct):
    msg_type: str = ""


class _Parent(Struct):
    msg_id: str = ""


class _Whole(Struct):
    """A message in one piece. What is ``Raw`` is not looked into."""

    header: _Header
    parent_header: _Parent
    content: Raw


class _Content(Struct):
    """Of any of the messages that show something, or tell that the kernel is idle."""

    text: Raw = Raw()
    traceback: Raw = Raw()
    ename: Raw = Raw()
    evalue: Raw = Raw()
    data: Raw = Raw()
    execution_state: Raw = Raw()


class _Data(Struct):
    png: Raw = field(default=Raw(), name="image/png")
    plain: Raw = field(default=Raw(), name="text/plain")


class KernelMessage(Struct, frozen=True):
    kind: str
    parent: str
    """The id of the request it belongs to; empty for none."""
    content: Part
    """JSON, not yet read."""


def request(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """A new message to a kernel, as a gateway's websocket takes it."""
    header = {
        "msg_id": uuid.uuid4().hex,
        "session": "everloom",
        "username": "everloom",
        "date": datetime.now(UTC).isoformat(),
        "msg_type": kind,
        "version": "5.3",
    }
    return {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}


def execute(code: str, silent: bool = False) -> dict[str, Any]:
    """Ask for code to be run. Silent code leaves no trace and shows nothing."""
    content = {
        "code": code,
        "silent": silent,
        "store_history": not silent,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }
    return request("execute_request", content)


def frames(message: dict[str, Any], key: bytes) -> list[Part]:
    """A message as it goes through ZeroMQ, signed."""
    parts: list[Part] = [
        json.dumps(message[name]).encode() for name in ("header", "parent_header", "metadata", "content")
    ]
    return [_MARK, _signature(parts, key), *parts]


def from_frames(received: Sequence[Part], key: bytes) -> KernelMessage | None:
    """A message that came through ZeroMQ; None for what is no message of this kernel."""
    try:
        at = received.index(_MARK)
        signature, parts = received[at + 1], received[at + 2 : at + 6]
        header, parent, _, content = parts
        if len(header) > _HEADER or len(parent) > _HEADER:
            return None
        if not hmac.compare_digest(signature, _signature(parts, key)):
            return None
        kind, belongs = msgspec.json.decode(header, type=_Header), msgspec.json.decode(parent, type=_Parent)
    except (*_ODD, IndexError):
        return None
    return KernelMessage(kind.msg_type, belongs.msg_id, content)


def from_text(received: str | bytes) -> KernelMessage | None:
    """A message that came through a gateway's websocket; None for what is none."""
    try:
        whole = _read(received.encode() if isinstance(received, str) else received, _Whole)
    except _ODD:
        return None
    return KernelMessage(whole.header.msg_type, whole.parent_header.msg_id, bytes(whole.content))


def is_reply(message: KernelMessage) -> bool:
    """Whether the kernel has answered the request; what it shows may still be on its way."""
    return message.kind.endswith("_reply")


def is_idle(message: KernelMessage) -> bool:
    """Whether the kernel says that it has done all that the request asked for."""
    return message.kind == "status" and _text(_content(message).execution_state, 10) == "idle"


def is_dense(encoded: Part) -> bool:
    """Whether a text of JSON is too large to be read for all that stands in it. Quick, whatever it is."""
    signs = 0
    for start in range(0, len(encoded) if len(encoded) > _LARGE else 0, _HEADER):
        signs += sum(encoded.count(sign, start, start + _HEADER) for sign in (b'"', b",", b"[", b"{"))
        if signs > _DENSE:
            return True
    return False


def output(message: KernelMessage, most: int) -> Output | None:
    """What a message shows to the user, if it shows something; of a text the first characters, at most so many."""
    if message.kind == "stream" and len(message.content) > _LARGE:
        begin = _STREAM.match(message.content)
        return _logs(_text(memoryview(message.content)[begin.end() :], most)) if begin else None
    content = _content(message)
    match message.kind:
        case "stream":
            return _logs(_text(content.text, most))
        case "error":
            return _logs(_COLOURS.sub("", _traceback(content, most))[: most - 1] + "\n")
        case "display_data" | "execute_result":
            try:
                data = _read(content.data, _Data)
            except _ODD:
                return None
            if (image := _image(data.png)) is not None:
                return image
            plain = _text(data.plain, most - 1)
            return None if plain is None else _logs(plain + "\n")
    return None


def _content(message: KernelMessage) -> _Content:
    try:
        return _read(message.content, _Content)
    except _ODD:
        return _Content()


def _read(encoded: Part | Raw, shape: type[T]) -> T:
    """Decode a message or a part of one. Errors: ``_ODD``."""
    try:
        return msgspec.json.decode(encoded, type=shape)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Python lets a text hold half of a pair; the decoder does not, wherever it stands.
        if memoryview(encoded).nbytes > _REPAIRED:
            raise
        return msgspec.json.decode(_HALVES.sub(b"?", encoded), type=shape)


def _signature(parts: Sequence[Part], key: bytes) -> bytes:
    signing = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        signing.update(part)
    return signing.hexdigest().encode()


def _text(encoded: Raw | memoryview, most: int) -> str | None:
    """The first characters of a JSON string, whatever follows it; None for what is none."""
    whole = memoryview(encoded)
    begin = whole[: 2 + most * _CHARACTER].tobytes()
    if not begin.startswith(b'"'):
        return None
    decoder = json.JSONDecoder(strict=False)
    for end in ("", *['"'] * (len(begin) < len(whole) and _CHARACTER)):  # Cut where it is not within an escape.
        with contextlib.suppress(ValueError):
            return str(decoder.raw_decode(begin.decode(errors="replace") + end)[0])[:most]
        begin = begin[:-1] if end else begin
    return None


def _traceback(content: _Content, most: int) -> str:
    """The lines of a traceback, or only its last one where they are too many or too long to be read."""
    raw = memoryview(content.traceback)
    if len(raw) <= _TRACEBACK and (told := raw.tobytes()).count(b'"') <= _LINES:
        with contextlib.suppress(*_ODD):
            return "\n".join(msgspec.json.decode(told.decode(errors="replace"), type=list[str]))
    name, value = _text(content.ename, 1000), _text(content.evalue, most)
    return f"{name}: {value}" if name and value is not None else ""


def _logs(text: str | None) -> Printed | None:
    """Text that can be stored and sent: without NUL and halves of surrogate pairs."""
    if not text:
        return None
    return Printed(text.replace("\0", "\ufffd").encode(errors="replace").decode())


def _image(encoded: Raw) -> Picture | None:
    raw = memoryview(encoded)
    if raw[:1].tobytes() != b'"':
        return None
    inner: memoryview | bytes = raw[1:-1]
    if _BACKSLASH.search(inner):
        inner = bytes(inner).replace(b"\\n", b"")
    try:
        if not binascii.a2b_base64(inner[:16]).startswith(_PNG):
            return None
        return Picture(binascii.a2b_base64(inner))
    except binascii.Error:
        return None
