"""A small moderation model: logistic heads over the vectors of all-MiniLM-L6-v2.

How it was trained, what it finds and what it misses: ``docs/moderation.md``. The vectors come from the embedding model
that serves anyway; what is added here are a few dot products, in plain Python.
"""

import math
import re
import sys
from array import array
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import mul
from pathlib import Path

import msgspec
from msgspec import Struct

from everloom.kit.errors import BadRequest
from everloom.models.base import Capability
from everloom.models.local import LocalModels
from everloom.objects.base import JsonObject, encode
from everloom.objects.moderations import CATEGORIES, Moderation, scored

MODERATION_MODEL = "minilm-moderation"
"""The name under which this model is served."""

LONGEST = 1_000_000
"""Characters of all inputs of a request together: some minutes of work on two cores at worst."""

HEADS = Path(__file__).with_name("moderation_heads.json")

WINDOW = 160
"""Characters scored at once, at most: the model was trained on single sentences, and a long text would hide one."""

_CAPABILITIES: frozenset[Capability] = frozenset({"moderate"})
_SHORTEST = 40
"""Sentences shorter than this are scored together with the next one."""

_AT_ONCE = 32

_ENDS = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？؟।])\s*|\n+")

Embed = Callable[[JsonObject], Awaitable[bytes]]
"""createEmbedding, as in the port ``Embeds``."""


class CategoryHead(Struct, frozen=True):
    """One logistic regression. ``weights`` are 32-bit floats, little-endian, as base64."""

    bias: float
    weights: str

    def floats(self) -> "array[float]":
        """The weights as numbers."""
        numbers = array("f", b64decode(self.weights))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers


class Heads(Struct, frozen=True, dict=True):
    """What training writes. ``products`` are categories that are two heads at once; the others have a head each.

    ``thresholds``: the probability from which on a category is flagged; it is shown as a score of 0.5.
    """

    heads: dict[str, CategoryHead]
    products: dict[str, tuple[str, str]]
    thresholds: dict[str, float]

    @cached_property
    def _numbers(self) -> "list[tuple[str, float, array[float]]]":
        return [(name, head.bias, head.floats()) for name, head in self.heads.items()]

    def scores(self, vector: Sequence[float]) -> dict[str, float]:
        """Every category's score for one vector, of unit length."""
        found = {name: sigmoid(bias + sum(map(mul, weights, vector))) for name, bias, weights in self._numbers}
        for name, (one, other) in self.products.items():
            found[name] = found[one] * found[other]
        return {name: shown(found[name], self.thresholds[name]) for name in CATEGORIES}


class MiniLMModeration(LocalModels):
    """The backend of that one model. ``embed`` answers for ``embedding_model``, which must be all-MiniLM-L6-v2.

    The vectors' model is another backend's to open and to close.
    """

    def __init__(self, embed: Embed, embedding_model: str) -> None:
        self._embed = embed
        self._embedding_model = embedding_model
        super().__init__((MODERATION_MODEL,), _CAPABILITIES)

    @cached_property
    def heads(self) -> Heads:
        """Read at first use."""
        return msgspec.json.decode(HEADS.read_bytes(), type=Heads)

    async def moderate(self, body: JsonObject) -> bytes:
        """createModeration. Errors: ``BadRequest`` for images, which this model cannot see, and for too much text."""
        inputs = _texts(body["input"])
        _check_length(inputs)
        # What is long is worked through while others are served: no list of all windows, no pause of all requests.
        best = [dict.fromkeys(CATEGORIES, 0.0) for _ in inputs]
        lot: list[tuple[int, str]] = []
        for place, texts in enumerate(inputs):
            for window in (window for text in texts for window in windows(text)):
                lot.append((place, window))
                if len(lot) == _AT_ONCE:
                    await self._score(lot, best)
                    lot = []
        await self._score(lot, best)
        return encode(Moderation(model=body["model"], results=list(map(scored, best))))

    async def _score(self, lot: list[tuple[int, str]], best: list[dict[str, float]]) -> None:
        """Raise the scores of each window's input to the window's own."""
        if not lot:
            return
        asked = {"model": self._embedding_model, "input": [window for _, window in lot], "encoding_format": "base64"}
        vectors = _vectors_of.decode(await self._embed(asked)).data
        for (place, _), vector in zip(lot, vectors, strict=True):
            for name, score in self.heads.scores(_floats(vector.embedding)).items():
                best[place][name] = max(best[place][name], score)


def sigmoid(logit: float) -> float:
    """The probability behind a logit."""
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))


def shown(probability: float, threshold: float) -> float:
    """A probability as it is shown: on a scale on which ``threshold`` is 0.5."""
    held = min(max(probability, 1e-9), 1 - 1e-9)
    return sigmoid(math.log(held / (1 - held)) - math.log(threshold / (1 - threshold)))


def windows(text: str) -> Iterator[str]:
    """A text's sentences, short ones together, long ones cut where words end."""
    held = ""
    for sentence in _ENDS.split(text):
        for piece in filter(None, _pieces(sentence.strip())):
            if held and (len(held) >= _SHORTEST or len(held) + 1 + len(piece) > WINDOW):
                yield held
                held = ""
            held = f"{held} {piece}" if held else piece
    if held:
        yield held


def _pieces(sentence: str) -> Iterator[str]:
    start = 0
    while len(sentence) - start > WINDOW:
        cut = sentence.rfind(" ", start + WINDOW // 2, start + WINDOW)
        end = start + WINDOW if cut < 0 else cut
        yield sentence[start:end].strip()
        start = end
    if rest := sentence[start:].strip():
        yield rest


def _texts(value: str | list[str | Mapping[str, str]]) -> list[list[str]]:
    """The texts of each input: a list of parts is one input."""
    if isinstance(value, str):
        return [[value]]
    strings = [item for item in value if isinstance(item, str)]
    if strings:
        return [[item] for item in strings]
    texts: list[str] = []
    for index, part in enumerate(value):
        if isinstance(part, str) or part["type"] != "text":
            raise BadRequest(
                "Invalid value: 'image_url'. Supported values are: 'text'. (On this server: the model "
                f"`{MODERATION_MODEL}` cannot see images, so it cannot judge them. Let a model that can see answer, "
                "with the setting moderation_model or a [[models]] entry; see docs/moderation.md.)",
                param=f"input[{index}].type",
                code="invalid_value",
            )
        texts.append(part["text"])
    return [texts]


def _check_length(inputs: list[list[str]]) -> None:
    length = sum(len(text) for texts in inputs for text in texts)
    if length > LONGEST:
        raise BadRequest(
            f"Invalid 'input': string too long. Expected at most {LONGEST} characters in all inputs together, "
            f"but got {length} instead.",
            param="input",
            code="string_above_max_length",
        )


class _Vector(Struct):
    embedding: str


class _Vectors(Struct):
    data: list[_Vector]


_vectors_of = msgspec.json.Decoder(_Vectors)


def _floats(embedding: str) -> "array[float]":
    return CategoryHead(0.0, embedding).floats()
