"""Random LoRA adapters as GGUF files: tuned models without training, for tests of how they are served.

Layout: the GGUF specification of ggml, and the names that llama.cpp gives an adapter's keys and tensors.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

WIDTH, LAYERS, HEADS_KV, FEED = 576, 30, 192, 1536
"""Of the default model, SmolLM2-135M."""

_F32, _STRING, _UINT32, _FLOAT32, _ALIGNMENT = 0, 8, 4, 6, 32
_SHAPES = {"attn_q": (WIDTH, WIDTH), "attn_v": (WIDTH, HEADS_KV), "ffn_down": (FEED, WIDTH)}
"""Inputs and outputs of the matrices that are tuned."""

EVERY_MATRIX = _SHAPES | {
    "attn_k": (WIDTH, HEADS_KV),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (WIDTH, FEED),
    "ffn_up": (WIDTH, FEED),
}
"""The seven of a layer, as training tunes them."""


def write_adapter(
    target: Path,
    *,
    seed: int = 1,
    rank: int = 8,
    strength: float = 0.05,
    layers: int = LAYERS,
    matrices: Mapping[str, tuple[int, int]] = _SHAPES,
    keys: dict[str, str | float | int] | None = None,
) -> Path:
    """An adapter over the default model that changes what it says: the stronger, the less is left of its words.

    ``keys`` replace or add to the head's.
    """
    random = numpy.random.default_rng(seed)
    tensors: list[tuple[str, tuple[int, int], bytes]] = []
    for layer in range(layers):
        for name, (inputs, outputs) in matrices.items():
            for part, (inner, outer) in {"a": (inputs, rank), "b": (rank, outputs)}.items():
                values = random.normal(0, strength, (outer, inner)).astype("<f4")
                tensors.append((f"blk.{layer}.{name}.weight.lora_{part}", (inner, outer), values.tobytes()))
    return write_tensors(target, head_keys(keys), tensors)


def head_keys(keys: dict[str, str | float | int] | None = None) -> dict[str, str | float | int]:
    """The keys of a LoRA over a llama model, with others in their place or beside them."""
    return {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": 16.0,
    } | (keys or {})


def write_tensors(
    target: Path, keys: dict[str, str | float | int], tensors: list[tuple[str, tuple[int, int], bytes]]
) -> Path:
    """A GGUF file of these keys and tensors (name, dimensions from the inmost, 32-bit floats)."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    for key, value in keys.items():
        head += _text(key) + _value(value)
    offset = 0
    for name, dimensions, data in tensors:
        head += _text(name) + struct.pack("<IQQIQ", 2, *dimensions, _F32, offset)
        offset += len(data) + -len(data) % _ALIGNMENT
    parts = [head, bytes(-len(head) % _ALIGNMENT)]
    for _, _, data in tensors:
        parts += [data, bytes(-len(data) % _ALIGNMENT)]
    target.write_bytes(b"".join(parts))
    return target


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    return struct.pack("<If", _FLOAT32, value)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
