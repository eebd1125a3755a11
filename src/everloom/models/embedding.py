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

OPENAI_SIZES = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
"""Numbers in the vectors of OpenAI's models; programs make their tables for so many."""

MOST_DIMENSIONS = 4096
"""Of vectors that are filled up: a request for 2 048 of them is answered with 45 MB at most."""

_AT_ONCE = 16
"""Vectors that are written in the server's loop."""

_FLOAT = 4

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


def is_openai_name(asked_as: str | None) -> bool:
    """Whether a caller asks by the name of one of OpenAI's models, whose token ids are those of one vocabulary."""
    return asked_as is not None and _bare(asked_as).startswith("text-embedding-")


def zeros_behind(body: JsonObject, own: int, asked_as: str | None) -> int:
    """How many zeros each vector of ``own`` numbers gets behind it: they change neither products nor cosines.

    As many as fill ``dimensions``, or the size of the OpenAI model that a caller asks for. 400 for fewer dimensions
    than the model's own, since it was not trained to be cut, and for more than anybody needs.
    """
    asked = body.get("dimensions")
    if asked is None:
        return max(0, OPENAI_SIZES.get(_bare(asked_as or ""), 0) - own)
    if asked < own:
        message = f"This model does not support specifying dimensions below its own. Its vectors have {own}."
        raise BadRequest(message, param="dimensions")
    if asked > max(own, MOST_DIMENSIONS):
        message = f"Invalid value for 'dimensions' = {asked}. Must be less than or equal to {MOST_DIMENSIONS}."
        raise BadRequest(message, param="dimensions")
    return int(asked) - own


def _bare(name: str) -> str:
    """A name without the provider that gateways put before it."""
    return name.rpartition("/")[2]


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


async def answer(vectors: list[bytes], tokens: int, body: JsonObject, zeros: int = 0) -> bytes:
    """The whole answer, ``zeros`` behind each vector. Many vectors are written beside the server's loop: 2 048 of them
    as numbers take a third of a second.
    """
    if len(vectors) <= _AT_ONCE:
        return _written(vectors, tokens, body, zeros)
    return await asyncio.to_thread(_written, vectors, tokens, body, zeros)


def _written(vectors: list[bytes], tokens: int, body: JsonObject, zeros: int) -> bytes:
    as_base64 = body.get("encoding_format") == "base64"
    shown = [msgspec.Raw(_quoted(vector, zeros) if as_base64 else _numbers(vector, zeros)) for vector in vectors]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(shown)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return encode({"object": "list", "data": data, "model": body["model"], "usage": usage})


def _quoted(vector: bytes, zeros: int) -> bytes:
    return b'"%b"' % base64.b64encode(vector + bytes(_FLOAT * zeros))


def _numbers(vector: bytes, zeros: int) -> bytes:
    """A JSON array. Nine digits are all that a 32-bit float has: read back they give the same float."""
    floats = array.array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return b"[%b%b]" % (",".join([f"{value:.9g}" for value in floats]).encode(), b",0" * zeros)
