"""The embedding model of a fresh install, all-MiniLM-L6-v2: what it offers to the rest of the server.

Nothing heavy is imported here: only the child loads numpy. Why llama.cpp does not serve it:
``docs/decisions/embeddings.md``.
"""

import asyncio
from collections.abc import Mapping

from everloom.models.base import Capability
from everloom.models.embedding import (
    answer,
    inputs_of,
    text_too_long,
    unknown_tokens,
    zeros_behind,
)
from everloom.models.files.openai_vocabulary import OpenAIVocabulary
from everloom.models.files.weights import MINILM, Weights
from everloom.models.local import LocalModels
from everloom.models.memory_budget import MemoryBudget, Preloadable
from everloom.models.minilm.engine import CONTEXT, DIMENSIONS, MiniLMEngine, TooLong, UnknownTokens
from everloom.objects.base import JsonObject

_BESIDE = 96 << 20
"""Bytes that its child takes beside the weights: Python with numpy, and room to compute in."""

_EMBEDS: frozenset[Capability] = frozenset({"embed"})


class MiniLMBackend(LocalModels):
    """The one model, under ``name``. Its weights are fetched at first use.

    ``budget``: the memory it has together with the other models on this machine.
    """

    def __init__(self, name: str, weights: Weights, budget: MemoryBudget) -> None:
        self._budget = budget
        self._vocabulary = OpenAIVocabulary(weights)
        self._model = _MiniLM(name, weights, budget)
        super().__init__((name,), _EMBEDS, (self._model,))

    async def close(self) -> None:
        """End the child."""
        await self._budget.close()
        await super().close()

    def loadable(self) -> Mapping[str, Preloadable]:
        """The model by its name, as it takes part in the memory budget."""
        return {self._model.name: self._model}

    async def embed(self, body: JsonObject, *, asked_as: str | None = None) -> bytes:
        """createEmbedding.

        Errors: ``BadRequest`` for no input, for a text that is too long, for fewer ``dimensions`` than the model's own
        and for tokens that are neither the model's nor OpenAI's under the name of such a model.
        """
        body = await self._vocabulary.readable(body, asked_as)
        engine = await self._model.engine()
        async with self._budget.use(self._model):
            return await _embed(engine, body, asked_as)


async def _embed(engine: MiniLMEngine, body: JsonObject, asked_as: str | None) -> bytes:
    inputs = inputs_of(body.get("input"))
    zeros = zeros_behind(body, DIMENSIONS, asked_as)
    try:
        made = await engine.embed(inputs)
    except TooLong as error:
        raise text_too_long(CONTEXT, error.tokens) from None
    except UnknownTokens:
        raise unknown_tokens() from None
    return await answer(made.vectors, made.tokens, body, zeros)


class _MiniLM:
    """The model, as it takes part in the memory budget."""

    def __init__(self, name: str, weights: Weights, budget: MemoryBudget) -> None:
        self.name = name
        self._weights = weights
        self._budget = budget
        self._engine: MiniLMEngine | None = None
        self._finding = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        return self._engine.pid if self._engine is not None else None

    @property
    def pids(self) -> list[int]:
        return [] if self.pid is None else [self.pid]

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()

    async def unload(self) -> None:
        await self.close()

    async def estimate(self) -> int:
        await self.engine()
        return sum(file.bytes for file in MINILM.files) + _BESIDE

    async def load(self) -> None:
        engine = await self.engine()
        async with self._budget.use(self):
            await engine.ready()

    async def engine(self) -> MiniLMEngine:
        """The engine, not necessarily started; the weights are fetched first where they are to be."""
        async with self._finding:
            if self._engine is None:
                self._engine = MiniLMEngine(*await asyncio.to_thread(self._weights.fetch, MINILM))
            return self._engine
