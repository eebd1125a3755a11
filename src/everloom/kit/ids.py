"""Ids that say what they name and when it was made.

An id is a prefix (``run_``), ten base62 digits of *rank* and fourteen random ones. The rank is a
millisecond clock with a sixteen-bit counter below it, so ids made by one process sort in the order
they were made, however many share a second. Objects that come from elsewhere keep their own ids;
the store gives them a rank of their own (see ``store/base.py``).
"""

import os
import threading
import time

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_RANK_DIGITS = 10
_RANDOM_DIGITS = 14
_COUNTER_BITS = 16

_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
"""Two digits at a time: an id is made for nearly everything that is kept."""

_lock = threading.Lock()
_last_rank = 0


def new_rank() -> int:
    """A number greater than every one given before by this process, close to the clock (ms << 16)."""
    global _last_rank
    with _lock:
        _last_rank = max(_last_rank + 1, (time.time_ns() // 1_000_000) << _COUNTER_BITS)
        return _last_rank


def rank_at(seconds: float) -> int:
    """The first rank of a Unix second, to the millisecond, for objects whose place is not that of their id."""
    return int(seconds * 1000) << _COUNTER_BITS


def new_id(prefix: str) -> str:
    """A fresh id of 24 base62 digits behind ``prefix`` (which brings its own ``_`` or ``-``)."""
    return prefix + _encode(new_rank(), _RANK_DIGITS) + random_digits(_RANDOM_DIGITS)


def random_digits(count: int) -> str:
    """``count`` random base62 digits from the system's secure source."""
    # The bytes are so many more than are needed that no digit is likelier than another by a part in a billion.
    return _encode(int.from_bytes(os.urandom(count + 4)), count)


def rank_of(id: str) -> int | None:
    """The rank inside an id that ``new_id`` made, or None for an id of another make."""
    digits = id[-(_RANK_DIGITS + _RANDOM_DIGITS) : -_RANDOM_DIGITS]
    if len(digits) != _RANK_DIGITS:
        return None
    rank = 0
    for digit in digits:
        value = _VALUES.get(digit)
        if value is None:
            return None
        rank = rank * 62 + value
    return rank


def second_of(id: str) -> float | None:
    """The Unix second, to the millisecond, in which ``new_id`` made an id, or None for an id of another make."""
    rank = rank_of(id)
    return None if rank is None else (rank >> _COUNTER_BITS) / 1000


def _encode(number: int, width: int) -> str:
    """The lowest ``width`` digits of a number."""
    pairs = []
    for _ in range((width + 1) // 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    pairs.reverse()
    return "".join(pairs)[-width:]
