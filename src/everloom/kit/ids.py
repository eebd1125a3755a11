"""Ids that say what they name and when it was made.

An id is a prefix (``run_``), ten base62 digits of *rank* and fourteen random ones. The rank is a
millisecond clock with a sixteen-bit counter below it, so ids made by one process sort in the order
they were made, however many share a second. Objects that come from elsewhere keep their own ids;
the store gives them a rank of their own (see ``store/base.py``).
"""

import secrets
import threading
import time

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_RANK_DIGITS = 10
_RANDOM_DIGITS = 14
_COUNTER_BITS = 16

_lock = threading.Lock()
_last_rank = 0


def new_rank() -> int:
    """A number greater than every one given before by this process, close to the clock (ms << 16)."""
    global _last_rank
    with _lock:
        _last_rank = max(_last_rank + 1, (time.time_ns() // 1_000_000) << _COUNTER_BITS)
        return _last_rank


def rank_at(seconds: int) -> int:
    """The first rank of a Unix second, for objects that were made elsewhere."""
    return (seconds * 1000) << _COUNTER_BITS


def new_id(prefix: str) -> str:
    """A fresh id of 24 base62 digits behind ``prefix`` (which brings its own ``_`` or ``-``)."""
    return prefix + _encode(new_rank(), _RANK_DIGITS) + random_digits(_RANDOM_DIGITS)


def random_digits(count: int) -> str:
    """``count`` random base62 digits from the system's secure source."""
    return _encode(secrets.randbelow(62**count), count)


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


def _encode(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
