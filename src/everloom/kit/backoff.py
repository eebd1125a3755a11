"""Pauses between tries at something that is away."""

import random

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""Seconds. Bounded, so that all goes on soon after the end of an outage; growing, so that it is not made longer."""


class Backoff:
    """The pauses of one waiter, each about twice the last; by chance longer or shorter, so that many part.

    ``tries``: the pause that comes next is for the how manieth try that failed.
    """

    def __init__(self, tries: int = 1, longest: float = LONGEST_PAUSE) -> None:
        self._longest = longest
        self._next = min(FIRST_PAUSE * 2.0 ** min(tries - 1, 20), longest)

    def pause(self) -> float:
        """Seconds to wait now."""
        now, self._next = self._next, min(2 * self._next, self._longest)
        return now * random.uniform(0.5, 1.0)

    def renew(self) -> None:
        """Begin again: what was away has been there meanwhile."""
        self._next = FIRST_PAUSE
