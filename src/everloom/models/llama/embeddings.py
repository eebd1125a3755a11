"""createEmbedding on a local model: the request in the engine's terms, its vectors in the reference's."""

import base64
import unicodedata
from typing import Any

from everloom.kit.errors import ApiError, ModelFailure
from everloom.models.embedding import Input, answer, inputs_of, unknown_tokens, zeros_behind
from everloom.models.llama.engine import LlamaEngine
from everloom.objects.base import JsonObject

LOT = 16
"""Texts that llama.cpp is asked for at once."""

_TOKENS_IN_HAND = 8192


async def embed(engine: LlamaEngine, body: JsonObject, asked_as: str | None = None) -> bytes:
    """The answer of a model that llama.cpp serves.

    Errors: ``BadRequest`` for no input, for a text that is too long, for fewer ``dimensions`` than the model's own and
    for tokens that the model does not know.

    The texts are asked for ``LOT`` at a time, one lot after the other, so that a long request (a file being read in)
    does not hold up a short one (a search): the engine takes lots in the order in which they come.
    """
    inputs = inputs_of(body.get("input"))
    if any(isinstance(value, list) for value in inputs):
        inputs = await _framed(engine, inputs)
    vectors: list[bytes] = []
    tokens = zeros = 0
    for begin in range(0, len(inputs), LOT):
        lot = [_apart(value) for value in inputs[begin : begin + LOT]]
        said = await _ask(engine, lot)
        vectors += _vectors(said, len(lot))
        tokens += said["usage"]["prompt_tokens"]
        zeros = zeros_behind(body, len(vectors[0]) // 4, asked_as)
    return await answer(vectors, tokens, body, zeros)


def slots(context: int) -> int:
    """How many texts of up to ``context`` tokens the engine has in hand at once: each may take memory of its own."""
    return max(1, min(LOT, _TOKENS_IN_HAND // context))


def _apart(value: Input) -> Input:
    """A text with its letters taken apart. llama.cpp's own normaliser keeps the first sound alone of a Korean syllable;
    taken apart beforehand, every sound is a letter, as in the models' own tokenizers.
    """
    return unicodedata.normalize("NFD", value) if isinstance(value, str) else value


async def _framed(engine: LlamaEngine, inputs: list[Input]) -> list[Input]:
    """Token lists between the marks that this model's texts begin and end with."""
    ends = (await engine.ask("/tokenize", {"content": "", "add_special": True}))["tokens"]
    if len(ends) != 2:
        return inputs
    return [value if value[:1] == ends[:1] else [ends[0], *value, ends[1]] for value in inputs]


async def _ask(engine: LlamaEngine, lot: list[Input]) -> Any:
    try:
        return await engine.ask("/v1/embeddings", {"input": lot, "encoding_format": "base64"})
    except ApiError as error:
        if "invalid tokens" in error.message:
            raise unknown_tokens() from None
        raise


def _vectors(said: Any, count: int) -> list[bytes]:
    """The vectors in the order of their texts, as little-endian 32-bit floats."""
    data = sorted(said["data"], key=lambda item: item["index"])
    vectors = [base64.b64decode(item["embedding"]) for item in data]
    if len(vectors) != count or not all(vectors):
        raise ModelFailure("The local model did not answer for every text.")
    return vectors
