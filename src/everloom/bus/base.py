"""The bus's port: somebody waits for a topic, somebody else says that something happened there.

It carries no content: what happened stands in the store before anyone is woken, so a lost call costs
a little time (waiters look again after a while) and never an event.
Adapters: ``memory_budget.py`` and ``postgres.py``; contract suite: ``tests/contracts/test_bus.py``.
"""

from contextlib import AbstractContextManager
from typing import Protocol


class Watch(Protocol):
    """A waiter on one topic. Calls between two waits are not lost: the next wait returns at once."""

    async def wait(self, timeout: float) -> bool:
        """Wait for a call, ``timeout`` seconds at most; whether one came."""
        ...


class Bus(Protocol):
    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def wake(self, topic: str) -> None:
        """Wake whoever watches ``topic``, in every process, within about 50 ms; returns at once."""
        ...

    def watch(self, topic: str) -> AbstractContextManager[Watch]:
        """Watch from the moment the context is entered."""
        ...
