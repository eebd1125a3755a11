"""Locks by what they are about, for tasks of one process."""

import asyncio
from collections.abc import Hashable
from weakref import WeakValueDictionary


class KeyedLocks:
    """A lock for each key, there as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def of(self, key: Hashable) -> asyncio.Lock:
        """The lock of ``key``; keep hold of it while it matters."""
        return self._locks.setdefault(key, asyncio.Lock())
