"""Who asks a backend's models live, at this moment: what may wait, as lines of batches may, makes room for those."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from everloom.models.fair_queue import Slot


class _Presence:
    __slots__ = ("count", "left")

    def __init__(self) -> None:
        self.count = 0
        self.left = float("-inf")
        """When the last one left, by the steady clock."""


class LiveTraffic:
    """The live requests of one process, by backend. ``on_change`` is called with a backend at which the first one comes
    or the last one leaves.
    """

    def __init__(self) -> None:
        self.on_change: Callable[[Any], None] = lambda backend: None
        self._present: dict[Any, _Presence] = {}

    def enter(self, backend: Any) -> Slot:
        """Note a live request, until its slot is free."""
        if (presence := self._present.get(backend)) is None:
            presence = self._present[backend] = _Presence()
        presence.count += 1
        if presence.count == 1:
            self.on_change(backend)
        return Slot(partial(self._leave, backend, presence))

    def is_live(self, backend: Any, within: float = 0.0) -> bool:
        """Whether somebody asks it now, or has ``within`` so many seconds."""
        presence = self._present.get(backend)
        return presence is not None and (presence.count > 0 or time.monotonic() - presence.left < within)

    def _leave(self, backend: Any, presence: _Presence) -> None:
        presence.count -= 1
        if not presence.count:
            presence.left = time.monotonic()
            self.on_change(backend)
