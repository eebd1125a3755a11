"""This process's part of a budget: money reserved ahead of need, spent in memory and reported.

At any time the budget's row holds at least as much as this process has under way or has spent and not reported. So the
sum of all is never less than what was spent, whichever process dies. Amounts are billionths of a dollar.
"""

import math
import time
from collections.abc import Callable

from everloom.context.admission.clock import SteadyWallClock
from everloom.kit.clock import now
from everloom.objects.quotas import Share, Spend
from everloom.store.base import Add, Change

AHEAD_SECONDS = 0.75
"""For how long what is reserved ahead is to last, at the pace of the last reservation."""

LOOK_SECONDS = 0.25
"""Between two looks into a budget that had no room."""


def month_of(seconds: float) -> str:
    """The calendar month (UTC) of a Unix time, as in ``2026-11``."""
    return time.strftime("%Y-%m", time.gmtime(seconds))


class Budget:
    """A project's or the organization's budget. ``limit`` is None where there are alerts alone."""

    def __init__(self, id: str, clock: SteadyWallClock) -> None:
        self.id = id
        self.limit: int | None = None
        self.thresholds: dict[str, int] = {}
        """Of alerts that may have to be sent, by their ids."""
        self.due: list[str] = []
        """Alerts whose threshold was found reached."""
        self.settled = 0
        self.held = 0
        self.under_way = 0
        self._clock = clock
        self._peak = 0
        """Of what was under way since the last write."""
        self._process = ""
        self._spent = 0
        self._reported = 0
        self._others = 0
        self._pace_from = 0
        self._looked = 0.0
        self._known_until = 0.0
        self._began = 0.0
        self._asked: tuple[int | None, int] = (None, 0)
        self._edited: Spend | None = None
        self._is_seen = False
        """Whether the row was seen, or made, since the limit is what it is."""
        self._shared = False
        self._for_one = False
        """Whether what is held goes beyond the limit."""
        self._is_last_taken = False

    def set_rules(self, limit: int | None, thresholds: dict[str, int]) -> None:
        """Have others from now on."""
        if limit != self.limit:
            self.limit, self._is_seen = limit, False  # What is held was taken by another.
        self.thresholds = thresholds

    @property
    def unreported(self) -> int:
        """What was spent and does not stand in the row yet."""
        return self._spent - self._reported

    def fits(self, cost: int) -> bool:
        """Whether a cost is covered by what is reserved. Nothing is before the row was seen, or made."""
        if not self._is_seen or self._is_last_taken:
            return False
        return self.limit is None or self.under_way + self._spent - self._reported + cost <= self.held

    def is_spent(self, now: float) -> bool:
        """Whether all was spent, as was found a moment ago."""
        return self.limit is not None and now < self._known_until and self.settled >= self.limit

    def reserve(self, cost: int) -> None:
        """Have a cost under way. It must fit."""
        self.under_way += cost
        self._peak = max(self._peak, self.under_way)
        self._is_last_taken = self._for_one

    def settle(self, reserved: int, cost: int) -> None:
        """A request has cost so much, for which so much was reserved."""
        self.under_way -= reserved
        self._spent += cost

    def owes(self) -> bool:
        """Whether there is something to report, or to give back."""
        return self.unreported > 0 or self.held > self.under_way + self._ahead(time.monotonic())

    def is_low(self) -> bool:
        """Whether the next should be reserved before somebody has to wait for it."""
        return self.limit is not None and (self.under_way + self.unreported) * 4 > self.held * 3 and self.held > 0

    def _ahead(self, now: float) -> int:
        """What is reserved beyond need: what was under way of late, and some spending; an eighth of what is left at the
        most.
        """
        pace = (self._spent - self._pace_from) / max(now - self._looked, 0.05) if self._looked else 0.0
        ahead = self._peak - self.under_way + math.ceil(pace * AHEAD_SECONDS)
        if self.limit is None:
            return ahead
        free = max(0, self.limit - self.settled - self._others - self.under_way)
        return min(ahead, free // 8)

    def look(self, process: str, see: Callable[[int, bool], None]) -> Change[Spend]:
        """Part of a write, before those that take: ``see`` hears what there is for this process besides what it has
        under way, and whether nobody has anything under way, so that one request may go beyond it.
        """
        self._process, under_way, spent = process, self.under_way, self._spent

        def edit(spend: Spend) -> None:
            spend.turn(month_of(self._clock.now()))
            share, others = spend.shares.get(process) or Share(), self._held_by_others(spend)
            limit, settled = self.limit or 0, spend.settled + max(0, spent - share.reported)
            see(limit - settled - others - under_way, not others and not under_way and settled < limit)

        return Change(Spend, self.id, edit)

    def change(self, process: str, allotted: Callable[[], int] | None = None) -> Change[Spend]:
        """Part of a write by which a process reports, and reserves what was allotted to those that wait for it; None
        where nobody does.
        """
        self._process = process
        self._began = time.monotonic()
        under_way, spent, ahead = self.under_way, self._spent, self._ahead(self._began)
        # What may be given back is no longer to be spent from now on: all that is not in use, where somebody waits, so
        # that processes which wait do not hold what the others wait for.
        keeps = under_way + ahead if allotted is None else under_way
        self.held = min(self.held, keeps + self.unreported)
        self._asked = (self.limit, spent)
        self._peak = under_way

        def edit(spend: Spend) -> None:
            spend.turn(month_of(self._clock.now()))
            share = spend.shares.get(process) or Share()
            reported = max(0, spent - share.reported)
            kept = min(share.held - reported, keeps)
            spend.settled += reported
            share.reported = spent
            allotment = 0 if allotted is None else allotted()
            least = under_way + allotment
            most = least if allotted is not None and not allotment else least + ahead
            share.held = self._held(spend, under_way, least, most, kept)
            spend.shares[process] = share
            self._edited = spend

        return Change(Spend, self.id, edit)

    def _held_by_others(self, spend: Spend) -> int:
        return sum(share.held for name, share in spend.shares.items() if name != self._process)

    def _held(self, spend: Spend, under_way: int, least: int, most: int, kept: int) -> int:
        """What this process is to hold: as much of the most as there is; the least in any case, where nobody else has
        anything under way and not all is spent. So the last request may go beyond the limit, and no other.
        """
        if self.limit is None:
            return max(most, kept)
        others = self._held_by_others(spend)
        free = max(0, self.limit - spend.settled - others)
        if free >= least:
            return min(max(most, kept), free)
        if not others and not under_way and spend.settled < self.limit:
            return least
        return under_way

    def written(self) -> None:
        """That write is through."""
        spend = self._edited
        assert spend is not None
        limit, self._reported = self._asked
        self._shared, self._is_seen = True, limit == self.limit
        self.settled = spend.settled
        self._others = self._held_by_others(spend)
        self.held = spend.shares[self._process].held
        # What goes beyond the limit is for one request, whatever that leaves of it when it is settled.
        self._for_one = limit is not None and self.settled + self._others + self.held > limit
        self._is_last_taken = self._for_one and self.under_way > 0
        self._looked, self._pace_from = self._began, self._spent
        self._known_until = self._began + LOOK_SECONDS
        self.due = [id for id, least in self.thresholds.items() if spend.settled >= least and id not in spend.alerts]

    def leave(self, process: str) -> Change[Spend]:
        """Part of a write by which a process that has nothing under way reports, and holds nothing any more."""
        self.held, spent = 0, self._spent

        def edit(spend: Spend) -> None:
            spend.turn(month_of(self._clock.now()))
            share = spend.shares.pop(process, None) or Share()
            spend.settled += max(0, spent - share.reported)

        return Change(Spend, self.id, edit)

    def is_shared(self) -> bool:
        """Whether this process has a share in its row."""
        return self._shared

    def has_left(self) -> None:
        """The write of ``leave`` is through."""
        self._reported = self._spent
        self.begin_anew()

    def begin_anew(self) -> None:
        """The others do not know what this process has reported any more, nor what it holds."""
        self._spent, self._reported, self._pace_from, self.held = self.unreported, 0, 0, 0
        self._shared = False

    def row(self, settled: int) -> Add[Spend]:
        """The row that ``change`` edits, with what was spent in this month before anybody counted."""
        return Add(Spend(id=self.id, created_at=now(), month=month_of(self._clock.now()), settled=settled))
