"""The time that windows of rate limits are counted by: wall time that neither goes back nor jumps."""

import time
from collections.abc import Callable

JUMP_SECONDS = 5.0
"""By so much the wall clock may be put forward at once, as clocks that are corrected are."""

SETTLING_SECONDS = 90.0
"""So long a clock that jumped further has to stay there before it is believed: then a minute's windows have passed."""


class SteadyWallClock:
    """Unix seconds that go on by the steady clock where the wall clock is set back or to another day."""

    def __init__(self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._apart = wall() - steady()
        self._ahead_since: float | None = None

    def now(self) -> float:
        """Never less than what it gave before."""
        steady = self._steady()
        ahead = self._wall() - steady - self._apart
        if ahead <= JUMP_SECONDS:
            self._ahead_since = None
        elif self._ahead_since is None:
            self._ahead_since = steady
        if 0 < ahead <= JUMP_SECONDS or (
            self._ahead_since is not None and steady - self._ahead_since > SETTLING_SECONDS
        ):
            self._apart += ahead
            self._ahead_since = None
        return steady + self._apart
