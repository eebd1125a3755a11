"""Jupyter's messages (jupyter-client.readthedocs.io, "Messaging in Jupyter", protocol 5), as far as running code needs.

Whoever answers is a sandbox, so an answer may be anything: what is no message is dropped.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from everloom.sandbox.base import Output, Picture, Printed

_MARK = b"<IDS|MSG>"
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_PNG = b"\x89PNG\r\n\x1a\n"


class KernelMessage(Struct, frozen=True):
    kind: str
    parent: str
    """The id of the request it belongs to; empty for none."""
    content: dict[str, Any]


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


def frames(message: dict[str, Any], key: bytes) -> list[bytes]:
    """A message as it goes through ZeroMQ, signed."""
    parts = [json.dumps(message[name]).encode() for name in ("header", "parent_header", "metadata", "content")]
    return [_MARK, _signature(parts, key), *parts]


def from_frames(received: list[bytes], key: bytes) -> KernelMessage | None:
    """A message that came through ZeroMQ; None for what is no message of this kernel."""
    try:
        at = received.index(_MARK)
        signature, parts = received[at + 1], received[at + 2 : at + 6]
        if not hmac.compare_digest(signature, _signature(parts, key)):
            return None
        header, parent, _, content = [json.loads(part.decode(errors="replace")) for part in parts]
        return _message(header, parent, content)
    except (ValueError, IndexError, RecursionError):
        return None


def from_text(received: str) -> KernelMessage | None:
    """A message that came through a gateway's websocket; None for what is none."""
    try:
        told = json.loads(received)
        return _message(told["header"], told["parent_header"], told["content"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def output(message: KernelMessage) -> Output | None:
    """What a message shows to the user, if it shows something."""
    content = message.content
    match message.kind:
        case "stream":
            return _logs(content.get("text"))
        case "error":
            lines = content.get("traceback")
            text = "\n".join(line for line in lines if isinstance(line, str)) if isinstance(lines, list) else ""
            return _logs(_COLOURS.sub("", text) + "\n")
        case "display_data" | "execute_result":
            data = content.get("data")
            if not isinstance(data, dict):
                return None
            if (image := _image(data.get("image/png"))) is not None:
                return image
            plain = data.get("text/plain")
            return _logs(plain + "\n") if isinstance(plain, str) else None
    return None


def _message(header: Any, parent: Any, content: Any) -> KernelMessage | None:
    if not (isinstance(header, dict) and isinstance(parent, dict) and isinstance(content, dict)):
        return None
    return KernelMessage(str(header.get("msg_type", "")), str(parent.get("msg_id", "")), content)


def _signature(parts: list[bytes], key: bytes) -> bytes:
    return hmac.new(key, b"".join(parts), hashlib.sha256).hexdigest().encode()


def _logs(text: Any) -> Printed | None:
    """Text that can be stored and sent: without NUL and halves of surrogate pairs."""
    if not isinstance(text, str) or not text:
        return None
    return Printed(text.replace("\0", "\ufffd").encode(errors="replace").decode())


def _image(encoded: Any) -> Picture | None:
    try:
        png = base64.b64decode(encoded)
    except (binascii.Error, ValueError, TypeError):
        return None
    return Picture(png) if png.startswith(_PNG) else None
