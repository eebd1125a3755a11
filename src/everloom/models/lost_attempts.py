"""Attempts at a request of which nobody will tell what they have cost: their model's server had it, and no answer came.

A context variable, since a backend asks again by itself: whoever asked it hears of the last attempt alone.
"""

from collections.abc import Callable
from contextvars import ContextVar, Token

_listener: ContextVar[Callable[[], None] | None] = ContextVar("lost_attempts", default=None)


class hearing_of_lost:
    """Have ``listener`` called for each attempt that is lost while something is asked in this block."""

    __slots__ = ("_listener", "_token")

    def __init__(self, listener: Callable[[], None]) -> None:
        self._listener = listener

    def __enter__(self) -> None:
        self._token: Token[Callable[[], None] | None] = _listener.set(self._listener)

    def __exit__(self, *_: object) -> None:
        _listener.reset(self._token)


def note_lost() -> None:
    """Tell whoever asked, if somebody listens, that an attempt may have been answered and will never be heard of."""
    if (listener := _listener.get()) is not None:
        listener()
