"""The writes of one process's part of limits and budgets: one at a time, each for all that wait."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from everloom.context.admission.allotment import Allotment
from everloom.context.admission.rates import ModelRates
from everloom.context.admission.registration import RENEW_SECONDS, registration, renew
from everloom.context.admission.reservations import ReservationLine
from everloom.context.admission.spending import spent
from everloom.context.admission.state import ProcessState
from everloom.context.admission.tickets import Ticket
from everloom.context.pricing import PriceList
from everloom.objects.organization import ORGANIZATION
from everloom.objects.quotas import RESERVED, RateWindows, Reservation, ServerProcess, Spend
from everloom.store.base import Add, Change, Conflict, Missing, Operation, Remove, Store
from everloom.store.registers import Ledger

TICK_SECONDS = 0.25
"""Between two writes that nobody waits for."""

MOST_ROWS = 256
"""That one write changes besides those that somebody waits for."""


class BegunAnew(Exception):
    """The others have held this process for dead: what it had reserved is settled, and it is another from now on."""


class _Round:
    """What one write is about."""

    def __init__(self, tickets: Sequence[Ticket]) -> None:
        self.lines: dict[ReservationLine, list[int]] = {}
        self.rates: dict[ModelRates, dict[str, tuple[int, int]]] = {}
        self.allotment = Allotment(tickets)
        self.budgets = dict.fromkeys(budget for ticket in tickets for budget in ticket.account.budgets)
        for ticket in tickets:
            self._want(ticket)

    def _want(self, ticket: Ticket) -> None:
        account = ticket.account
        wanted = self.lines.setdefault(account.line, [0] * len(RESERVED))
        wanted[:] = [one + other for one, other in zip(wanted, ticket.amounts, strict=True)]
        if account.rates is not None:
            metrics = self.rates.setdefault(account.rates, {})
            for rate, amount in ticket.wanted:
                most, least = metrics.get(rate.metric.name, (0, amount))
                metrics[rate.metric.name] = (most + amount, min(least, amount))

    def written(self) -> list[Callable[[], None]]:
        """What all that take part want to hear of it."""
        return [
            *(line.written for line in self.lines),
            *(rates.written for rates in self.rates),
            *(budget.written for budget in self.budgets),
        ]

    def __len__(self) -> int:
        return len(self.lines) + len(self.rates) + len(self.budgets)


class QuotaWriter:
    """Writes what processes share, in ``store``, the organization's."""

    def __init__(self, state: ProcessState, store: Store, ledger: Ledger, prices: PriceList) -> None:
        self._state = state
        self._store = store
        self._ledger = ledger
        self._prices = prices
        self._renewed = 0.0

    async def write(self, tickets: Sequence[Ticket], *, alone: bool = False) -> None:
        """Take what tickets need that do not fit, and what is low; give back and report what is due (``alone``: not).

        Errors: ``Unavailable``; then nothing has come of it here, whatever stands there.
        """
        state, now = self._state, time.monotonic()
        round = _Round(tickets)
        dropped: list[ReservationLine] = []
        if not alone:
            self._add_due(round, now)
            dropped = [line for line in state.lines.values() if line.is_idle(now) and line not in round.lines]
        if not len(round) and not dropped and not self._is_stale(now):
            await self._rest(now)
            return
        operations = [*self._operations(round), *(line.drop() for line in dropped[:MOST_ROWS])]
        try:
            await self._kept(operations, round, now)
        except BaseException:
            for rates in round.rates:
                rates.lost()
            raise
        for written in round.written():
            written()
        await self._rest(now)

    def _is_stale(self, now: float) -> bool:
        """Whether the others should hear again that this process is alive."""
        return self._state.registered and now - self._renewed >= RENEW_SECONDS

    def _add_due(self, round: _Round, now: float) -> None:
        """What nobody waits for, as far as there is room."""
        state = self._state
        for rates in state.touched_rates:
            if rates.is_due(now) and len(round) < MOST_ROWS:
                round.rates.setdefault(rates, {})
        for budget in state.touched_budgets:
            if (budget.owes() or budget.is_low()) and len(round) < MOST_ROWS:
                round.budgets.setdefault(budget)
        if self._is_stale(now):
            for line in state.lines.values():
                if line.is_roomy() and len(round) < MOST_ROWS:
                    round.lines.setdefault(line, [0] * len(RESERVED))

    async def _rest(self, now: float) -> None:
        """Let go of what has nothing to tell any more; of everything, when nobody has asked anything for a while."""
        state = self._state
        state.touched_rates = {rates for rates in state.touched_rates if not rates.is_quiet(now)}
        state.touched_budgets = {budget for budget in state.touched_budgets if budget.owes() or budget.under_way}
        state.forget_empty()
        if state.registered and state.is_idle():
            await self.leave()

    def _operations(self, round: _Round) -> list[Operation]:
        process = self._state.process.id
        return [
            *(rates.change(wanted) for rates, wanted in round.rates.items()),
            *round.allotment.looks(process),
            *(budget.change(process, round.allotment.of(budget)) for budget in round.budgets),
            *(line.change(process, wanted) for line, wanted in round.lines.items()),
        ]

    def _presence(self) -> Operation:
        """What says that this process is alive, and asks whether the others think so."""
        process = self._state.process
        if not self._state.registered:
            renew(process)
            return Add(process)
        return Change(ServerProcess, process.id, renew)

    async def _kept(self, operations: list[Operation], round: _Round, now: float) -> None:
        """Make the write; rows that are not there yet are made first."""
        while True:
            try:
                await self._store.write(self._presence(), *operations)
                self._state.registered, self._renewed = True, now
                return
            except Missing as missing:
                if missing.cls is ServerProcess:
                    self._state.reborn()
                    raise BegunAnew from missing
                await self._make(missing, round)

    async def _make(self, missing: Missing, round: _Round) -> None:
        if missing.cls is RateWindows:
            row: Operation = next(rates for rates in round.rates if rates.id == missing.key).row()
        elif missing.cls is Spend:
            budget = next(budget for budget in round.budgets if budget.id == missing.key)
            whole = budget.id == ORGANIZATION
            row = budget.row(await spent(self._ledger, self._prices, None if whole else budget.id))
        elif missing.cls is Reservation:  # By whoever held this process for dead, in this very moment.
            next(line for line in round.lines if line.is_kept_as(missing.key)).forget()
            raise BegunAnew from missing
        else:
            raise missing
        with suppress(Conflict):  # Another process has just done so.
            await self._store.write(row)

    async def leave(self) -> None:
        """Report, give everything back, and be no more to the others, until the next write."""
        state = self._state
        if not state.registered:
            return
        process, budgets = state.process.id, [budget for budget in state.budgets.values() if budget.is_shared()]
        operations: list[Operation] = [Change(ServerProcess, process)]
        operations += [rates.leave() for rates in state.rates.values() if not rates.is_quiet(time.monotonic())]
        operations += [budget.leave(process) for budget in budgets]
        operations += [Remove(Reservation, process_id=process), Remove(ServerProcess, process)]
        try:
            await self._store.write(*operations)
        except Missing:
            state.reborn()
            return
        state.process, state.registered = registration(), False
        for line in state.lines.values():
            line.forget()
        for budget in budgets:
            budget.has_left()
