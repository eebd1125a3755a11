"""all-MiniLM-L6-v2 as a GGUF file: an embedding model as a user may have one, for tests of what llama.cpp serves.

Layout: the GGUF specification of ggml, and the names that llama.cpp gives the tensors and keys of a BERT.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import numpy.typing

Floats = numpy.typing.NDArray[numpy.float32]

CONTEXT = 512
"""Tokens that the model has positions for; it was trained on 256."""

_F32, _F16, _Q8 = 0, 1, 8
_ALIGNMENT = 32
_NORMAL, _CONTROL = 1, 3
_STRING, _ARRAY = 8, 9

_TOP = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_LAYERS = 6

_NUMBERS: dict[str, int] = {
    "bert.block_count": _LAYERS,
    "bert.context_length": CONTEXT,
    "bert.embedding_length": 384,
    "bert.feed_forward_length": 1536,
    "bert.attention.head_count": 12,
    "bert.pooling_type": 1,  # the mean over the tokens
    "tokenizer.ggml.token_type_count": 2,
}
_SPECIAL = {
    "padding": "[PAD]",
    "unknown": "[UNK]",
    "bos": "[CLS]",
    "cls": "[CLS]",
    "eos": "[SEP]",
    "seperator": "[SEP]",  # spelt so in llama.cpp
    "mask": "[MASK]",
}


def write_gguf(target: Path, safetensors: Path, tokenizer: Path) -> None:
    """The published weights in another form: the feed-forward layers in eight bits, the rest in sixteen."""
    with target.open("wb") as file:
        for block in _blocks(_Safetensors(safetensors), json.loads(tokenizer.read_bytes())):
            file.write(block)


class _Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]
    kind: int
    data: bytes


class _Safetensors:
    """A safetensors file: a JSON head that says where each tensor lies, then the tensors."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        (length,) = struct.unpack_from("<Q", self._data)
        self._start = 8 + length
        self._head: dict[str, Any] = json.loads(self._data[8 : self._start])

    def read(self, name: str) -> Floats:
        entry = self._head[name]
        if entry["dtype"] != "F32":
            raise ValueError(f"{name} is {entry['dtype']}, not F32")
        begin, end = (self._start + offset for offset in entry["data_offsets"])
        return numpy.frombuffer(self._data[begin:end], "<f4").reshape(entry["shape"])


def _blocks(weights: _Safetensors, tokenizer: Any) -> Iterator[bytes]:
    tensors = [_packed(weights.read(source), name) for source, name in _names()]
    pairs = _pairs(tokenizer)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs)
    offset = 0
    for tensor in tensors:
        dimensions = tuple(reversed(tensor.shape))  # ggml names the innermost first
        head += _string(tensor.name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        head += struct.pack("<IQ", tensor.kind, offset)
        offset += len(tensor.data) + _gap(tensor.data)
    yield head + bytes(_gap(head))
    for tensor in tensors:
        yield tensor.data + bytes(_gap(tensor.data))


def _names() -> Iterator[tuple[str, str]]:
    yield from _TOP.items()
    for layer in range(_LAYERS):
        for source, name in _LAYER.items():
            for part in ("weight", "bias"):
                yield f"encoder.layer.{layer}.{source}.{part}", f"blk.{layer}.{name}.{part}"


def _packed(values: Floats, name: str) -> _Tensor:
    shape = values.shape
    if name.split(".")[-2] in ("ffn_up", "ffn_down") and len(shape) == 2:
        return _Tensor(name, shape, _Q8, _eight_bits(values))
    if len(shape) == 2 and name not in ("position_embd.weight", "token_types.weight"):
        return _Tensor(name, shape, _F16, values.astype("<f2").tobytes())
    return _Tensor(name, shape, _F32, values.tobytes())


def _eight_bits(values: Floats) -> bytes:
    """ggml's Q8_0: for each 32 values a half-precision scale and 32 signed bytes."""
    blocks = values.reshape(-1, 32)
    scales = numpy.abs(blocks).max(axis=1) / 127
    inverse = numpy.divide(1, scales, out=numpy.zeros_like(scales), where=scales > 0)
    packed = numpy.empty((len(blocks), 34), numpy.uint8)
    packed[:, :2] = scales.astype("<f2").view(numpy.uint8).reshape(-1, 2)
    packed[:, 2:] = numpy.round(blocks * inverse[:, None]).astype(numpy.int8).view(numpy.uint8)
    return packed.tobytes()


def _pairs(tokenizer: Any) -> list[bytes]:
    """The key-value pairs: what llama.cpp has to know of the model and of its WordPiece vocabulary.

    The file's own truncation to 128 tokens and its padding are not taken over: how much to read is the caller's say.
    """
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    vocabulary = sorted(ids, key=ids.__getitem__)
    if list(map(ids.__getitem__, vocabulary)) != list(range(len(vocabulary))):
        raise ValueError("the vocabulary has gaps")
    pieces = [_string(piece if piece in special else _phantom(piece)) for piece in vocabulary]
    kinds = [_CONTROL if piece in special else _NORMAL for piece in vocabulary]
    pairs = [
        _pair("general.architecture", _STRING, _string("bert")),
        _pair("general.name", _STRING, _string("all-MiniLM-L6-v2")),
        *(_pair(key, 4, struct.pack("<I", value)) for key, value in _NUMBERS.items()),
        _pair("bert.attention.layer_norm_epsilon", 6, struct.pack("<f", 1e-12)),
        _pair("bert.attention.causal", 7, struct.pack("<?", False)),
        _pair("tokenizer.ggml.model", _STRING, _string("bert")),
        _pair("tokenizer.ggml.tokens", _ARRAY, struct.pack("<IQ", _STRING, len(pieces)) + b"".join(pieces)),
        _pair("tokenizer.ggml.token_type", _ARRAY, struct.pack(f"<IQ{len(kinds)}i", 5, len(kinds), *kinds)),
    ]
    return pairs + [
        _pair(f"tokenizer.ggml.{role}_token_id", 4, struct.pack("<I", ids[token])) for role, token in _SPECIAL.items()
    ]


def _phantom(piece: str) -> str:
    """llama.cpp marks the pieces that begin a word, where WordPiece marks those that go on."""
    return piece[2:] if piece.startswith("##") else "\u2581" + piece


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _string(key) + struct.pack("<I", kind) + value


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _gap(data: bytes) -> int:
    return -len(data) % _ALIGNMENT
