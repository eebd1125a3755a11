"""Tuned models: LoRA adapters that stand beside their base in its engine, loaded when somebody asks for them.

llama.cpp takes adapters only when it loads a model, so an engine with more of them is started beside the one that
serves, and takes its place once it has answered. Why one engine: ``docs/decisions/adapters.md``.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from everloom.kit.errors import ApiError, ModelAway, ModelFailure
from everloom.models.files.gguf import check_adapter
from everloom.models.llama.engine import Facts, LlamaEngine
from everloom.models.memory_budget import MemoryBudget, Use
from everloom.objects.base import JsonObject

MOST_LOADED = 16
"""Adapters in one engine. Whoever asks for another one has it take the place of the one that was asked longest ago."""

FAULT_S = 30.0
"""How long an adapter that could not be loaded is not tried again."""


class Adapter:
    """The adapter of the tuned model ``name``: a GGUF file."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.used = 0.0
        """When it was asked for last, by the monotonic clock."""
        self._fault: tuple[str, float] | None = None
        self._digest = ""

    def check(self, architecture: str) -> None:
        """See that the file can be an adapter of such a model, and remember it. Errors: as ``check_adapter``."""
        check_adapter(self.path, architecture)
        with self.path.open("rb") as file:
            self._digest = hashlib.file_digest(file, "sha256").hexdigest()

    def refuse_if_broken(self) -> None:
        """``ModelFailure`` for one that could not be loaded a moment ago."""
        if self._fault is not None and time.monotonic() < self._fault[1]:
            raise ModelFailure(self._fault[0], status=503)

    def broken(self, reason: str) -> ModelFailure:
        """The error of an adapter that cannot be used, remembered for a while."""
        message = f"The tuned model `{self.name}` cannot be used: {reason}"
        self._fault = message, time.monotonic() + FAULT_S
        return ModelFailure(message, status=503)

    def fingerprint(self, base: str) -> str:
        """``system_fingerprint`` of the base with this adapter, once it has been checked."""
        return "fp_" + hashlib.sha256(f"{base} {self._digest}".encode()).hexdigest()[:10]


class EngineVersion:
    """An engine with a set of adapters, as it takes part in the memory budget under its model's ``name``."""

    def __init__(self, name: str, engine: LlamaEngine, size: int, adapters: Collection[Adapter]) -> None:
        self.name = name
        self.engine = engine
        self.adapters = frozenset(adapters)
        self._size = size

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self.engine.pid

    async def estimate(self) -> int:
        """As the file's head and size tell."""
        return self._size

    async def unload(self) -> None:
        """End the child."""
        await self.engine.close()


class EngineInUse:
    """The engine while somebody uses it, with an adapter on, or none."""

    def __init__(self, engine: LlamaEngine, facts: Facts, use: Use, adapter: Adapter | None) -> None:
        self.engine = engine
        self.facts = facts
        self._use = use
        self._adapter = None if adapter is None else adapter.path

    def generate(self, endpoint: str, asked: JsonObject) -> AsyncGenerator[bytes, None]:
        """As ``LlamaEngine.generate``; the engine is not unloaded before it ends."""
        return self._use.stream(self.engine.generate(endpoint, asked, self._adapter))

    async def try_out(self, asked: JsonObject) -> Any:
        """As ``LlamaEngine.try_out``."""
        return await self.engine.try_out(asked, self._adapter)


