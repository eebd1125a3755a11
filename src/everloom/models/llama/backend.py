"""Models on this machine: GGUF files served by llama.cpp, each in a child process that starts at first use.

Nothing heavy is imported here: only the child loads the engine. Limits and formats: ``docs/local-models.md``.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from everloom.kit.clock import now
from everloom.kit.errors import BadRequest, ModelFailure, NotFound
from everloom.models.base import Capability, Traits
from everloom.models.completion_text import TextAnswer
from everloom.models.files.formats import size_of
from everloom.models.files.gguf import loaded_bytes, read_head
from everloom.models.files.openai_vocabulary import OpenAIVocabulary
from everloom.models.files.weights import EMBEDDING_MODEL, Weight, Weights
from everloom.models.llama import completions, embeddings
from everloom.models.llama import request as local_request
from everloom.models.llama.chat import LocalAnswer
from everloom.models.llama.engine import Facts, LlamaEngine, context_exceeded
from everloom.models.llama.grammar import PROBE, Grammar
from everloom.models.memory_budget import MemoryBudget, Preloadable, budget_of_machine
from everloom.objects.base import JsonObject, encode
from everloom.objects.models import Model

DEFAULT_SLOTS = 4
DEFAULT_CONTEXT = 4096
_REMEMBERED_GRAMMARS = 512

_CHATS: frozenset[Capability] = frozenset({"chat", "complete"})
_EMBEDS: frozenset[Capability] = frozenset({"embed"})

_BYTES_A_TOKEN = 256
"""Far more than tokens have, the JSON around them counted. A message has a token at least."""


class LlamaBackend:
    """GGUF models by name: a path, or weights that are fetched at first use.

    ``slots``: requests that run at once on each model. ``context``: tokens that prompt and answer of one request
    have together, never more than the model was trained for. ``threads`` as in ``LlamaEngine``. ``budget``: the memory
    that they share, by default a part of this machine's.
    """

    def __init__(
        self,
        models: Mapping[str, Path | Weight],
        weights: Weights,
        *,
        slots: int = DEFAULT_SLOTS,
        context: int = DEFAULT_CONTEXT,
        threads: int | None = None,
        budget: MemoryBudget | None = None,
    ) -> None:
        self._budget = budget or MemoryBudget(budget_of_machine())
        self._vocabulary = OpenAIVocabulary(weights)
        self._models = {
            name: _LocalModel(name, source, weights, self._budget, slots=slots, context=context, threads=threads)
            for name, source in models.items()
        }
        self._since = now()

    async def open(self) -> None:
        """Nothing is loaded before it is asked for."""

    async def close(self) -> None:
        """End the children."""
        await self._budget.close()
        for model in self._models.values():
            await model.unload()

    async def preload(self) -> None:
        """Fetch and load now what has room, in the order given: as ``MemoryBudget.preload``."""
        await self._budget.preload(list(self._models.values()))

    def loadable(self) -> Mapping[str, Preloadable]:
        """Its models by name, as they take part in the memory budget."""
        return self._models

    async def models(self) -> Sequence[Model]:
        """All of them, loaded or not."""
        return [Model(id=name, created=self._since, owned_by="everloom") for name in self._models]

    def capabilities(self, model: str) -> Collection[Capability]:
        """Vectors or words, as the model's file says; a file that cannot be read says why when it is asked."""
        return self._models[model].capabilities() if model in self._models else ()

    async def chat(self, body: JsonObject, raw: bytes | None = None) -> LocalAnswer:
        """createChatCompletion; returns with the model's first word. ``raw`` is not needed."""
        return await self._model(body["model"]).chat(body)

    async def complete(self, body: JsonObject, raw: bytes | None = None) -> TextAnswer:
        """createCompletion; returns with the model's first word. ``raw`` is not needed."""
        return await self._model(body["model"]).complete(body)

    async def embed(self, body: JsonObject, *, asked_as: str | None = None) -> bytes:
        """createEmbedding. 400 for a model that only chats, as ``chat`` is for one that only embeds."""
        body = await self._vocabulary.readable(body, asked_as)
        return await self._model(body["model"]).embed(body, asked_as)

    async def count(self, body: JsonObject) -> int:
        """The prompt's tokens by the model's own template and tokenizer: exactly ``usage.prompt_tokens``."""
        return await self._model(body["model"]).count(body)

    async def traits(self, model: str) -> Traits:
        """From the file's head and its chat template; a chat model is loaded for that, as it is about to be asked."""
        return await self._model(model).traits()

    def children(self) -> list[int]:
        """The process ids of the loaded models, for whoever looks after the machine."""
        return [pid for model in self._models.values() if (pid := model.pid) is not None]

    def _model(self, name: str) -> "_LocalModel":
        if name not in self._models:
            message = f"The model `{name}` does not exist or you do not have access to it."
            raise NotFound(message, param="model", code="model_not_found")
        return self._models[name]


