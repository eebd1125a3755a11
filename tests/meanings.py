"""Vectors for texts, as the scripted upstream makes them: texts that share words are near to each other."""

import base64
import math
import struct
import zlib
from typing import Any

DIMENSIONS = 64


def vector(text: str) -> list[float]:
    """Of unit length; each word has a direction of its own."""
    sums = [0.0] * DIMENSIONS
    for word in text.lower().split():
        mark = zlib.crc32(word.strip(".,;:!?").encode())
        sums[mark % DIMENSIONS] += 1 if mark & 0x10000 else -1
    length = math.sqrt(sum(number * number for number in sums)) or 1.0
    return [number / length for number in sums]


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a createEmbedding request."""
    texts = _texts(body["input"])
    as_bytes = body.get("encoding_format") == "base64"
    words = sum(len(text.split()) for text in texts)
    return {
        "object": "list",
        "model": body["model"],
        "data": [
            {"object": "embedding", "index": place, "embedding": _encoded(text, as_bytes)}
            for place, text in enumerate(texts)
        ],
        "usage": {"prompt_tokens": words, "total_tokens": words},
    }


def _texts(given: Any) -> list[str]:
    """Each input as a text; tokens are words."""
    if isinstance(given, str) or isinstance(given[0], int):
        given = [given]
    return [item if isinstance(item, str) else " ".join(map(str, item)) for item in given]


def _encoded(text: str, as_bytes: bool) -> Any:
    numbers = vector(text)
    if not as_bytes:
        return numbers
    return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *numbers)).decode()
