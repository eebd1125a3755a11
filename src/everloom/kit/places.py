"""Places that are few: whoever finds none goes away, and comes again."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Places:
    """``total`` places, of which one name has ``each`` at the most."""

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, name: str) -> Iterator[bool]:
        """A place for as long as the context lasts; whether there was one."""
        if self._taken.total() >= self._total or self._taken[name] >= self._each:
            yield False
            return
        self._taken[name] += 1
        try:
            yield True
        finally:
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]
