"""all-MiniLM-L6-v2 as its paper and its tokenizer's file describe it, in plain numpy and nothing of ours."""

import json
import math
import struct
import unicodedata
from functools import cache
from pathlib import Path

import numpy as np

_erf = np.vectorize(math.erf)


class Bert:
    """The reference: 32-bit floats throughout, one text at a time."""

    def __init__(self, safetensors: Path, tokenizer: Path) -> None:
        self._data = safetensors.read_bytes()
        (length,) = struct.unpack_from("<Q", self._data)
        self._start = 8 + length
        self._head = json.loads(self._data[8 : self._start])
        self.vocabulary: dict[str, int] = json.loads(tokenizer.read_bytes())["model"]["vocab"]
        self._weight = cache(self._read)

    def _read(self, name: str) -> np.ndarray:
        entry = self._head[name]
        begin, end = (self._start + offset for offset in entry["data_offsets"])
        return np.frombuffer(self._data[begin:end], "<f4").reshape(entry["shape"])

    def embed(self, text: str) -> np.ndarray:
        ids = self.tokens(text)
        x = self._weight("embeddings.word_embeddings.weight")[ids]
        x = x + self._weight("embeddings.position_embeddings.weight")[: len(ids)]
        x = self._norm(x + self._weight("embeddings.token_type_embeddings.weight")[0], "embeddings.LayerNorm")
        for number in range(6):
            x = self._layer(x, f"encoder.layer.{number}.")
        mean = x.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def _layer(self, x: np.ndarray, name: str) -> np.ndarray:
        query, key, value = (
            self._linear(x, f"{name}attention.self.{part}").reshape(len(x), 12, 32).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(32)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        heads = (weights @ value).transpose(1, 0, 2).reshape(len(x), 384)
        x = self._norm(x + self._linear(heads, name + "attention.output.dense"), name + "attention.output.LayerNorm")
        inner = self._linear(x, name + "intermediate.dense")
        inner = inner * 0.5 * (1 + _erf(inner / math.sqrt(2)))
        return self._norm(x + self._linear(inner, name + "output.dense"), name + "output.LayerNorm")

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self._weight(name + ".weight").T + self._weight(name + ".bias")

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * self._weight(name + ".weight") + self._weight(name + ".bias")

    def tokens(self, text: str) -> list[int]:
        """WordPiece: lower case, no accents, words and signs apart, then the longest pieces from the left."""
        seen = "".join(f" {sign} " if _chinese(sign) else sign for sign in text if not _unseen(sign))
        plain = [sign for sign in unicodedata.normalize("NFD", seen) if unicodedata.category(sign) != "Mn"]
        shown = "".join(f" {sign} " if _alone(sign) else sign.lower() for sign in plain)
        pieces = [piece for word in shown.split() for piece in self._pieces(word)]
        return [self.vocabulary[piece] for piece in ("[CLS]", *pieces, "[SEP]")]

    def _pieces(self, word: str) -> list[str]:
        pieces: list[str] = []
        rest = word if len(word) <= 100 else "\ufffd"
        while rest:
            lead = "##" if pieces else ""
            size = next((size for size in range(len(rest), 0, -1) if lead + rest[:size] in self.vocabulary), 0)
            if not size:
                return ["[UNK]"]
            pieces.append(lead + rest[:size])
            rest = rest[size:]
        return pieces


def _unseen(sign: str) -> bool:
    return sign == "\ufffd" or (sign not in "\t\n\r" and unicodedata.category(sign) in ("Cc", "Cf", "Co"))


def _chinese(sign: str) -> bool:
    return 0x4E00 <= ord(sign) <= 0x9FFF


def _alone(sign: str) -> bool:
    """Signs that are words by themselves: punctuation, and ASCII's symbols."""
    ascii_symbol = sign.isascii() and sign.isprintable() and not sign.isalnum() and sign != " "
    return ascii_symbol or unicodedata.category(sign).startswith("P")
