"""What was found out a moment ago, and need not be found out again."""

import time


class Lately:
    """Names that were noted in the last ``seconds``, of this process's own clock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[str, float] = {}

    def note(self, name: str) -> None:
        """Know of it for a while."""
        now = time.monotonic()
        self._until = {known: until for known, until in self._until.items() if until > now}
        self._until[name] = now + self._seconds

    def __contains__(self, name: str) -> bool:
        return self._until.get(name, 0.0) > time.monotonic()
