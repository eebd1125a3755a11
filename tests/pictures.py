"""Pictures for tests, and an image model's server that draws them."""

import base64
import random
import struct
import zlib
from typing import Any

from aiohttp import web

from tests.scripted import Request

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind: bytes, body: bytes) -> bytes:
    """A part of a PNG, its checksum right."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, colour: int = 6, depth: int = 8, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def rows(width: int, height: int, colour: int = 6) -> bytes:
    """The data of a picture of one byte a channel, all of it zero: black, and transparent where it has alpha."""
    return bytes(height * (1 + width * CHANNELS[colour]))


def png(width: int = 64, height: int | None = None, *, colour: int = 6, data: bytes | None = None) -> bytes:
    """A picture: red-green-blue and alpha (6), without alpha (2), grey (0), grey and alpha (4)."""
    height = width if height is None else height
    packed = zlib.compress(rows(width, height, colour) if data is None else data, 9)
    return SIGNATURE + header(width, height, colour) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def half(width: int = 64) -> bytes:
    """Red; the left half is transparent."""
    row = b"\0" + b"\xff\0\0\0" * (width // 2) + b"\xff\0\0\xff" * (width - width // 2)
    return png(width, data=row * width)


def noise(width: int, seed: int = 0) -> bytes:
    """A picture that cannot be packed: about four bytes a pixel."""
    chance = random.Random(seed)
    return png(width, data=b"".join(b"\0" + chance.randbytes(4 * width) for _ in range(width)))


def drawing(request: Request) -> web.Response:
    """An endpoint for ``ScriptedUpstream``: pictures of one pixel, as a URL or as bytes, as it was asked."""
    asked: dict[str, Any] = request.body or {part.name: part.content.decode("latin-1") for part in request.form}
    b64 = base64.b64encode(png(1)).decode()
    by_url = asked.get("response_format") != "b64_json"
    one: dict[str, str] = {"url": "https://pictures.example/1.png"} if by_url else {"b64_json": b64}
    if asked.get("model") == "dall-e-3":
        one["revised_prompt"] = f"A detailed picture of {asked['prompt']}"
    return web.json_response({"created": 1_700_000_000, "data": [one] * int(asked.get("n") or 1)})


def drawing_bytes(request: Request) -> web.Response:
    """As ``drawing``, on a server that knows no URLs."""
    asked = request.body or {"n": request.field("n")}
    one = {"b64_json": base64.b64encode(png(1)).decode()}
    return web.json_response({"created": 1_700_000_000, "data": [one] * int(asked.get("n") or 1)})
