"""The time as the wire writes it."""

import time


def now() -> int:
    """The current time in whole Unix seconds, the unit of every ``*_at`` field."""
    return int(time.time())
