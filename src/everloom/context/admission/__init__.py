"""Admission control: whose requests models are asked now, by rate limits and budgets, exactly, across processes.

Before a model is asked, what the request will use is reserved: in memory, from slices that this process has taken from
rows of the database by atomic writes. ``docs/decisions/admission.md`` says why it is so.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from everloom.context.admission.needs import Need
from everloom.context.admission.refusals import over_budget, over_rate
from everloom.context.admission.state import ProcessState, has_budgets
from everloom.context.admission.tickets import Account, Ticket
from everloom.context.admission.writer import TICK_SECONDS, BegunAnew, QuotaWriter
from everloom.context.caller import Caller
from everloom.context.known_rules import KnownRules
from everloom.context.pricing import PriceList
from everloom.kit.errors import ApiError, Unavailable
from everloom.kit.log import outage
from everloom.objects.ledger import UsageKind
from everloom.objects.rules import Ceiling
from everloom.store.base import SYSTEM, Database

log = logging.getLogger(__name__)

__all__ = ["Admission", "Need", "Ticket"]

PATIENT_SECONDS = 0.05
"""Between two looks into what others have settled, while somebody waits for it."""

PATIENCE_SECONDS = 20.0
"""How long a request waits that would fit what is left of a budget, if others were settled that have reserved it."""


Asked = tuple[Caller, UsageKind, str | None, str]
"""Who asks for what, under which name limits know it, and under which its backend."""


class _Waiting:
    """A request that waits for a write, and perhaps for others to be settled. ``asked``: by whom, for what."""

    __slots__ = ("admitted", "asked", "looked", "patient_until", "ticket")

    def __init__(self, ticket: Ticket, asked: Asked) -> None:
        self.ticket = ticket
        self.asked = asked
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.patient_until = time.monotonic() + PATIENCE_SECONDS
        self.looked = False
        """Whether a write has been made for it."""


class Admission:
    """The door of one process. Until it is opened, everybody is let in and nothing is counted."""

    def __init__(self) -> None:
        self.on_alert: Callable[[str, Sequence[str]], Awaitable[None]] = _nobody
        """Hears which alerts of a budget (by its id) are due, and says in the budget's row that they were sent."""
        self._state: ProcessState | None = None
        self._rules: KnownRules | None = None
        self._prices = PriceList(defaults=False)
        self._writer: QuotaWriter | None = None
        self._waiting: dict[_Waiting, None] = {}
        self._woken = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._serving: asyncio.Task[None] | None = None
        self._looked_at_all = 0.0

    def open(self, database: Database, rules: KnownRules, prices: PriceList, ceilings: Sequence[Ceiling]) -> None:
        """Reserve from now on, by rows of the organization's store."""
        self._rules, self._prices = rules, prices
        self._state = ProcessState(prices, ceilings)
        self._writer = QuotaWriter(self._state, database.store(SYSTEM), database.ledger, prices)
        self._serving = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Give everything back, and report the rest."""
        serving, self._serving = self._serving, None
        if serving is None or self._writer is None:
            return
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        self._state = None
        if self._timer is not None:
            self._timer.cancel()
        self._refuse_all(Unavailable("this server", "it is stopping"))
        await self._writer.leave()

    def try_admit(
        self, caller: Caller, kind: UsageKind, model: str | None, backend_model: str, need: Need
    ) -> Ticket | None:
        """As ``admit``, where all that it takes is at hand, as it mostly is; else None."""
        state, rules = self._state, self._rules
        if state is None or rules is None or (known := rules.recall(caller.project)) is None:
            return None
        account = state.known_account(caller, kind, model, backend_model, known)
        if account is None:
            return None
        ticket = Ticket(account, need, self._touch)
        if not ticket.fits(time.monotonic()):
            return None
        ticket.take()
        self._touch(account)
        return ticket

    async def admit(
        self, caller: Caller, kind: UsageKind, model: str | None, backend_model: str, need: Need
    ) -> Ticket | None:
        """Reserve what a request will use, or refuse it. ``model`` is the name that rate limits know it by; None for
        what they do not concern.

        None where nothing is counted. Errors: 429 (``over_rate``, ``over_budget``), ``Unavailable``.
        """
        if (at_hand := self.try_admit(caller, kind, model, backend_model, need)) is not None:
            return at_hand
        state, rules = self._state, self._rules
        if state is None or rules is None:
            return None
        known = rules.recall(caller.project) or await rules.of(caller.project)
        account = state.known_account(caller, kind, model, backend_model, known)
        if account is None:
            if has_budgets(known):
                await self._prices.learn((backend_model,))  # Which is not done on the loop.
            account = state.account(caller, kind, model, backend_model, known)
        ticket = Ticket(account, need, self._touch)
        now = time.monotonic()
        if (refusal := _known_refusal(ticket, now)) is not None:
            raise refusal
        return await self._wait(_Waiting(ticket, (caller, kind, model, backend_model)))

    async def _wait(self, waiting: _Waiting) -> Ticket:
        self._waiting[waiting] = None
        self._woken.set()
        try:
            await waiting.admitted
        except asyncio.CancelledError:
            waiting.ticket.cancel()
            raise
        finally:
            self._waiting.pop(waiting, None)
        return waiting.ticket

    def _touch(self, account: Account) -> None:
        """Have the account's rows looked at soon: what is low is taken ahead, what is owed is told."""
        if self._state is not None:
            self._state.touch(account)
            if self._waiting:
                self._wake_in(PATIENT_SECONDS)
            elif self._timer is None:
                self._wake_in(TICK_SECONDS)

    def _wake_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._woken.set()

    async def _serve(self) -> None:
        assert self._state is not None
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._round()
            except Unavailable as away:
                outage("limits and budgets", away)
                self._refuse_all(away)
            except Exception:
                log.exception("limits and budgets cannot be kept")
                await self._one_by_one()
            if self._waiting or self._state.is_busy():
                self._wake_in(TICK_SECONDS)

    async def _round(self) -> None:
        """Let in who fits; write what it takes for the others to fit, and let in or refuse them."""
        assert self._writer is not None
        assert self._state is not None
        some = self._due()
        await self._refresh(some)
        self._let_in(some)
        some = [waiting for waiting in some if waiting in self._waiting]
        try:
            await self._writer.write([waiting.ticket for waiting in some])
        except BegunAnew:
            return self._woken.set()
        self._decide(some)
        for budget in self._state.budgets.values():
            if budget.due:
                due, budget.due = budget.due, []
                await self.on_alert(budget.id, due)
        return None

    async def _one_by_one(self) -> None:
        """Write for each that waits alone, so that one which cannot be written for takes none of the others along."""
        assert self._writer is not None
        for waiting in [*self._waiting]:
            try:
                await self._writer.write([waiting.ticket], alone=True)
                self._decide([waiting])
            except BegunAnew:
                continue
            except Exception as problem:
                self._conclude(waiting, problem)

    def _decide(self, some: Sequence[_Waiting]) -> None:
        """Let in who fits now, and refuse whom there will be no room for."""
        self._let_in(some)
        now = time.monotonic()
        for waiting in some:
            waiting.looked = True
            if waiting not in self._waiting:
                continue
            refusal = _known_refusal(waiting.ticket, now) or _impatient(waiting, now)
            if refusal is not None:
                self._conclude(waiting, refusal)

    async def _refresh(self, some: Sequence[_Waiting]) -> None:
        """Have those that wait go by the rules of now: a limit may have been raised meanwhile."""
        assert self._state is not None
        assert self._rules is not None
        for waiting in some:
            project = waiting.asked[0].project
            known = self._rules.recall(project) or await self._rules.of(project)
            account = self._state.account(*waiting.asked, known)
            if account is not waiting.ticket.account and not waiting.admitted.done():
                waiting.ticket = Ticket(account, waiting.ticket.need, self._touch)

    def _due(self) -> list[_Waiting]:
        """Those that wait and have not been looked at, or not for a moment."""
        now = time.monotonic()
        if now - self._looked_at_all >= PATIENT_SECONDS:
            self._looked_at_all = now
            return [*self._waiting]
        return [waiting for waiting in self._waiting if not waiting.looked]

    def _let_in(self, some: Sequence[_Waiting]) -> None:
        now = time.monotonic()
        for waiting in some:
            if waiting in self._waiting and waiting.ticket.fits(now):
                if not waiting.admitted.done():
                    waiting.ticket.take()
                    self._touch(waiting.ticket.account)
                self._conclude(waiting)

    def _conclude(self, waiting: _Waiting, refusal: Exception | None = None) -> None:
        self._waiting.pop(waiting, None)
        if waiting.admitted.done():
            return
        if refusal is None:
            waiting.admitted.set_result(None)
        else:
            waiting.admitted.set_exception(refusal)

    def _refuse_all(self, problem: Exception) -> None:
        for waiting in [*self._waiting]:
            self._conclude(waiting, problem)


def _known_refusal(ticket: Ticket, now: float) -> ApiError | None:
    """Why a request would be refused by what was seen a moment ago; None where one has to look."""
    for rate, need in ticket.wanted:
        if rate.is_known_full(need, now):
            assert ticket.account.rates is not None
            return over_rate(ticket.account.rates, rate, need)
    if not ticket.account.is_free:
        for budget in ticket.account.budgets:
            if budget.is_spent(now):
                return over_budget(budget)
    return None


def _impatient(waiting: _Waiting, now: float) -> ApiError | None:
    """Why a request waits no longer."""
    if now < waiting.patient_until:
        return None
    full = (budget for budget in waiting.ticket.account.budgets if not budget.fits(waiting.ticket.cost))
    budget = next(full, None)
    return None if budget is None else over_budget(budget)


async def _nobody(budget: str, alerts: Sequence[str]) -> None:
    """Where nobody hears of alerts."""
