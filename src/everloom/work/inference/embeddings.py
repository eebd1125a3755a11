"""Vectors for texts, metered. Callers: embeddings, batches, file search."""

import base64
import math
import re
import sys
from array import array
from collections.abc import Sequence

import msgspec

from everloom.kit.errors import NO_JSON, ApiError, ModelFailure
from everloom.models.registry import Models
from everloom.objects.base import JsonObject
from everloom.objects.tools import Usage
from everloom.work.inference.metering import asked, count_tokens, refused, unreadable

_TEXTS_AT_ONCE = 64
"""Texts in one request for vectors: enough to keep a server busy, few enough to lose little when it fails."""

_TOO_LONG = re.compile(r"context (?:length|size|window)|maximum .*tokens|is too (?:long|large)")
"""How servers that give no code say that a text is longer than the model reads."""

_SHORTEST_HALVED = 16


async def embeddings(models: Models, body: JsonObject) -> bytes:
    """The answer to a createEmbedding request, as the model's server gave it; the numbers of one that knows no base64
    are encoded, where that was asked for. Errors: as ``ask``.
    """
    backend, own = models.resolve(body["model"], "embed")
    try:
        answer = await backend.embed({**body, "model": own}, asked_as=body["model"])
        said = _shown_of.decode(answer)
        if body.get("encoding_format") == "base64" and any(_is_numbers(item.embedding) for item in said.data):
            answer = _in_base64(answer)
    except ApiError as error:
        refused(own, error)
        raise
    except (*NO_JSON, OverflowError) as error:
        asked(own, "failed")
        raise unreadable(own) from error
    asked(own, "completed")
    if said.usage is not None:
        count_tokens(own, said.usage)
    return answer


async def embed(models: Models, model: str, texts: Sequence[str]) -> "list[array[float]]":
    """A vector of unit length (32-bit floats) for each text, whatever the model's server makes of lengths.

    A text that is longer than the model reads is halved as often as it takes; its vector is the mean of its parts'.
    Errors: as ``ask``; ``ValueError`` for an empty text.
    """
    if not all(texts):
        raise ValueError("an empty text has no vector")
    vectors: list[array[float]] = []
    for begin in range(0, len(texts), _TEXTS_AT_ONCE):
        vectors += await _embed_lot(models, model, texts[begin : begin + _TEXTS_AT_ONCE])
    return vectors


async def _embed_lot(models: Models, model: str, texts: Sequence[str]) -> "list[array[float]]":
    try:
        answer = await embeddings(models, {"model": model, "input": list(texts), "encoding_format": "base64"})
    except ApiError as error:
        if error.code != "context_length_exceeded" and not _TOO_LONG.search(error.message):
            raise
        return await _embed_halves(models, model, texts)
    items = sorted(_vectors_of.decode(answer).data, key=lambda item: item.index)
    if len(items) != len(texts):
        raise unreadable(model)
    return [_unit(_floats(item.embedding)) for item in items]


async def _embed_halves(models: Models, model: str, texts: Sequence[str]) -> "list[array[float]]":
    """What could not be done in one request: the lot in two, and in the end the one long text in two."""
    if len(texts) > 1:
        middle = len(texts) // 2
        return await _embed_lot(models, model, texts[:middle]) + await _embed_lot(models, model, texts[middle:])
    [text] = texts
    if len(text) < _SHORTEST_HALVED:
        raise ModelFailure(f"The model {model} calls a text of {len(text)} characters too long.")
    middle = len(text) // 2
    halves = await _embed_lot(models, model, [text[:middle], text[middle:]])
    return [_unit(array("f", map(sum, zip(*halves, strict=True))))]


class _Shown(msgspec.Struct):
    """An answer to createEmbedding, its vectors unread. Servers that leave the usage out have counted nothing."""

    data: list["_ShownVector"]
    usage: Usage | None = None


class _ShownVector(msgspec.Struct):
    embedding: msgspec.Raw


class _Vectors(msgspec.Struct):
    data: list["_Vector"]


class _Vector(msgspec.Struct):
    index: int
    embedding: str


_shown_of = msgspec.json.Decoder(_Shown)
_vectors_of = msgspec.json.Decoder(_Vectors)
_members_of = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items_of = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_numbers_of = msgspec.json.Decoder(list[float])


def _is_numbers(embedding: msgspec.Raw) -> bool:
    return memoryview(embedding)[0] == ord("[")


def _in_base64(answer: bytes) -> bytes:
    """The same answer with base64 in place of numbers, every other byte of its members as it was."""
    members = _members_of.decode(answer)
    items = _items_of.decode(members["data"])
    for item in items:
        if _is_numbers(item["embedding"]):
            floats = array("f", _numbers_of.decode(item["embedding"]))
            if sys.byteorder == "big":
                floats.byteswap()
            item["embedding"] = msgspec.Raw(b'"%b"' % base64.b64encode(floats))
    return msgspec.json.encode(members | {"data": items})


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
