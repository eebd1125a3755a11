"""What requests that wait get of budgets in one write: whole ones, each in all of its budgets at once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from everloom.context.admission.budgets import Budget
from everloom.context.admission.tickets import Ticket
from everloom.objects.quotas import Spend
from everloom.store.base import Change


class Room(NamedTuple):
    """See ``Budget.look``."""

    free: int
    is_alone: bool


class Allotment:
    """Of the tickets of one write, in the order in which they wait: those that fit in all their budgets get what they
    need of each, the others nothing of any. So no process holds of one budget what it cannot use for want of another,
    while others wait for it.
    """

    def __init__(self, tickets: Sequence[Ticket]) -> None:
        self._tickets = [ticket for ticket in tickets if not ticket.account.is_free]
        self._budgets = dict.fromkeys(budget for ticket in self._tickets for budget in ticket.account.budgets)
        self._rooms: dict[Budget, Room] = {}
        self._given: dict[Budget, int] | None = None

    def looks(self, process: str) -> list[Change[Spend]]:
        """Operations that go before those which take: all rows are seen before anything is taken of one."""
        return [budget.look(process, partial(self._see, budget)) for budget in self._budgets]

    def of(self, budget: Budget) -> Callable[[], int] | None:
        """Tells what is to be taken of a budget, once all have been seen; None where nobody waits for it."""
        return partial(self._of, budget) if budget in self._budgets else None

    def _see(self, budget: Budget, free: int, is_alone: bool) -> None:
        self._rooms[budget] = Room(free, is_alone)
        self._given = None  # What was seen before does not count any more.

    def _of(self, budget: Budget) -> int:
        if self._given is None:
            self._given = self._give()
        return self._given.get(budget, 0)

    def _give(self) -> dict[Budget, int]:
        given: dict[Budget, int] = {}
        for ticket in self._tickets:
            if all(self._has_room(budget, given.get(budget, 0), ticket.cost) for budget in ticket.account.budgets):
                for budget in ticket.account.budgets:
                    given[budget] = given.get(budget, 0) + ticket.cost
        return given

    def _has_room(self, budget: Budget, given: int, cost: int) -> bool:
        if budget.limit is None:
            return True
        room = self._rooms[budget]
        return given + cost <= room.free or (room.is_alone and not given)