class _LocalModel:
    """One model of the backend: its file, its engine once there is one, and what is known about grammars."""

    def __init__(
        self,
        name: str,
        source: Path | Weight,
        weights: Weights,
        budget: MemoryBudget,
        *,
        slots: int,
        context: int,
        threads: int | None,
    ) -> None:
        self.name = name
        self._budget = budget
        self._source = source
        self._weights = weights
        self._slots = slots
        self._context = context
        self._threads = threads
        self._engine: LlamaEngine | None = None
        self._embeds: bool | None = None
        self._chooses_tools: bool | None = None
        self._bytes = 0
        self._fingerprint = ""
        self._finding = asyncio.Lock()
        self._compiled: dict[bytes, bool] = {}

    @property
    def pid(self) -> int | None:
        return self._engine.pid if self._engine is not None else None

    async def unload(self) -> None:
        if self._engine is not None:
            await self._engine.close()

    async def estimate(self) -> int:
        await self.engine()
        return self._bytes

    async def engine(self) -> LlamaEngine:
        """The engine, not necessarily started; the weights are fetched first where they are to be."""
        async with self._finding:
            if self._engine is None:
                path = await self._path()
                self._engine = await asyncio.to_thread(self._make_engine, path)
                self._fingerprint = _fingerprint(path)
            return self._engine

    async def chat(self, body: JsonObject) -> LocalAnswer:
        engine = await self._chat_engine()
        async with self._budget.use(self) as use:
            facts = await engine.ready()
            _refuse_hopeless(body, engine.context)
            ask = await local_request.translate(body, _talk(facts), partial(self._compiles, engine))

            def generate(asked: JsonObject) -> AsyncGenerator[bytes, None]:
                return use.stream(engine.generate("/chat/completions", asked))

            answer = LocalAnswer(generate, ask, body, self._fingerprint)
            await answer.begin()
        return answer

    async def complete(self, body: JsonObject) -> TextAnswer:
        engine = await self._chat_engine()
        async with self._budget.use(self) as use:

            def generate(asked: JsonObject) -> AsyncGenerator[bytes, None]:
                return use.stream(engine.generate(completions.ENDPOINT, asked))

            return await completions.complete(engine, generate, body, fingerprint=self._fingerprint, slots=self._slots)

    async def load(self) -> None:
        engine = await self.engine()
        async with self._budget.use(self):
            await engine.ready()

    def capabilities(self) -> Collection[Capability]:
        if self._embeds is None:
            if isinstance(self._source, Weight):
                self._embeds = False
            else:
                try:
                    self._embeds = read_head(self._source).embeds
                except (OSError, ValueError):
                    return _CHATS | _EMBEDS
        return _EMBEDS if self._embeds else _CHATS

    async def traits(self) -> Traits:
        engine = await self.engine()
        if self._chooses_tools is None and not engine.embeds:
            async with self._budget.use(self):
                self._chooses_tools = (await engine.ready()).knows_tools
        return Traits(context_window=engine.context, chooses_tools=bool(self._chooses_tools), takes_effort=False)

    async def embed(self, body: JsonObject, asked_as: str | None) -> bytes:
        engine = await self.engine()
        if not engine.embeds:
            message = f"The model `{body['model']}` makes no embeddings. On this server `{EMBEDDING_MODEL}` does."
            raise BadRequest(message, param="model")
        async with self._budget.use(self):
            return await embeddings.embed(engine, body, asked_as)

    async def count(self, body: JsonObject) -> int:
        engine = await self._chat_engine()
        async with self._budget.use(self):
            facts = await engine.ready()
            rendered = await engine.ask("/apply-template", local_request.prompt(body, _talk(facts)))
            asked = {"content": rendered["prompt"], "add_special": True, "parse_special": True}
            return len((await engine.ask("/tokenize", asked))["tokens"])

    async def _chat_engine(self) -> LlamaEngine:
        engine = await self.engine()
        if engine.embeds:
            raise _no_chat()
        return engine

    async def _path(self) -> Path:
        if isinstance(self._source, Weight):
            return (await asyncio.to_thread(self._weights.fetch, self._source))[0]
        return self._source

    def _make_engine(self, path: Path) -> LlamaEngine:
        try:
            head = read_head(path)
            files = size_of(path)
        except (OSError, ValueError) as error:
            raise ModelFailure(f"The model file cannot be used: {error}", status=503) from error
        context = min(self._context, head.context)
        slots = embeddings.slots(context) if head.embeds else self._slots
        self._bytes = loaded_bytes(files, head, slots, context)
        return LlamaEngine(path, slots=slots, context=context, threads=self._threads, embeds=head.embeds)

    async def _compiles(self, engine: LlamaEngine, grammar: Grammar) -> bool:
        """Whether the engine can decode by a grammar: it says nothing when it cannot, so it is tried, once."""
        key = hashlib.sha256(grammar.rules.encode()).digest()
        if key not in self._compiled:
            asked = {"prompt": "a", "n_predict": 1, "temperature": 0, "cache_prompt": False, "grammar": grammar.probe()}
            said = await engine.ask("/completion", asked)
            while len(self._compiled) >= _REMEMBERED_GRAMMARS:
                self._compiled.pop(next(iter(self._compiled)))
            self._compiled[key] = said["content"].startswith(PROBE)
        return self._compiled[key]


def _talk(facts: Facts) -> local_request.TemplateFeatures:
    return local_request.TemplateFeatures(
        knows_tools=facts.knows_tools,
        marks_calls=facts.marks_calls,
        end_token=facts.end_token,
        vocabulary=facts.vocabulary,
    )


def _refuse_hopeless(body: JsonObject, window: int) -> None:
    """Refuse messages that never fit before a template is filled with them: 100 000 of them keep it for minutes."""
    messages = body["messages"]
    least = max(len(messages), len(encode(messages)) // _BYTES_A_TOKEN)
    if least > window:
        raise context_exceeded(window, least)


def _no_chat() -> BadRequest:
    return BadRequest("This is not a chat model: it makes embeddings. Ask another model of this server.", param="model")


def _fingerprint(path: Path) -> str:
    """``system_fingerprint``: another file or another engine may answer the same seed differently."""
    try:
        engine = version("xllamacpp")
    except PackageNotFoundError:
        engine = ""
    stat = path.stat()
    return "fp_" + hashlib.sha256(f"{engine} {path.name} {stat.st_size}".encode()).hexdigest()[:10]
