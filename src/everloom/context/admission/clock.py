"""The time that windows of rate limits are counted by: wall time that never goes back while the process runs."""

import time
from collections.abc import Callable


class SteadyWallClock:
    """Unix seconds that go on by the steady clock where the wall clock is set back."""

    def __init__(self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._apart = wall() - steady()

    def now(self) -> float:
        """Never less than what it gave before."""
        steady = self._steady()
        self._apart = max(self._apart, self._wall() - steady)
        return steady + self._apart
