"""The few facts of a GGUF file that are wanted before its model is loaded.

Format: the GGUF specification of ggml (little-endian; header, then key-value pairs, then tensors).
"""

import math
import struct
from pathlib import Path
from typing import IO

from msgspec import Struct

from everloom.models.files.formats import files_of

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_STRING = 1 << 24
_LONGEST_LIST = 1 << 22
_SHOWN = 1 << 12
_BESIDE = 64 << 20
"""Bytes that the engine takes beside a model's files and texts: its program, and room to compute in."""

_NO_POOLING: object = 0
_POOLINGS = (1, 2, 3)
"""Mean, first and last token, as llama.cpp counts them: what makes one vector of many. (4 ranks pairs of texts.)"""


_MOST_PAIRS = 1 << 14
_MOST_TENSORS = 1 << 16
_TENSOR_TYPES = {0: (1, 4), 1: (1, 2), 8: (32, 34), 30: (1, 2)}
"""What adapters are written in (32 and 16 bits, Q8_0, bfloat16): values of a block, and its bytes."""
_ALIGNMENT = 32
_MOST_DIMENSIONS = 4


class GgufHeader(Struct, frozen=True):
    """``context``: how many tokens the model was trained to read at once. ``embeds``: it makes a vector of a text.
    ``token_bytes``: what the engine keeps of each token of a text (keys and values at 16 bits); 0 where it is not told.
    ``general``: the texts and numbers under ``general.``, without that word: ``architecture``, ``basename``, ``name``,
    ``sampling.temp`` and others.
    """

    context: int
    embeds: bool
    token_bytes: int = 0
    general: dict[str, str | int | float] = {}


def read_head(path: Path) -> GgufHeader:
    """What a model file says of its model. ``ValueError`` for what is no GGUF model."""
    context, pooling, sizes = 0, _NO_POOLING, {}
    general: dict[str, str | int | float] = {}
    with path.open("rb") as file:
        magic, version, _, pairs = struct.unpack("<4sIQQ", _exactly(file, 24))
        if magic != b"GGUF" or version < 2:
            raise ValueError(f"{path} is not a GGUF model file")
        for _ in range(pairs):
            key = _string(file)
            if context and key.startswith(b"tokenizer."):
                break  # the vocabulary, which is long; what we look for stands before it
            value = _value(file, struct.unpack("<I", _exactly(file, 4))[0])
            if key.startswith(b"general.") and (shown := _plain(value)) is not None:
                general[key.removeprefix(b"general.").decode("utf-8", "replace")] = shown
            elif key.endswith(b".context_length") and isinstance(value, int):
                context = value
            elif key.endswith(b".pooling_type"):
                pooling = value
            elif isinstance(value, int):
                sizes[key.partition(b".")[2]] = value
    if not context:
        raise ValueError(f"{path} does not name a context length")
    return GgufHeader(context, pooling in _POOLINGS, _token_bytes(sizes), general)


def check_whole(path: Path) -> None:
    """See that a model's file, and each part of one that was split, goes on to its last tensor: a copy that broke off
    does not, though its head says nothing of it. Looks at all names and words, which takes parts of a second.

    Errors: ``ValueError`` for a file that is damaged; ``OSError`` for one that cannot be read.
    """
    for file in files_of(path):
        _check_part(file)


