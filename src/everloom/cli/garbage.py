"""When Python looks for objects that only hold each other, in a process that serves or works.

Nearly all that a request or a run makes goes with the last reference to it. Python's own thresholds look for the rest
after each 700 objects, and every so often through all there are: a hundred milliseconds, while everybody waits.
"""

import gc

THRESHOLDS = (10_000, 20, 50)
"""Objects more than at the last look until the youngest are looked through (a millisecond or two), how many such looks
until the middle ones are, how many of those until all are but the frozen.
"""

BODY_BYTES = 64 * 1024 * 1024
"""Of requests' bodies, after which the young and the middle ones are looked through, however few they are: Python
counts objects, and one of them may be a body.
"""


def hold_off() -> None:
    """Look for nothing until ``settle``: nearly all that a start makes stays, and is looked through for nothing."""
    gc.disable()


def settle() -> None:
    """From here on look, but pass over what there is now, some hundred thousand objects. At the end of a start.

    What of them is garbage stays: two megabytes where the schema was made, else nothing. To look for it would cost each
    start forty milliseconds and more.
    """
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()


class BodyCount:
    """The bytes of requests' bodies that have come since garbage was looked for on their account."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, count: int) -> None:
        """Count so many more, and look where that is due."""
        self._bytes += count
        if self._bytes >= BODY_BYTES:
            self._bytes = 0
            gc.collect(1)
