"""createEmbedding as every local model understands it: what may be asked, and the answer in the reference's form."""

import array
import asyncio
import base64
import contextlib
import sys
from typing import Any

import msgspec

from everloom.kit.errors import BadRequest
from everloom.objects.base import JsonObject, encode

Input = str | list[int]
"""A text, or the tokens of one."""

_AT_ONCE = 16
"""Vectors that are written in the server's loop."""

_SEND_TEXT = (
    "Tokens of another model's tokenizer mean nothing to it: send the text itself (LangChain: "
    "check_embedding_ctx_length=False)."
)


def inputs_of(value: Any) -> list[Input]:
    """Every form of ``input`` as a list of texts or of token lists. 400 for anything else."""
    if isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], int)):
        value = [value]
    for kind in (list[str], list[list[int]]):
        with contextlib.suppress(msgspec.ValidationError):
            inputs: list[Input] = msgspec.convert(value, kind)
            if inputs and all(inputs):
                return inputs
    message = "'input' must be a text, a list of texts or lists of token ids, none of them empty."
    raise BadRequest(message, param="input")


def check_dimensions(body: JsonObject, own: int) -> None:
    """400 for ``dimensions`` other than the model's own."""
    asked = body.get("dimensions")
    if asked is not None and asked != own:
        message = f"This model does not support specifying dimensions. Its vectors have {own}."
        raise BadRequest(message, param="dimensions")


def refuse_others_tokens(body: JsonObject, asked_as: str | None) -> None:
    """``BadRequest`` for tokens in a request that reached the model by an alias: they are of the model of that name."""
    value = body.get("input")
    if asked_as in (None, body["model"]) or isinstance(value, str) or not value or isinstance(value[0], str):
        return
    raise BadRequest(
        f"'input' holds token ids, which this server reads only under the name of the model that they are of "
        f"(`{body['model']}`). {_SEND_TEXT}",
        param="input",
    )


def unknown_tokens() -> BadRequest:
    """The refusal of token ids that the model does not have."""
    return BadRequest(
        f"'input' holds token ids that this model does not have. {_SEND_TEXT}",
        param="input",
    )


def text_too_long(window: int, tokens: int) -> BadRequest:
    """The platform's refusal of a text that is too long to embed."""
    return BadRequest(
        f"This model's maximum context length is {window} tokens, however you requested {tokens} tokens ({tokens} in "
        "your prompt; 0 for the completion). Please reduce your prompt; or completion length.",
        param="input",
        code="context_length_exceeded",
    )


async def answer(vectors: list[bytes], tokens: int, body: JsonObject) -> bytes:
    """The whole answer. Many vectors are written beside the server's loop: 2 048 of them as numbers take a third of a
    second.
    """
    if len(vectors) <= _AT_ONCE:
        return _written(vectors, tokens, body)
    return await asyncio.to_thread(_written, vectors, tokens, body)


def _written(vectors: list[bytes], tokens: int, body: JsonObject) -> bytes:
    as_base64 = body.get("encoding_format") == "base64"
    shown = [msgspec.Raw(_quoted(vector) if as_base64 else _numbers(vector)) for vector in vectors]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(shown)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return encode({"object": "list", "data": data, "model": body["model"], "usage": usage})


def _quoted(vector: bytes) -> bytes:
    return b'"%b"' % base64.b64encode(vector)


def _numbers(vector: bytes) -> bytes:
    """A JSON array. Nine digits are all that a 32-bit float has: read back they give the same float."""
    floats = array.array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return b"[%b]" % ",".join([f"{value:.9g}" for value in floats]).encode()
