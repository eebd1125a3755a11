"""This process's part of rate limits: slices of a model's windows, spent in memory and given back."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from everloom.context.admission.clock import SteadyWallClock
from everloom.context.admission.windows import (
    DAY,
    MINUTE,
    SLICE_SECONDS,
    Ask,
    Span,
    Taken,
    free_at,
    now_in,
    restored_at,
    take,
)
from everloom.kit.clock import now
from everloom.objects.quotas import RateWindows
from everloom.objects.rules import UNLIMITED
from everloom.store.base import Add, Change

_PLENTY = 1000
_PAIRS_SECONDS = 0.02

LOOK_SECONDS = 0.25
"""Between two looks into a window that was found full."""

AHEAD_SECONDS = 0.75
"""For how long a slice is to last, at the pace of the last one."""

MEGABYTE = 1_000_000

UNLIMITED_PAIRS = [
    (f"x-ratelimit-{name}".encode(), value.encode())
    for kind in ("requests", "tokens")
    for name, value in (
        (f"limit-{kind}", str(UNLIMITED)),
        (f"remaining-{kind}", str(UNLIMITED - 1)),
        (f"reset-{kind}", "0ms"),
    )
]
"""What answers say of limits that there are not: programs read these headers without asking whether they are there."""


class Metric(NamedTuple):
    """What is limited: its name here, in the rules, in messages, and as the type of their errors."""

    name: str
    rule: str
    words: str
    type: str
    span: Span
    unit: int = 1


METRICS = (
    Metric("requests", "max_requests_per_1_minute", "requests per min (RPM)", "requests", MINUTE),
    Metric("tokens", "max_tokens_per_1_minute", "tokens per min (TPM)", "tokens", MINUTE),
    Metric("images", "max_images_per_1_minute", "images per min (IPM)", "images", MINUTE),
    Metric("audio", "max_audio_megabytes_per_1_minute", "audio bytes per min", "audio", MINUTE, MEGABYTE),
    Metric("requests_day", "max_requests_per_1_day", "requests per day (RPD)", "requests", DAY),
)


_SHOWN = {"requests": ("requests", "requests_day"), "tokens": ("tokens",)}
"""What headers have a name for: of two limits they tell the one that is nearer, of equals the minute's."""


class Slice:
    """What was taken from a window at one time; ``at`` names its entry there."""

    __slots__ = ("at", "left", "until")

    def __init__(self, at: float, left: int, until: float) -> None:
        self.at = at
        self.left = left
        self.until = until


