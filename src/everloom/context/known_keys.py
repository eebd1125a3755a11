"""The keys that were good a moment ago, so that a request seldom has to ask the store."""

import time
from typing import Any, NamedTuple

from everloom.context.caller import Caller
from everloom.kit.clock import now
from everloom.objects.keys import Key

_REMEMBER_SECONDS = 2.0
"""How long a key that was good is taken at its word: what another process has closed stops working within this time."""

_REMEMBER_KEYS = 10_000


class KnownKey:
    """A key that was good, until when it is taken at its word, and the view of the server that it opens.

    ``email`` is its owner's, where that is a person.
    """

    __slots__ = ("caller", "context", "key", "until")

    def __init__(self, key: Key, email: str, until: float) -> None:
        self.key = key
        self.until = until
        self.caller = Caller(project=key.project_id, key_id=key.id, user=key.owner_id, email=email)
        self.context: Any = None


class Look(NamedTuple):
    """When, by the steady clock and by the calls of ``forget``, the store was asked."""

    at: float
    generation: int


class KnownKeys:
    """The memory of one process, by the SHA-256 of the secret. What closes a key calls ``forget`` behind its write."""

    def __init__(self) -> None:
        self._known: dict[bytes, KnownKey] = {}
        self._generation = 0
        """Counts the calls of ``forget``: what was read from the store before one is not to be remembered after it."""

    def recall(self, digest: bytes) -> KnownKey | None:
        """The key, if it was good a moment ago."""
        known = self._known.get(digest)
        return known if known is not None and known.until > time.monotonic() else None

    def look(self) -> Look:
        """To be called before the store is asked for a key."""
        return Look(time.monotonic(), self._generation)

    def remember(self, digest: bytes, key: Key, email: str, look: Look) -> KnownKey:
        """Take a key at its word for a while from ``look`` on, unless there was a ``forget`` since."""
        seconds = _REMEMBER_SECONDS
        if key.expires_at is not None:
            seconds = min(seconds, key.expires_at - now())
        known = KnownKey(key, email, look.at + seconds)
        if look.generation == self._generation:
            if len(self._known) >= _REMEMBER_KEYS:
                self._known.clear()
            self._known[digest] = known
        return known

    def forget(self) -> None:
        """Have every key looked up anew: some key, its owner or its project is not what it was."""
        self._generation += 1
        self._known.clear()
