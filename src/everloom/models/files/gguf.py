"""The few facts of a GGUF file that are wanted before its model is loaded.

Format: the GGUF specification of ggml (little-endian; header, then key-value pairs, then tensors).
"""

import struct
from pathlib import Path
from typing import IO

from msgspec import Struct

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_STRING = 1 << 24
_BESIDE = 64 << 20
"""Bytes that the engine takes beside a model's files and texts: its program, and room to compute in."""

_NO_POOLING: object = 0
_POOLINGS = (1, 2, 3)
"""Mean, first and last token, as llama.cpp counts them: what makes one vector of many. (4 ranks pairs of texts.)"""


class GgufHeader(Struct, frozen=True):
    """``context``: how many tokens the model was trained to read at once. ``embeds``: it makes a vector of a text.
    ``token_bytes``: what the engine keeps of each token of a text (keys and values at 16 bits); 0 where it is not told.
    """

    context: int
    embeds: bool
    token_bytes: int = 0


def read_head(path: Path) -> GgufHeader:
    """What a model file says of its model. ``ValueError`` for what is no GGUF model."""
    context, pooling, sizes = 0, _NO_POOLING, {}
    with path.open("rb") as file:
        magic, version, _, pairs = struct.unpack("<4sIQQ", _exactly(file, 24))
        if magic != b"GGUF" or version < 2:
            raise ValueError(f"{path} is not a GGUF model file")
        for _ in range(pairs):
            key = _string(file)
            if context and key.startswith(b"tokenizer."):
                break  # the vocabulary, which is long; what we look for stands before it
            value = _value(file, struct.unpack("<I", _exactly(file, 4))[0])
            if key.endswith(b".context_length") and isinstance(value, int):
                context = value
            elif key.endswith(b".pooling_type"):
                pooling = value
            elif isinstance(value, int):
                sizes[key.partition(b".")[2]] = value
    if not context:
        raise ValueError(f"{path} does not name a context length")
    return GgufHeader(context, pooling in _POOLINGS, _token_bytes(sizes))


def _token_bytes(sizes: dict[bytes, int]) -> int:
    """A key and a value for each layer and each head that has its own."""
    heads = sizes.get(b"attention.head_count", 0)
    width = sizes.get(b"embedding_length", 0) // max(1, heads)
    key, value = (sizes.get(b"attention." + name, width) for name in (b"key_length", b"value_length"))
    return sizes.get(b"block_count", 0) * sizes.get(b"attention.head_count_kv", heads) * (key + value) * 2


def loaded_bytes(files: int, head: GgufHeader, slots: int, context: int) -> int:
    """About how much memory a model takes whose files have so many bytes, with so many requests of so many tokens."""
    return files + slots * min(context, head.context) * head.token_bytes + _BESIDE


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise ValueError("the GGUF file ends too early")
    return data


def _string(file: IO[bytes]) -> bytes:
    (length,) = struct.unpack("<Q", _exactly(file, 8))
    if length > _LONGEST_STRING:
        raise ValueError("the GGUF file is damaged: a string without end")
    return _exactly(file, length)


def _value(file: IO[bytes], kind: int) -> object:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        item, count = struct.unpack("<IQ", _exactly(file, 12))
        for _ in range(count):
            _value(file, item)
        return None
    if kind not in _SCALARS:
        raise ValueError(f"the GGUF file is damaged: no value type {kind}")
    code = "<" + _SCALARS[kind]
    return struct.unpack(code, _exactly(file, struct.calcsize(code)))[0]
