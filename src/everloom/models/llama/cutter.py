"""Stop sequences, found in what a model says piece by piece."""

from collections import deque
from collections.abc import Sequence

from everloom.models.completion_text import Token


class Cutter:
    """Lets text through up to the first stop sequence, and holds back what may become one.

    The engine's own stops are not used: it tells tokens that it held back without their text.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._stops = stops
        self._held = ""
        self._waiting: deque[tuple[int, Token | None]] = deque()
        self._start = 0
        """Where the first waiting token begins, counted from the beginning of what is held."""

    def feed(self, text: str, token: Token | None = None) -> tuple[str, list[Token]]:
        """What may be told now that the model has said ``text``: a text, and the tokens that begin in it."""
        self._held += text
        self._waiting.append((len(text), token))
        found = [place for place in map(self._held.find, self._stops) if place >= 0]
        if found:
            self.stopped = True
            return self._release(min(found))
        return self._release(len(self._held) - max(map(self._beginning, self._stops), default=0))

    def end(self) -> tuple[str, list[Token]]:
        """What is left when the model has ended."""
        return self._release(len(self._held))

    def _beginning(self, stop: str) -> int:
        """The length of the longest end of what is held that ``stop`` begins with."""
        sizes = range(min(len(stop) - 1, len(self._held)), 0, -1)
        return next((size for size in sizes if stop.startswith(self._held[-size:])), 0)

    def _release(self, count: int) -> tuple[str, list[Token]]:
        text, self._held = self._held[:count], self._held[count:]
        tokens = []
        while self._waiting and (self._start < count or not self._waiting[0][0]):
            width, token = self._waiting.popleft()
            self._start += width
            if token is not None:
                tokens.append(token)
        self._start -= count
        return text, tokens
