"""Vectors for texts. Callers: embeddings, batches, file search."""

import base64
import math
import re
import sys
from array import array
from collections.abc import Sequence

import msgspec

from everloom.context import Context
from everloom.kit.errors import ApiError, ModelFailure
from everloom.models.failures import unreadable
from everloom.objects.base import JsonObject

_TEXTS_AT_ONCE = 64
"""Texts in one request for vectors: enough to keep a server busy, few enough to lose little when it fails."""

_TOO_LONG = re.compile(r"context (?:length|size|window)|maximum .*tokens|is too (?:long|large)")
"""How servers that give no code say that a text is longer than the model reads."""

_SHORTEST_HALVED = 16


async def embeddings(ctx: Context, body: JsonObject) -> bytes:
    """The answer to a createEmbedding request, as the model's server gave it, in the encoding that was asked for.

    Errors: 404 ``model_not_found``, the platform's 4xx, ``ModelFailure``.
    """
    async with ctx.ask("embed", body["model"]) as model:
        return await model.embed(body)


async def embed(ctx: Context, model: str, texts: Sequence[str]) -> "list[array[float]]":
    """A vector of unit length (32-bit floats) for each text, whatever the model's server makes of lengths,
    and of the model's own size: what is kept of it gets no zeros behind it. The operator has chosen the model, so the
    project's permissions are not asked.

    A text that is longer than the model reads is halved as often as it takes; its vector is the mean of its parts'.
    Errors: as ``embeddings``; ``ValueError`` for an empty text.
    """
    if not all(texts):
        raise ValueError("an empty text has no vector")
    vectors: list[array[float]] = []
    for begin in range(0, len(texts), _TEXTS_AT_ONCE):
        vectors += await _embed_lot(ctx, model, texts[begin : begin + _TEXTS_AT_ONCE])
    return vectors


async def _embed_lot(ctx: Context, model: str, texts: Sequence[str]) -> "list[array[float]]":
    try:
        async with ctx.of_the_server().ask("embed", model) as bound:
            body: JsonObject = {"model": model, "input": list(texts), "encoding_format": "base64"}
            answer = await bound.embed(body, plain=True)
    except ApiError as error:
        if error.code != "context_length_exceeded" and not _TOO_LONG.search(error.message):
            raise
        return await _embed_halves(ctx, model, texts)
    items = sorted(_vectors_of.decode(answer).data, key=lambda item: item.index)
    if len(items) != len(texts):
        raise unreadable(model)
    return [_unit(_floats(item.embedding)) for item in items]


async def _embed_halves(ctx: Context, model: str, texts: Sequence[str]) -> "list[array[float]]":
    """What could not be done in one request: the lot in two, and in the end the one long text in two."""
    if len(texts) > 1:
        middle = len(texts) // 2
        return await _embed_lot(ctx, model, texts[:middle]) + await _embed_lot(ctx, model, texts[middle:])
    [text] = texts
    if len(text) < _SHORTEST_HALVED:
        raise ModelFailure(f"The model {model} calls a text of {len(text)} characters too long.")
    middle = len(text) // 2
    halves = await _embed_lot(ctx, model, [text[:middle], text[middle:]])
    return [_unit(array("f", map(sum, zip(*halves, strict=True))))]


class _Vectors(msgspec.Struct):
    data: list["_Vector"]


class _Vector(msgspec.Struct):
    index: int
    embedding: str


_vectors_of = msgspec.json.Decoder(_Vectors)


def _floats(embedding: str) -> "array[float]":
    floats = array("f", base64.b64decode(embedding))
    if sys.byteorder == "big":
        floats.byteswap()
    return floats


def _unit(vector: "array[float]") -> "array[float]":
    length = math.hypot(*vector)
    if length == 0 or abs(length - 1) < 1e-6:
        return vector
    return array("f", [value / length for value in vector])
