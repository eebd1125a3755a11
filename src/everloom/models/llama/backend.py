"""Models on this machine: GGUF files served by llama.cpp, each in a child process that starts at first use.

Nothing heavy is imported here: only the child loads the engine. Limits and formats: ``docs/local-models.md``.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from everloom.kit.clock import now
from everloom.kit.errors import BadRequest, ModelFailure, NotFound
from everloom.models.base import Capability, Traits
from everloom.models.completion_text import TextAnswer
from everloom.models.files.openai_vocabulary import OpenAIVocabulary
from everloom.models.files.weights import Weight, Weights
from everloom.models.llama.adapters import Adapter
from everloom.models.llama.chat import LocalAnswer
from everloom.models.llama.model import LocalModel
from everloom.models.llama.sampling import Sampling
from everloom.models.memory_budget import MemoryBudget, Preloadable, budget_of_machine
from everloom.objects.base import JsonObject
from everloom.objects.models import Model

DEFAULT_SLOTS = 4
DEFAULT_CONTEXT = 4096


class LlamaBackend:
    """GGUF models by name: a path, or weights that are fetched at first use.

    ``slots``: requests that run at once on each model. ``context``: tokens that prompt and answer of one request
    have together, never more than the model was trained for. ``threads`` as in ``LlamaEngine``. ``budget``: the memory
    that they share, by default a part of this machine's. ``sampling``: how models sample where a request does not say,
    by name; what it leaves open is as the model's file or its family has it.
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
        sampling: Mapping[str, Sampling] | None = None,
    ) -> None:
        self.works_here = slots
        """See ``Backend``."""
        self._budget = budget or MemoryBudget(budget_of_machine())
        self._vocabulary = OpenAIVocabulary(weights)
        own = sampling or {}
        self._models = {
            name: LocalModel(
                name,
                source,
                weights,
                self._budget,
                slots=slots,
                context=context,
                threads=threads,
                sampling=own.get(name, Sampling()),
            )
            for name, source in models.items()
        }
        self._tuned: dict[str, tuple[LocalModel, Adapter]] = {}
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

    def adopt(self, name: str, base: str, adapter: Path) -> None:
        """Serve a tuned model: ``base``, one of the models by its own name, with the LoRA of this GGUF file. It costs
        nothing until it is asked for; a file that cannot be used is an error of this model then, and of no other.
        The same again changes nothing; another file takes the place of the last.

        Errors: ``ModelFailure`` 503 for a base that is none of the models, is tuned itself or makes embeddings, and for
        a ``name`` that one of the models has.
        """
        if base not in self._models:
            raise ModelFailure(f"The tuned model `{name}` has no base: there is no model `{base}`.", status=503)
        model = self._models[base]
        if "chat" not in model.capabilities():
            raise ModelFailure(f"The tuned model `{name}` has no base: `{base}` makes embeddings.", status=503)
        if name in self._models:
            raise ModelFailure(f"The model `{name}` is there already, and is not tuned.", status=503)
        if (known := self._tuned.get(name)) is None or (known[0], known[1].path) != (model, adapter):
            self.forget(name)
            self._tuned[name] = model, Adapter(name, adapter)

    def forget(self, name: str) -> None:
        """Serve a tuned model no more; what it is answering is answered to its end. Nothing for a name it has not."""
        if (known := self._tuned.pop(name, None)) is not None:
            model, adapter = known
            model.forget(adapter)

    async def path_of(self, model: str) -> Path:
        """The GGUF file of one of the models, fetched first where it is to be. Errors: ``NotFound``; ``BadRequest`` for
        a tuned model, which has none of its own; ``ModelFailure`` for weights that cannot be fetched.
        """
        found, adapter = self._model(model)
        if adapter is not None:
            raise BadRequest(f"The model `{model}` is tuned: it has no file of its own but its adapter.", param="model")
        return await found.path()

    async def models(self) -> Sequence[Model]:
        """All that it has of its own, loaded or not; whose the tuned ones are it does not know."""
        return [Model(id=name, created=self._since, owned_by="everloom") for name in self._models]

    def capabilities(self, model: str) -> Collection[Capability]:
        """Vectors or words, as the model's file says; a file that cannot be read says why when it is asked."""
        if model not in self._models and model not in self._tuned:
            return ()
        return self._model(model)[0].capabilities()

    async def chat(self, body: JsonObject, raw: bytes | None = None) -> LocalAnswer:
        """createChatCompletion; returns with the model's first word. ``raw`` is not needed."""
        model, adapter = self._model(body["model"])
        return await model.chat(body, adapter)

    async def complete(self, body: JsonObject, raw: bytes | None = None) -> TextAnswer:
        """createCompletion; returns with the model's first word. ``raw`` is not needed."""
        model, adapter = self._model(body["model"])
        return await model.complete(body, adapter)

    async def embed(self, body: JsonObject, *, asked_as: str | None = None) -> bytes:
        """createEmbedding. 400 for a model that only chats, as ``chat`` is for one that only embeds."""
        body = await self._vocabulary.readable(body, asked_as)
        return await self._model(body["model"])[0].embed(body, asked_as)

    async def count(self, body: JsonObject) -> int:
        """The prompt's tokens by the model's own template and tokenizer: exactly ``usage.prompt_tokens``."""
        return await self._model(body["model"])[0].count(body)

    async def traits(self, model: str) -> Traits:
        """From the file's head and its chat template; a chat model is loaded for that, as it is about to be asked."""
        return await self._model(model)[0].traits()

    def children(self) -> list[int]:
        """The process ids of the loaded models, for whoever looks after the machine."""
        return [pid for model in self._models.values() for pid in model.pids]

    def _model(self, name: str) -> tuple[LocalModel, Adapter | None]:
        if name in self._models:
            return self._models[name], None
        if name in self._tuned:
            return self._tuned[name]
        message = f"The model `{name}` does not exist or you do not have access to it."
        raise NotFound(message, param="model", code="model_not_found")
