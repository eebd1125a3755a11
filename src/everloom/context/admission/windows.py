"""The arithmetic of a rate limit: a log of what was taken in the last minute or day, in ticks (a sliding window log).

In no minute, wherever it begins, is more taken than the limit. Processes take slices ahead of need, so what an entry
names may be spent until ``SLICE_SECONDS`` after its time; it therefore counts for so much longer.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from everloom.objects.quotas import RateWindows, WindowEntry

SLICE_SECONDS = 1.0
"""How long a slice may be spent; what is left of it then is given back."""

FUTURE_SECONDS = 120.0
"""So far ahead of this process's clock may be what others have written; what is further was written before a clock was
set back.
"""


class Span(NamedTuple):
    """How long a limit looks back, in seconds, and how finely."""

    seconds: float
    tick: float


MINUTE = Span(60.0, 0.25)
DAY = Span(86_400.0, 300.0)


class Ask(NamedTuple):
    """What a process wants of a metric: ``most``, or ``least`` where there is no more. ``back`` gives what it has not
    spent, by the time of the entries it came from; ``more`` is what it has spent beyond what it had.
    """

    span: Span
    limit: int
    least: int
    most: int
    back: Mapping[float, int]
    more: int


class Taken(NamedTuple):
    """What came of it: ``amount``, part of the entry ``at``; what all have ``used`` then, and each entry with it."""

    amount: int
    at: float
    used: int
    entries: tuple[tuple[float, int], ...]


def now_in(windows: RateWindows, clock: float) -> float:
    """The time to count by: no earlier than what stands there, unless that is nonsense by now."""
    if windows.at - clock > FUTURE_SECONDS:
        apart = windows.at - clock
        for entries in windows.windows.values():
            for entry in entries:
                entry.at -= apart
        windows.at = clock
    windows.at = max(windows.at, clock)
    return windows.at


def take(windows: RateWindows, metric: str, asked: Ask, now: float) -> Taken:
    """Take from a metric's window, which is edited."""
    span = asked.span
    since = now - span.seconds - SLICE_SECONDS
    entries = [entry for entry in windows.windows.get(metric, ()) if entry.at > since]
    for entry in entries:
        entry.amount = max(0, entry.amount - asked.back.get(entry.at, 0))
    used = sum(entry.amount for entry in entries) + asked.more
    free = asked.limit - used
    amount = min(asked.most, free) if free >= asked.least else 0
    at = math.ceil(now / span.tick) * span.tick
    if amount + asked.more > 0:
        if entries and entries[-1].at >= at:
            at = entries[-1].at
            entries[-1].amount += amount + asked.more
        else:
            entries.append(WindowEntry(at, amount + asked.more))
    windows.windows[metric] = kept = [entry for entry in entries if entry.amount]
    return Taken(amount, at, used + amount, tuple((entry.at, entry.amount) for entry in kept))


def free_at(taken: Taken, span: Span, limit: int, need: int) -> float:
    """When ``need`` can be taken, if nobody takes anything until then; infinity for what no window has room for."""
    used = taken.used
    if used + need <= limit:
        return 0.0
    for at, amount in taken.entries:
        used -= amount
        if used + need <= limit:
            return at + span.seconds + SLICE_SECONDS
    return math.inf


def restored_at(taken: Taken, span: Span) -> float:
    """When all of the limit can be taken, if nobody takes anything until then."""
    return taken.entries[-1][0] + span.seconds + SLICE_SECONDS if taken.entries else 0.0
