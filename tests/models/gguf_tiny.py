"""A GGUF file of a few bytes: a head that can be read, and no model behind it."""

import struct
from typing import Any


def tiny_gguf(*, context: int = 2048, layers: int = 2, tail: int = 0) -> bytes:
    """``tail`` bytes follow the head, to make a file as large as is wanted."""
    pairs: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.context_length": context,
        "llama.embedding_length": 64,
        "llama.block_count": layers,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
    }
    parts = [struct.pack("<4sIQQ", b"GGUF", 3, 0, len(pairs))]
    for key, value in pairs.items():
        parts.append(_text(key))
        parts.append(struct.pack("<I", 8) + _text(value) if isinstance(value, str) else struct.pack("<II", 4, value))
    return b"".join(parts) + b"\0" * tail


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data
