"""all-MiniLM-L6-v2 in numpy: a text's tokens, and the vectors of token lists. Loaded by ``minilm/child.py`` alone.

Six layers of BERT (Devlin et al., 2018) and the mean of what they give, at unit length. Why numpy and no engine for
networks: ``docs/decisions/embeddings.md``.
"""

import json
import mmap
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from everloom.models.minilm.wordpiece import WordPiece

Floats = NDArray[numpy.float32]

DIMENSIONS = 384
_HEADS = 12
_LAYERS = 6
_EPSILON = 1e-12
_ROWS = 32
"""Rows on which an activation is computed at once: what they take stays in the processor's cache."""


class _Linear(NamedTuple):
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        y: Floats = x @ self.weight.T
        y += self.bias
        return y


class _Norm(NamedTuple):
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """In place."""
        x -= x.mean(axis=1, keepdims=True)
        variance = numpy.einsum("ij,ij->i", x, x) / x.shape[1]
        x *= (1 / numpy.sqrt(variance + _EPSILON))[:, None]
        x *= self.weight
        x += self.bias
        return x


class _Layer(NamedTuple):
    attention: _Linear
    """Queries, keys and values side by side; the queries already divided by the root of a head's size."""
    joined: _Linear
    joined_norm: _Norm
    inner: _Linear
    outer: _Linear
    outer_norm: _Norm


class MiniLM:
    """The model. Its methods may be called by several threads at once."""

    def __init__(self, safetensors: Path, tokenizer: Path) -> None:
        self._words = WordPiece(json.loads(tokenizer.read_bytes())["model"]["vocab"])
        self._weights = _Safetensors(safetensors)
        read = self._weights.read
        self._embeddings = read("embeddings.word_embeddings.weight")
        types = read("embeddings.token_type_embeddings.weight")
        self._positions: Floats = read("embeddings.position_embeddings.weight") + types[0]
        self._norm = _Norm(read("embeddings.LayerNorm.weight"), read("embeddings.LayerNorm.bias"))
        self._layers = [_layer(self._weights, f"encoder.layer.{number}") for number in range(_LAYERS)]

    @property
    def context(self) -> int:
        """The tokens of the longest text, its two marks among them."""
        return len(self._positions)

    def tokens(self, text: str | Sequence[int]) -> list[int]:
        """The text, or the tokens of one, between the model's marks. ``ValueError`` for tokens it does not have."""
        if isinstance(text, str):
            return self._words.tokens(text)
        if not all(0 <= token < len(self._embeddings) for token in text):
            raise ValueError("tokens that the model does not have")
        return self._words.framed(text)

    def embed(self, lists: Sequence[Sequence[int]]) -> Floats:
        """A vector of unit length for each list of tokens. All are computed together, so mind how long they are."""
        sizes = [len(tokens) for tokens in lists]
        starts = numpy.cumsum([0, *sizes[:-1]])
        x = self._embeddings[numpy.concatenate([numpy.asarray(tokens) for tokens in lists])]
        x += self._positions[numpy.concatenate([numpy.arange(size) for size in sizes])]
        x = self._norm(x)
        groups = _groups(sizes, starts)
        for layer in self._layers:
            x = _apply(layer, x, groups)
        vectors: Floats = numpy.add.reduceat(x, starts, axis=0)
        vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


_Groups = list[tuple[int, NDArray[numpy.int64]]]
"""Texts of one length, which attend together: the length, and the rows of all of them, text by text."""


def _groups(sizes: Sequence[int], starts: NDArray[Any]) -> _Groups:
    by_size: dict[int, list[int]] = {}
    for size, start in zip(sizes, starts, strict=True):
        by_size.setdefault(size, []).append(int(start))
    return [(size, (numpy.array(begin)[:, None] + numpy.arange(size)).ravel()) for size, begin in by_size.items()]


def _apply(layer: _Layer, x: Floats, groups: _Groups) -> Floats:
    mixed = layer.attention(x)
    attended = numpy.empty_like(x)
    for size, rows in groups:
        split = mixed[rows].reshape(-1, size, 3, _HEADS, DIMENSIONS // _HEADS).transpose(2, 0, 3, 1, 4)
        scores: Floats = split[0] @ split[1].swapaxes(2, 3)
        scores -= scores.max(axis=-1, keepdims=True)
        numpy.exp(scores, out=scores)
        heads: Floats = scores @ split[2]
        heads /= scores.sum(axis=-1, keepdims=True)
        attended[rows] = heads.swapaxes(1, 2).reshape(-1, DIMENSIONS)
    y = layer.joined(attended)
    y += x
    x = layer.joined_norm(y)
    y = layer.outer(_gelu(layer.inner(x)))
    y += x
    return layer.outer_norm(y)


def _gelu(x: Floats) -> Floats:
    """GELU in its form with a hyperbolic tangent, in place: numpy has no error function."""
    scratch = numpy.empty((min(_ROWS, len(x)), x.shape[1]), numpy.float32)
    for start in range(0, len(x), _ROWS):
        rows = x[start : start + _ROWS]
        bent = scratch[: len(rows)]
        numpy.multiply(rows, rows, out=bent)
        bent *= numpy.float32(0.044715)
        bent += numpy.float32(1)
        bent *= rows
        bent *= numpy.float32(0.7978845608)
        numpy.tanh(bent, out=bent)
        bent += numpy.float32(1)
        rows *= bent
        rows *= numpy.float32(0.5)
    return x


def _layer(weights: "_Safetensors", name: str) -> _Layer:
    def linear(part: str) -> _Linear:
        return _Linear(weights.read(f"{name}.{part}.weight"), weights.read(f"{name}.{part}.bias"))

    def norm(part: str) -> _Norm:
        return _Norm(weights.read(f"{name}.{part}.LayerNorm.weight"), weights.read(f"{name}.{part}.LayerNorm.bias"))

    query, key, value = (linear(f"attention.self.{part}") for part in ("query", "key", "value"))
    scale = numpy.float32((DIMENSIONS // _HEADS) ** -0.5)
    return _Layer(
        attention=_Linear(
            numpy.concatenate([query.weight * scale, key.weight, value.weight]),
            numpy.concatenate([query.bias * scale, key.bias, value.bias]),
        ),
        joined=linear("attention.output.dense"),
        joined_norm=norm("attention.output"),
        inner=linear("intermediate.dense"),
        outer=linear("output.dense"),
        outer_norm=norm("output"),
    )


class _Safetensors:
    """A safetensors file, mapped: a JSON head that says where each tensor lies, then the tensors."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        (length,) = struct.unpack_from("<Q", self._data)
        self._start = 8 + length
        self._head: dict[str, Any] = json.loads(self._data[8 : self._start])

    def read(self, name: str) -> Floats:
        """A tensor where it lies, without a copy."""
        entry = self._head[name]
        if entry["dtype"] != "F32":
            raise ValueError(f"{name} is {entry['dtype']}, not F32")
        begin, end = entry["data_offsets"]
        flat = numpy.frombuffer(self._data, "<f4", count=(end - begin) // 4, offset=self._start + begin)
        return flat.reshape(entry["shape"])