class Rate:
    """One metric of one model: what is left to spend here, and what is owed to the window or by it."""

    def __init__(self, metric: Metric, limit: int) -> None:
        self.metric = metric
        self.limit = limit
        self.slices: list[Slice] = []
        self.back: Counter[float] = Counter()
        self.more = 0
        self.taken = Taken(0, 0.0, 0, ())
        self._spent = 0
        """Since the last look, with what was wanted and not there."""
        self._looked = 0.0
        self._known_until = 0.0

    def left(self, now: float) -> int:
        """What may be spent now. What was not spent in time goes back."""
        slices = self.slices
        while slices and slices[0].until <= now:
            expired = slices.pop(0)
            if expired.left:
                self.back[expired.at] += expired.left
        if len(slices) == 1:
            return slices[0].left
        return sum([each.left for each in slices])

    def spend(self, amount: int) -> list[tuple[float, int]]:
        """Take from what is ``left``, which must be enough; by the times of their entries."""
        self._spent += amount
        slices, parts = self.slices, []
        while amount > (first := slices[0]).left:
            if first.left:
                parts.append((first.at, first.left))
                amount -= first.left
            del slices[0]  # What is used up is not to be looked through by each request of its second.
        first.left -= amount
        parts.append((first.at, amount))
        return parts

    def settle(self, parts: list[tuple[float, int]], amount: int) -> None:
        """Give back what was spent beyond the ``amount`` that was used, or owe what was used beyond it."""
        for at, part in parts:
            if part > amount:
                self.back[at] += part - amount
                amount = 0
            else:
                amount -= part
        self.more += amount

    def remaining(self, now: float) -> int:
        """How much of the limit is free, as far as this process knows."""
        return max(0, self.limit - self.taken.used + self.left(now))

    def is_low(self) -> bool:
        """Whether the next slice should be taken before somebody has to wait for it."""
        return self._spent * 2 > self.taken.amount > 0

    def owes(self) -> bool:
        """Whether there is something to tell the window."""
        return bool(self.back) or self.more > 0

    def is_known_full(self, need: int, now: float) -> bool:
        """Whether a look into the window a moment ago has found no room for as much."""
        if need > self.limit:
            return True
        left = self.left(now)
        return left < need and now < self._known_until and self.taken.used - left + need > self.limit

    def ask(self, wanted: int, least: int, now: float) -> Ask:
        """What to take: what is wanted, and some ahead; and what goes back."""
        pace = self._spent / max(now - self._looked, 0.05) if self._looked else 0.0
        free = max(0, self.limit - self.taken.used)
        ahead = min(math.ceil(pace * AHEAD_SECONDS), free // 4)
        back, self.back = self.back, Counter()
        more, self.more = self.more, 0
        return Ask(self.metric.span, self.limit, least, wanted + ahead, back, more)

    def take(self, asked: Ask, taken: Taken, began: float) -> None:
        """Have what came of it."""
        self.taken = taken
        if taken.amount:
            self.slices.append(Slice(taken.at, taken.amount, began + SLICE_SECONDS))
        self._looked, self._spent = began, 0
        self._known_until = time.monotonic() + LOOK_SECONDS

    def give_back(self) -> Ask:
        """What goes back when nothing is to be spent any more."""
        self.left(math.inf)
        self._spent = 0
        return self.ask(0, 1, time.monotonic())

    def lose(self, asked: Ask) -> None:
        """Nobody knows whether that was written: what would go back stays spent, what is owed is told again."""
        self.more += asked.more


class ModelRates:
    """The rate limits of one model in one project, and their row."""

    def __init__(self, id: str, limits: Mapping[str, int], clock: SteadyWallClock) -> None:
        """``limits``: by the names of metrics, those that are limited."""
        self.id = id
        self.rates: dict[str, Rate] = {}
        self._clock = clock
        self._asked: dict[str, Ask] = {}
        self._taken: dict[str, Taken] = {}
        self._began = 0.0
        self._pairs: Sequence[tuple[bytes, bytes]] = ()
        self._pairs_until = 0.0
        self.limit(limits)

    def limit(self, limits: Mapping[str, int]) -> None:
        """Have other limits from now on."""
        before = self.rates
        self.rates = {
            metric.name: before.get(metric.name) or Rate(metric, 0) for metric in METRICS if metric.name in limits
        }
        for name, rate in self.rates.items():
            rate.limit = limits[name]

    def is_quiet(self, now: float) -> bool:
        """Whether there is nothing to give back, now or soon."""
        return not any(rate.left(now) or rate.slices or rate.owes() for rate in self.rates.values())

    def is_due(self, now: float) -> bool:
        """Whether there is something to tell, or to take ahead of need."""
        return any(rate.owes() or rate.is_low() for rate in self.rates.values() if rate.left(now) >= 0)

    def change(self, wanted: Mapping[str, tuple[int, int]]) -> Change[RateWindows]:
        """Part of a write that takes slices and gives back: by metric how much is wanted, and how little will do."""
        self._began = time.monotonic()
        asked = {}
        for name, rate in self.rates.items():
            most, least = wanted.get(name, (0, 0))
            left = rate.left(self._began)
            asked[name] = rate.ask(max(0, most - left), max(1, least - left), self._began)
        return self._change(asked)

    def leave(self) -> Change[RateWindows]:
        """Part of a write that gives everything back."""
        return self._change({name: rate.give_back() for name, rate in self.rates.items()})

    def _change(self, asked: dict[str, Ask]) -> Change[RateWindows]:
        self._asked = asked

        def edit(windows: RateWindows) -> None:
            self._began = time.monotonic()  # A slice is good from when it is taken, however slow the database is.
            at = now_in(windows, self._clock.now())
            self._taken = {name: take(windows, name, ask, at) for name, ask in asked.items()}

        return Change(RateWindows, self.id, edit)

    def written(self) -> None:
        """That write is through."""
        for name, taken in self._taken.items():
            if name in self.rates:
                self.rates[name].take(self._asked[name], taken, self._began)

    def lost(self) -> None:
        """Nobody knows what became of that write."""
        for name, asked in self._asked.items():
            if name in self.rates:
                self.rates[name].lose(asked)

    def row(self) -> Add[RateWindows]:
        """The row that ``change`` edits, before anything was taken."""
        return Add(RateWindows(id=self.id, created_at=now()))

    def seconds_until(self, rate: Rate, need: int) -> float:
        """After how long ``need`` will be free, if nobody takes it before; infinity for more than the limit."""
        return max(0.0, free_at(rate.taken, rate.metric.span, rate.limit, need) - self._clock.now())

    def headers(self) -> dict[str, str]:
        """As ``pairs``, for an error."""
        return {name.decode(): value.decode() for name, value in self.pairs()}

    def pairs(self) -> Sequence[tuple[bytes, bytes]]:
        """What an answer says of the limits of requests and tokens: as it was at most a few milliseconds ago."""
        now = time.monotonic()
        if now < self._pairs_until:
            return self._pairs
        found = dict(UNLIMITED_PAIRS)
        for name, metrics in _SHOWN.items():
            shown = [rate for metric in metrics if (rate := self.rates.get(metric)) is not None]
            if shown:
                rate = min(shown, key=lambda each: each.remaining(now))
                reset = max(0.0, restored_at(rate.taken, rate.metric.span) - self._clock.now())
                found[f"x-ratelimit-limit-{name}".encode()] = b"%d" % rate.limit
                found[f"x-ratelimit-remaining-{name}".encode()] = b"%d" % rate.remaining(now)
                found[f"x-ratelimit-reset-{name}".encode()] = duration(reset).encode()
        self._pairs = [*found.items()]
        # Where few are left, each answer says exactly how many.
        plenty = all(rate.limit - rate.taken.used > _PLENTY for rate in self.rates.values())
        self._pairs_until = now + _PAIRS_SECONDS if plenty else 0.0
        return self._pairs


def duration(seconds: float) -> str:
    """A time as the platform's headers write it: ``17ms``, ``1.5s``, ``6m0s``."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
