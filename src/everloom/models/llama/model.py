"""One model of this machine: its file, its engine once there is one, and what is known about grammars."""

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.base import Capability, Traits
from everloom.models.completion_text import TextAnswer
from everloom.models.files.formats import size_of
from everloom.models.files.gguf import GgufHeader, loaded_bytes, read_head
from everloom.models.files.weights import EMBEDDING_MODEL, Weight, Weights
from everloom.models.llama import completions, embeddings
from everloom.models.llama import request as local_request
from everloom.models.llama.adapters import Adapter, EngineInUse, SharedEngine
from everloom.models.llama.chat import LocalAnswer
from everloom.models.llama.engine import Facts, LlamaEngine, context_exceeded
from everloom.models.llama.grammar import PROBE, Grammar
from everloom.models.llama.sampling import Sampling, default_system, recommended
from everloom.models.memory_budget import MemoryBudget
from everloom.objects.base import JsonObject, encode

_REMEMBERED_GRAMMARS = 512

_CHATS: frozenset[Capability] = frozenset({"chat", "complete"})
_EMBEDS: frozenset[Capability] = frozenset({"embed"})

_BYTES_A_TOKEN = 256
"""Far more than tokens have, the JSON around them counted. A message has a token at least."""


class LocalModel:
    """A GGUF file under a name. Arguments as of ``LlamaBackend``; ``sampling``: what its operator said of it.

    What is asked with an ``adapter`` is asked of the model that was tuned with it.
    """

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
        sampling: Sampling,
    ) -> None:
        self.name = name
        self._budget = budget
        self._source = source
        self._weights = weights
        self._slots = slots
        self._context = context
        self._threads = threads
        self._sampling = sampling
        self._system = ""
        self._engine: SharedEngine | None = None
        self._embeds: bool | None = None
        self._chooses_tools: bool | None = None
        self._bytes = 0
        self._fingerprint = ""
        self._finding = asyncio.Lock()
        self._compiled: dict[bytes, bool] = {}

    @property
    def pids(self) -> list[int]:
        """Its processes: one while it is loaded, two while an engine with more adapters takes the place of another."""
        return self._engine.pids if self._engine is not None else []

    @property
    def pid(self) -> int | None:
        """Of the process that serves, while it is loaded."""
        return self._engine.plain.pid if self._engine is not None else None

    async def unload(self) -> None:
        """End its processes."""
        if self._engine is not None:
            await self._engine.close()

    async def estimate(self) -> int:
        """Bytes of memory that it takes without adapters."""
        await self.engine()
        return self._bytes

    async def path(self) -> Path:
        """Its file; weights are fetched first where they are to be."""
        if isinstance(self._source, Weight):
            return (await asyncio.to_thread(self._weights.fetch, self._source))[0]
        return self._source

    async def engine(self) -> SharedEngine:
        """The engine, not necessarily started."""
        async with self._finding:
            if self._engine is None:
                path = await self.path()
                self._engine = await asyncio.to_thread(self._make_engine, path)
                self._fingerprint = _fingerprint(path)
            return self._engine

    async def chat(self, body: JsonObject, adapter: Adapter | None = None) -> LocalAnswer:
        """As ``LlamaBackend.chat``."""
        shared = await self._chat_engine()
        async with shared.using(adapter) as inside:
            engine = inside.engine
            _refuse_hopeless(body, engine.context)
            compiles = partial(self._compiles, inside)
            ask = await local_request.translate(body, _talk(inside.facts, self._system), compiles, self._sampling)
            generate = partial(inside.generate, "/chat/completions")
            answer = LocalAnswer(generate, ask, body, self._print(adapter))
            await answer.begin()
        return answer

    async def complete(self, body: JsonObject, adapter: Adapter | None = None) -> TextAnswer:
        """As ``LlamaBackend.complete``."""
        shared = await self._chat_engine()
        async with shared.using(adapter) as inside:
            return await completions.complete(
                inside.engine,
                partial(inside.generate, completions.ENDPOINT),
                body,
                fingerprint=self._print(adapter),
                slots=self._slots,
                sampling=self._sampling,
            )

    async def load(self) -> None:
        """Fetch and load it."""
        async with (await self.engine()).using():
            pass

    def capabilities(self) -> Collection[Capability]:
        """As ``LlamaBackend.capabilities``."""
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
        """As ``LlamaBackend.traits``."""
        shared = await self.engine()
        if self._chooses_tools is None and not shared.plain.embeds:
            async with shared.using() as inside:
                self._chooses_tools = inside.facts.knows_tools
        window = shared.plain.context
        return Traits(context_window=window, chooses_tools=bool(self._chooses_tools), takes_effort=False)

    async def embed(self, body: JsonObject, asked_as: str | None) -> bytes:
        """As ``LlamaBackend.embed``."""
        shared = await self.engine()
        if not shared.plain.embeds:
            message = f"The model `{body['model']}` makes no embeddings. On this server `{EMBEDDING_MODEL}` does."
            raise BadRequest(message, param="model")
        async with shared.using() as inside:
            return await embeddings.embed(inside.engine, body, asked_as)

    async def count(self, body: JsonObject) -> int:
        """As ``LlamaBackend.count``: adapters read the same tokens."""
        shared = await self._chat_engine()
        async with shared.using() as inside:
            engine = inside.engine
            asked = local_request.prompt(body, _talk(inside.facts, self._system))
            rendered = await engine.ask("/apply-template", asked)
            asked = {"content": rendered["prompt"], "add_special": True, "parse_special": True}
            return len((await engine.ask("/tokenize", asked))["tokens"])

    def forget(self, adapter: Adapter) -> None:
        """Load an adapter no more."""
        if self._engine is not None:
            self._engine.forget(adapter)

    async def _chat_engine(self) -> SharedEngine:
        engine = await self.engine()
        if engine.plain.embeds:
            raise _no_chat()
        return engine

    def _print(self, adapter: Adapter | None) -> str:
        return self._fingerprint if adapter is None else adapter.fingerprint(self._fingerprint)

    def _make_engine(self, path: Path) -> SharedEngine:
        try:
            head = read_head(path)
            files = size_of(path)
        except (OSError, ValueError) as error:
            raise ModelFailure(f"The model file cannot be used: {error}", status=503) from error
        context = min(self._context, head.context)
        slots = embeddings.slots(context) if head.embeds else self._slots
        self._bytes = loaded_bytes(files, head, slots, context)
        self._sampling = self._sampling.over(recommended(head.general))
        self._system = default_system(head.general)
        return SharedEngine(
            self.name,
            self._budget,
            partial(self._with_adapters, path, head, slots, context),
            size=self._bytes,
            architecture=str(head.general.get("architecture", "")),
        )

    def _with_adapters(
        self, path: Path, head: GgufHeader, slots: int, context: int, adapters: Sequence[Path]
    ) -> LlamaEngine:
        return LlamaEngine(
            path, slots=slots, context=context, threads=self._threads, embeds=head.embeds, adapters=adapters
        )

    async def _compiles(self, inside: EngineInUse, grammar: Grammar) -> bool:
        """Whether the engine can decode by a grammar: it says nothing when it cannot, so it is tried, once."""
        key = hashlib.sha256(grammar.rules.encode()).digest()
        if key not in self._compiled:
            asked = {"prompt": "a", "n_predict": 1, "temperature": 0, "cache_prompt": False, "grammar": grammar.probe()}
            said = await inside.try_out(asked)
            while len(self._compiled) >= _REMEMBERED_GRAMMARS:
                self._compiled.pop(next(iter(self._compiled)))
            self._compiled[key] = said["content"].startswith(PROBE)
        return self._compiled[key]


def _talk(facts: Facts, system: str) -> local_request.TemplateFeatures:
    return local_request.TemplateFeatures(
        knows_tools=facts.knows_tools,
        marks_calls=facts.marks_calls,
        end_token=facts.end_token,
        vocabulary=facts.vocabulary,
        system=system,
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
