"""createEmbedding on a local model: the request in the engine's terms, its vectors in the reference's."""

import array
import asyncio
import base64
import contextlib
import sys
import unicodedata
from typing import Any

import msgspec

from everloom.kit.errors import ApiError, BadRequest, ModelFailure
from everloom.models.llama.engine import Engine, text_too_long
from everloom.models.minilm.batching import Input
from everloom.models.minilm.engine import CONTEXT, DIMENSIONS, MiniLMEngine, TooLong, UnknownTokens
from everloom.objects.base import JsonObject, encode

LOT = 16
"""Texts that llama.cpp is asked for at once."""

_TOKENS_IN_HAND = 8192


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


async def by_minilm(engine: MiniLMEngine, body: JsonObject) -> bytes:
    """The answer of the model that comes with the install.

    Errors: ``BadRequest`` for no input, for a text that is too long, for ``dimensions`` other than the model's own and
    for tokens that the model does not know.
    """
    inputs = _inputs(body.get("input"))
    _check_dimensions(body, DIMENSIONS)
    try:
        made = await engine.embed(inputs)
    except TooLong as error:
        raise text_too_long(CONTEXT, error.tokens) from None
    except UnknownTokens:
        raise _unknown_tokens() from None
    return await _answer(made.vectors, made.tokens, body)


async def by_llama(engine: Engine, body: JsonObject) -> bytes:
    """The answer of any other model that llama.cpp serves. Errors: as ``by_minilm``.

    The texts are asked for ``LOT`` at a time, one lot after the other, so that a long request (a file being read in)
    does not hold up a short one (a search): the engine takes lots in the order in which they come.
    """
    inputs = _inputs(body.get("input"))
    if any(isinstance(value, list) for value in inputs):
        inputs = await _framed(engine, inputs)
    vectors: list[bytes] = []
    tokens = 0
    for begin in range(0, len(inputs), LOT):
        lot = [_apart(value) for value in inputs[begin : begin + LOT]]
        said = await _ask(engine, lot)
        vectors += _vectors(said, len(lot))
        tokens += said["usage"]["prompt_tokens"]
        _check_dimensions(body, len(vectors[0]) // 4)
    return await _answer(vectors, tokens, body)


def slots(context: int) -> int:
    """How many texts of up to ``context`` tokens the engine has in hand at once: each may take memory of its own."""
    return max(1, min(LOT, _TOKENS_IN_HAND // context))


def _inputs(value: Any) -> list[Input]:
    """Every form of ``input`` as a list of texts or of token lists."""
    if isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], int)):
        value = [value]
    for kind in (list[str], list[list[int]]):
        with contextlib.suppress(msgspec.ValidationError):
            inputs: list[Input] = msgspec.convert(value, kind)
            if inputs and all(inputs):
                return inputs
    message = "'input' must be a text, a list of texts or lists of token ids, none of them empty."
    raise BadRequest(message, param="input")


def _apart(value: Input) -> Input:
    """A text with its letters taken apart. llama.cpp's own normaliser keeps the first sound alone of a Korean syllable;
    taken apart beforehand, every sound is a letter, as in the models' own tokenizers.
    """
    return unicodedata.normalize("NFD", value) if isinstance(value, str) else value


async def _framed(engine: Engine, inputs: list[Input]) -> list[Input]:
    """Token lists between the marks that this model's texts begin and end with."""
    ends = (await engine.ask("/tokenize", {"content": "", "add_special": True}))["tokens"]
    if len(ends) != 2:
        return inputs
    return [value if value[:1] == ends[:1] else [ends[0], *value, ends[1]] for value in inputs]


async def _ask(engine: Engine, lot: list[Input]) -> Any:
    try:
        return await engine.ask("/v1/embeddings", {"input": lot, "encoding_format": "base64"})
    except ApiError as error:
        if "invalid tokens" in error.message:
            raise _unknown_tokens() from None
        raise


def _unknown_tokens() -> BadRequest:
    return BadRequest(
        f"'input' holds token ids that this model does not have. {_SEND_TEXT}",
        param="input",
    )


_SEND_TEXT = (
    "Tokens of another model's tokenizer mean nothing to it: send the text itself (LangChain: "
    "check_embedding_ctx_length=False)."
)


def _vectors(said: Any, count: int) -> list[bytes]:
    """The vectors in the order of their texts, as little-endian 32-bit floats."""
    data = sorted(said["data"], key=lambda item: item["index"])
    vectors = [base64.b64decode(item["embedding"]) for item in data]
    if len(vectors) != count or not all(vectors):
        raise ModelFailure("The local model did not answer for every text.")
    return vectors


def _check_dimensions(body: JsonObject, own: int) -> None:
    asked = body.get("dimensions")
    if asked is not None and asked != own:
        message = f"This model does not support specifying dimensions. Its vectors have {own}."
        raise BadRequest(message, param="dimensions")


async def _answer(vectors: list[bytes], tokens: int, body: JsonObject) -> bytes:
    """Many vectors are written beside the server's loop: 2 048 of them as numbers take a third of a second."""
    if len(vectors) <= LOT:
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
