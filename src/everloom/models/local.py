"""What backends of models on this machine have in common: known names, and child processes that start at need."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from everloom.kit.clock import now
from everloom.models.base import Capability
from everloom.objects.models import Model


class Processes(Protocol):
    """The child processes of a model."""

    @property
    def pids(self) -> list[int]: ...

    async def close(self) -> None: ...


class LocalModels:
    """A ``Backend`` of models that all offer the same, each with its ``processes``."""

    works_here = 2
    """One line of a batch at a time, and a place for whoever comes."""

    def __init__(
        self, names: Iterable[str], capabilities: Collection[Capability], processes: Sequence[Processes] = ()
    ) -> None:
        self._names = tuple(names)
        self._capabilities = capabilities
        self._processes = processes
        self._since = now()

    async def open(self) -> None:
        """Nothing is loaded before it is asked for."""

    async def close(self) -> None:
        """End the children."""
        for processes in self._processes:
            await processes.close()

    async def models(self) -> Sequence[Model]:
        """All of them, loaded or not."""
        return [Model(id=name, created=self._since, owned_by="everloom") for name in self._names]

    def capabilities(self, model: str) -> Collection[Capability]:
        """The same for all of them."""
        return self._capabilities if model in self._names else ()

    def children(self) -> list[int]:
        """The process ids of the children, for whoever looks after the machine."""
        return [pid for processes in self._processes for pid in processes.pids]
