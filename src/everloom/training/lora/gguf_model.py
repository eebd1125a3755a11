"""A GGUF model file as training needs it: what it says of itself, and where its weights lie.

The child reads it in another Python's environment, so nothing but Python's own is imported. Files come from anywhere:
every count is bounded before it is believed. Format: the GGUF specification of ggml.
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

TRAINABLE = ("llama", "qwen2")
"""Architectures whose weights are known by name here (``network.py``), and were tried."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_STRING = 1 << 24
_MOST_PAIRS = 1 << 16
_MOST_TENSORS = 1 << 18
_MOST_ITEMS = 1 << 24
_MOST_DIMENSIONS = 8
_POOLINGS = (1, 2, 3)


@dataclass(frozen=True)
class GgufTensor:
    """``shape`` as ggml writes it, the fastest dimension first; ``offset`` in bytes from the beginning of the file."""

    kind: int
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a transformer. ``bytes_a_token``: what a step keeps of each token for its way back, in numbers of
    the width that is trained with.
    """

    architecture: str
    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    context: int
    parameters: int
    embeds: bool
    experts: int

    def lora_parameters(self, rank: int) -> int:
        """Numbers of an adapter over the seven matrices of each layer."""
        q, kv = self.heads * self.head_width, self.kv_heads * self.head_width
        sides = (self.width + q, self.width + kv, self.width + kv, q + self.width)
        return self.layers * rank * (sum(sides) + 3 * (self.width + self.inner))

    def kept_a_token(self) -> int:
        """Numbers that a layer keeps of each token between its way there and its way back: about what was measured."""
        q, kv = self.heads * self.head_width, self.kv_heads * self.head_width
        return self.layers * (9 * self.width + 5 * self.inner + 4 * q + 6 * kv)


@dataclass(frozen=True)
class GgufModel:
    """``keys``: its metadata; ``tensors``: its weights by name."""

    path: Path
    keys: dict[str, Any]
    tensors: dict[str, GgufTensor]

    def key(self, name: str, default: Any = None) -> Any:
        """A value of its architecture's own: ``key("block_count")``."""
        return self.keys.get(f"{self.keys.get('general.architecture', '')}.{name}", default)

    def general(self) -> dict[str, Any]:
        """What it says of itself, whatever its architecture."""
        own = "general."
        return {name.removeprefix(own): value for name, value in self.keys.items() if name.startswith(own)}

    def shape(self) -> ModelShape:
        """Errors: ``ValueError`` where a size is missing or absurd."""
        heads = self._size("attention.head_count")
        width = self._size("embedding_length")
        embedding = self.tensors.get("token_embd.weight")
        return ModelShape(
            architecture=str(self.keys.get("general.architecture", "")),
            layers=self._size("block_count"),
            width=width,
            inner=self._size("feed_forward_length"),
            heads=heads,
            kv_heads=self._size("attention.head_count_kv", heads),
            head_width=self._size("attention.key_length", max(1, width // heads)),
            vocabulary=embedding.shape[-1] if embedding else 0,
            context=self._size("context_length"),
            parameters=sum(prod(tensor.shape) for tensor in self.tensors.values()),
            embeds=self.key("pooling_type") in _POOLINGS,
            experts=self.key("expert_count", 0) or 0,
        )

    def _size(self, name: str, default: int | None = None) -> int:
        value = self.key(name, default)
        if not isinstance(value, int) or not 0 < value <= 1 << 31:
            raise ValueError(f"{self.path.name} does not say its {name}")
        return value


def read_model(path: Path) -> GgufModel:
    """Errors: ``ValueError`` for what is no GGUF model, or a damaged one; ``OSError``."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            magic, version, tensors, pairs = struct.unpack("<4sIQQ", _exactly(file, 24))
            if magic != b"GGUF" or version not in (2, 3):
                raise ValueError(f"{path.name} is not a GGUF model file")
            _bounded(pairs, _MOST_PAIRS)
            _bounded(tensors, _MOST_TENSORS)
            keys = {_text(file): _value(file, _number(file)) for _ in range(pairs)}
            infos = [_tensor(file) for _ in range(tensors)]
            alignment = keys.get("general.alignment", 32)
            if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
                raise ValueError("the GGUF file is damaged: its alignment")
            start = -(-file.tell() // alignment) * alignment
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"{path.name} is damaged: {error}") from error
    found = {name: GgufTensor(kind, shape, start + offset) for name, kind, shape, offset in infos}
    if any(tensor.offset >= size for tensor in found.values()):
        raise ValueError(f"{path.name} ends too early")
    return GgufModel(path, keys, found)


def _tensor(file: IO[bytes]) -> tuple[str, int, tuple[int, ...], int]:
    name = _text(file)
    dimensions = _bounded(_number(file), _MOST_DIMENSIONS)
    shape = struct.unpack(f"<{dimensions}Q", _exactly(file, 8 * dimensions))
    kind, offset = struct.unpack("<IQ", _exactly(file, 12))
    return name, kind, shape, offset


def _bounded(count: int, most: int) -> int:
    if count > most:
        raise ValueError("the GGUF file is damaged: a count without end")
    return count


def _number(file: IO[bytes]) -> int:
    return int(struct.unpack("<I", _exactly(file, 4))[0])


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise ValueError("the GGUF file ends too early")
    return data


def _text(file: IO[bytes]) -> str:
    (length,) = struct.unpack("<Q", _exactly(file, 8))
    return _exactly(file, _bounded(length, _LONGEST_STRING)).decode("utf-8", "surrogateescape")


def _value(file: IO[bytes], kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        item, count = struct.unpack("<IQ", _exactly(file, 12))
        _bounded(count, _MOST_ITEMS)
        if item not in _SCALARS:
            return [_value(file, item) for _ in range(count)]
        code = f"<{count}{_SCALARS[item]}"
        return list(struct.unpack(code, _exactly(file, struct.calcsize(code))))
    if kind not in _SCALARS:
        raise ValueError(f"the GGUF file is damaged: no value type {kind}")
    code = "<" + _SCALARS[kind]
    return struct.unpack(code, _exactly(file, struct.calcsize(code)))[0]
