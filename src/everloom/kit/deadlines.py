"""How long things still have, by a clock that does not jump.

Deadlines stand in the database as wall time, which is what other processes, and this one after a restart, can read. But
a wall clock may be set to another day while the server runs, and nothing that is in hand may end by that. So a process
turns a deadline into time of its own steady clock when it first hears of it, and counts by that from then on.
"""

import time
from collections.abc import Callable, Hashable, Sequence, Set
from typing import Any, NamedTuple, TypeVar

JUMP_SECONDS = 5.0
"""By so much the wall clock may move against the steady one between two looks, as clocks that are corrected do."""

SETTLING_SECONDS = 60.0
"""So long after a jump nobody is to conclude anything from wall time that others wrote."""

K = TypeVar("K", bound=Hashable)


class _Deadline(NamedTuple):
    at: float
    until: float


class Deadlines:
    """What one process knows of deadlines. ``what`` is a word for a kind of thing, ``key`` says which of its kind."""

    def __init__(self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        """``wall``: Unix seconds; ``steady``: seconds that only go forwards."""
        self._wall = wall
        self._steady = steady
        self._known: dict[str, dict[Hashable, _Deadline]] = {}
        self._named: dict[str, dict[Any, float]] = {}
        self._lines: dict[str, dict[Any, float]] = {}
        self._apart = wall() - steady()
        self._jumped = float("-inf")

    def left(self, what: str, key: Hashable, at: float, life: float) -> float:
        """Seconds until ``at`` (Unix time); negative behind it. At most ``life``, the whole time that the thing has."""
        known = self._known.setdefault(what, {})
        deadline = known.get(key)
        if deadline is None or deadline.at != at:
            deadline = known[key] = _Deadline(at, self._steady() + min(at - self._wall(), life))
        return deadline.until - self._steady()

    def forget_but(self, what: str, keys: Set[Hashable]) -> None:
        """Remember nothing of this kind but these."""
        known = self._known.get(what, {})
        for key in known.keys() - keys:
            del known[key]

    def unsettled(self) -> bool:
        """Whether the wall clock has jumped a moment ago. To be asked often: what it knows is what it has seen."""
        steady = self._steady()
        apart = self._wall() - steady
        if abs(apart - self._apart) > JUMP_SECONDS:
            self._jumped = steady
        self._apart = apart
        return steady - self._jumped < SETTLING_SECONDS

    def lasting(self, what: str, keys: Set[K], seconds: float) -> set[K]:
        """Those of ``keys`` that have been named at every call for so many seconds."""
        steady, before = self._steady(), self._named.get(what, {})
        named = {key: before.get(key, steady) for key in keys}
        self._named[what] = named
        return {key for key, since in named.items() if steady - since >= seconds}

    def standing(self, what: str, line: Sequence[K]) -> dict[K, float]:
        """For how many seconds each in a line has come no nearer to its head: since the last call at which somebody
        before it had gone, or since it was first seen there.
        """
        steady, there = self._steady(), set(line)
        moved, since = False, {}
        for key, when in self._lines.get(what, {}).items():
            if key not in there:
                moved = True
            else:
                since[key] = steady if moved else when
        self._lines[what] = {key: since.get(key, steady) for key in line}
        return {key: steady - when for key, when in self._lines[what].items()}