class SharedEngine:
    """The engine of a model ``name`` and of all that was tuned over it.

    ``make`` makes an engine that loads so many adapters; ``size`` are the bytes that it takes without any.
    """

    def __init__(
        self,
        name: str,
        budget: MemoryBudget,
        make: Callable[[Sequence[Path]], LlamaEngine],
        *,
        size: int,
        architecture: str,
    ) -> None:
        self._name = name
        self._budget = budget
        self._make = make
        self._size = size
        self._architecture = architecture
        self._widening = asyncio.Lock()
        self._undisturbed = asyncio.Event()
        self._undisturbed.set()
        """Cleared while there is memory for the next version only, so that nobody calls the last one back."""
        self._forgotten: set[Adapter] = set()
        self._current = self._version(())
        self._versions = {self._current}

    @property
    def pids(self) -> list[int]:
        """Of the engine, and of those that it follows and that have not come to their end."""
        self._versions = {one for one in self._versions if one is self._current or one.pid is not None}
        return [pid for one in self._versions if (pid := one.pid) is not None]

    @property
    def plain(self) -> LlamaEngine:
        """The engine as it is, not necessarily started, for what needs none of its answers."""
        return self._current.engine

    async def close(self) -> None:
        """End it, and with it every answer under way."""
        for version in list(self._versions):
            await version.unload()

    def forget(self, adapter: Adapter) -> None:
        """Load this one no more. What it is answering is answered to its end."""
        if adapter in self._current.adapters:
            self._forgotten.add(adapter)

    @asynccontextmanager
    async def using(self, adapter: Adapter | None = None) -> AsyncIterator[EngineInUse]:
        """The engine, loaded, with room for it in the budget, and with this adapter among those it can put on.

        Errors: ``ModelFailure``, for an adapter that cannot be loaded too: the model itself goes on.
        """
        while True:
            await self._undisturbed.wait()
            version = self._current if adapter is None else await self._with(adapter)
            async with self._budget.use(version) as use:
                facts = await self._begun(version)
                if facts is not None:
                    yield EngineInUse(version.engine, facts, use, adapter)
                    return
            self._budget.retire(version)

    async def _begun(self, version: EngineVersion) -> Facts | None:
        """The engine started; None for one that is no longer asked."""
        if version is not self._current:
            return None
        try:
            return await version.engine.ready()
        except ModelFailure:
            if not version.adapters or version is not self._current:
                raise
            self._follow(self._version(()))  # their files may have gone since: the model itself goes on
            return None

    async def _with(self, adapter: Adapter) -> EngineVersion:
        """A version that has this adapter, which may have to be loaded first."""
        adapter.used = time.monotonic()
        if adapter not in self._current.adapters:
            async with self._widening:
                if adapter not in self._current.adapters:
                    await self._widen(adapter)
        return self._current

    async def _widen(self, adapter: Adapter) -> None:
        adapter.refuse_if_broken()
        try:
            await asyncio.to_thread(adapter.check, self._architecture)
        except (OSError, ValueError) as error:
            raise adapter.broken(f"{error}.") from error
        version = await asyncio.to_thread(lambda: self._version([adapter, *self._kept()]))
        if not await self._budget.has_room(version):
            self._undisturbed.clear()
        try:
            async with self._budget.use(version):
                await _prove(version.engine, adapter)
                self._follow(version)
        except ModelAway as error:
            if not error.reached:  # no room for now
                raise
            raise adapter.broken("the engine that loaded it ended.") from error
        except ApiError as error:
            raise adapter.broken(error.message) from error
        finally:
            self._undisturbed.set()
            if version is not self._current:
                await version.unload()

    def _kept(self) -> list[Adapter]:
        """Those of the present version that the next one is to have: the latest asked, as far as they are there."""
        there = [one for one in self._current.adapters if one not in self._forgotten and one.path.is_file()]
        return sorted(there, key=lambda one: one.used, reverse=True)[: MOST_LOADED - 1]

    def _version(self, adapters: Sequence[Adapter]) -> EngineVersion:
        paths = list(dict.fromkeys(adapter.path for adapter in adapters))  # two names may share one
        size = self._size + sum(path.stat().st_size for path in paths if path.is_file())
        return EngineVersion(self._name, self._make(paths), size, adapters)

    def _follow(self, version: EngineVersion) -> None:
        """Have this one serve from now on; the last one ends when its last answer does."""
        last, self._current = self._current, version
        self._versions.add(version)
        self._forgotten &= version.adapters
        self._budget.retire(last)


async def _prove(engine: LlamaEngine, adapter: Adapter) -> None:
    """Have an adapter say a word before anybody depends on the engine that has loaded it."""
    await engine.ready()
    asked = {"prompt": "a", "n_predict": 1, "temperature": 0, "n_probs": 1, "cache_prompt": False}
    said = await engine.try_out(asked, adapter.path)
    try:
        likely = said["completion_probabilities"][0]["logprob"]
    except (LookupError, TypeError):
        likely = 0.0  # it has ended its text at once
    if not isinstance(likely, int | float):
        raise ModelFailure("its numbers are none that a model can use.")
