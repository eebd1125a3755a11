"""Answers to createEmbedding in the encoding that was asked for, also of servers that know no base64."""

import base64
import sys
from array import array
from typing import Any

import msgspec


class _Embeddings(msgspec.Struct):
    """An answer, its vectors unread. Servers that leave the usage out have counted nothing."""

    data: list["_Embedding"]
    usage: Any = None


class _Embedding(msgspec.Struct):
    embedding: msgspec.Raw


_embeddings_of = msgspec.json.Decoder(_Embeddings)
_members_of = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items_of = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_numbers_of = msgspec.json.Decoder(list[float])


def encoded(answer: bytes, encoding: str | None) -> tuple[bytes, Any]:
    """The answer with its vectors in ``encoding``, and what it says of its usage.

    It is left as it stands but for numbers where base64 was asked for. Errors: ``NO_JSON`` and ``OverflowError`` for
    what is no answer.
    """
    said = _embeddings_of.decode(answer)
    if encoding == "base64" and any(_is_numbers(item.embedding) for item in said.data):
        answer = _in_base64(answer)
    return answer, said.usage


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