def _check_part(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        _, _, tensors, pairs = struct.unpack("<4sIQQ", _exactly(file, 24))
        if pairs > _MOST_PAIRS or tensors > _MOST_TENSORS:
            raise ValueError(f"{path} is damaged: it claims to have too much in it")
        said: dict[bytes, object] = {}
        for _ in range(pairs):
            key = _string(file)
            said[key] = _value(file, struct.unpack("<I", _exactly(file, 4))[0])
        starts = [_tensor_start(file) for _ in range(tensors)]
        alignment = said.get(b"general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"{path} is damaged: its tensors are aligned to {alignment!r}")
        begin = -(-file.tell() // alignment) * alignment
    if starts and begin + max(starts) >= size:
        raise ValueError(f"{path} is damaged: it ends before its tensors do")


def _tensor_start(file: IO[bytes]) -> int:
    """Where a tensor begins, counted from where the first of them does."""
    _string(file)
    (dimensions,) = struct.unpack("<I", _exactly(file, 4))
    if dimensions > _MOST_DIMENSIONS:
        raise ValueError("the GGUF file is damaged: a tensor without shape")
    _exactly(file, 8 * dimensions)
    _, start = struct.unpack("<IQ", _exactly(file, 12))
    return int(start)


def check_adapter(path: Path, architecture: str) -> None:
    """See that a file can be a LoRA over a model of this architecture, as far as its head and its size tell; whether
    it fits the model's matrices the engine finds out when it loads it.

    Errors: ``ValueError`` with what is wrong; ``OSError`` for a file that cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic, version, tensors, pairs = struct.unpack("<4sIQQ", _exactly(file, 24))
        if magic != b"GGUF" or version < 2:
            raise ValueError("it is not a GGUF file")
        if pairs > _MOST_PAIRS or not 0 < tensors <= _MOST_TENSORS:
            raise ValueError("the GGUF file is damaged: it claims to have too much, or nothing, in it")
        said: dict[bytes, object] = {}
        for _ in range(pairs):
            key = _string(file)
            said[key] = _value(file, struct.unpack("<I", _exactly(file, 4))[0])
        _check_kind(said, architecture)
        ends = [_tensor_end(file) for _ in range(tensors)]
        start = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
    if start + max(ends) > size:
        raise ValueError("the GGUF file is damaged: it ends before its tensors do")


def _check_kind(said: dict[bytes, object], architecture: str) -> None:
    if said.get(b"general.type") != b"adapter" or said.get(b"adapter.type") != b"lora":
        raise ValueError("it is no LoRA adapter")
    own = said.get(b"general.architecture")
    if not isinstance(own, bytes) or own != architecture.encode():
        raise ValueError(f"it was made for another architecture than {architecture}")
    if said.get(b"general.alignment", _ALIGNMENT) != _ALIGNMENT:
        raise ValueError(f"its tensors are not aligned to {_ALIGNMENT} bytes")
    # Adapters that wake up in the middle of a text share the keys before it with their base, which we do not allow.
    if b"adapter.alora.invocation_tokens" in said:
        raise ValueError("it is an activated LoRA, which this server does not serve")


def _tensor_end(file: IO[bytes]) -> int:
    """Where a tensor ends, counted from where tensors begin."""
    name = _string(file)
    if not name.endswith((b".lora_a", b".lora_b")):
        raise ValueError("it has tensors that are no part of a LoRA")
    (dimensions,) = struct.unpack("<I", _exactly(file, 4))
    if not 0 < dimensions <= _MOST_DIMENSIONS:
        raise ValueError("the GGUF file is damaged: a tensor without shape")
    values = math.prod(struct.unpack(f"<{dimensions}Q", _exactly(file, 8 * dimensions)))
    kind, offset = struct.unpack("<IQ", _exactly(file, 12))
    if kind not in _TENSOR_TYPES or not values:
        raise ValueError(f"it has tensors of a type ({kind}) that adapters are not served in")
    block, width = _TENSOR_TYPES[kind]
    end: int = offset + -(-values // block) * width
    return end


def _plain(value: object) -> str | int | float | None:
    """A text or a number; None for what is neither."""
    if isinstance(value, bytes):
        return value[:_SHOWN].decode("utf-8", "replace")
    return value if isinstance(value, int | float) else None


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
        if item == _ARRAY or count > _LONGEST_LIST:
            raise ValueError("the GGUF file is damaged: a list of lists, or one without end")
        if item in _SCALARS:
            _exactly(file, count * struct.calcsize("<" + _SCALARS[item]))
            return None
        for _ in range(count):
            _value(file, item)
        return None
    if kind not in _SCALARS:
        raise ValueError(f"the GGUF file is damaged: no value type {kind}")
    code = "<" + _SCALARS[kind]
    return struct.unpack(code, _exactly(file, struct.calcsize(code)))[0]
