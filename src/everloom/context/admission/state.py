"""What one process knows of limits and budgets, by whose they are."""

from collections.abc import Sequence

from everloom.context.admission.budgets import Budget
from everloom.context.admission.clock import SteadyWallClock
from everloom.context.admission.rates import METRICS, ModelRates
from everloom.context.admission.registration import registration
from everloom.context.admission.reservations import ReservationLine
from everloom.context.admission.spending import cost_of
from everloom.context.admission.tickets import Account, Experience
from everloom.context.caller import Caller
from everloom.context.known_rules import Known
from everloom.context.pricing import PriceList
from everloom.objects.ledger import UsageKind
from everloom.objects.organization import ORGANIZATION
from everloom.objects.prices import NOBODYS, billed_name
from everloom.objects.quotas import NANO
from everloom.objects.rules import UNLIMITED, Ceiling, Rules, SpendAlert, limits_of

MOST_ACCOUNTS = 10_000
MOST_LINES = 2_000

_CENT = NANO // 100


def has_budgets(known: Known) -> bool:
    """Whether there is anything for which it matters what a request costs."""
    limits = known.project.spend_limit is not None or known.organization.spend_limit is not None
    return limits or bool(known.alerts or known.organization_alerts)


class _Remembered:
    """An account, and the rules that it was made by."""

    __slots__ = ("account", "known")

    def __init__(self, known: Known, account: Account) -> None:
        self.known = known
        self.account = account


class ProcessState:
    """Accounts by who asks which model, and the reservations, rates and budgets that they share."""

    def __init__(self, prices: PriceList, ceilings: Sequence[Ceiling]) -> None:
        self.process = registration()
        self.registered = False
        """Whether the others know of this process."""
        self.budgets: dict[str, Budget] = {}
        self.lines: dict[tuple[object, ...], ReservationLine] = {}
        self.rates: dict[str, ModelRates] = {}
        self.touched_rates: set[ModelRates] = set()
        self.touched_budgets: set[Budget] = set()
        self._prices = prices
        self._ceilings = ceilings
        self._clock = SteadyWallClock()
        self._accounts: dict[tuple[object, ...], _Remembered] = {}
        self._experiences: dict[tuple[str, str], Experience] = {}

    def known_account(
        self, caller: Caller, kind: UsageKind, model: str | None, backend_model: str, known: Known
    ) -> Account | None:
        """As ``account``, if it was asked for before and by the same rules."""
        remembered = self._accounts.get((caller, kind, model, backend_model))
        if remembered is not None and remembered.known is known:
            return remembered.account
        return None

    def account(self, caller: Caller, kind: UsageKind, model: str | None, backend_model: str, known: Known) -> Account:
        """Whose limits a request passes, by the rules as they are known now."""
        if (account := self.known_account(caller, kind, model, backend_model, known)) is not None:
            return account
        if len(self._accounts) >= MOST_ACCOUNTS:
            self._accounts.clear()
        account = self._account(caller, kind, model, backend_model, known)
        self._accounts[caller, kind, model, backend_model] = _Remembered(known, account)
        return account

    def _account(self, caller: Caller, kind: UsageKind, model: str | None, backend_model: str, known: Known) -> Account:
        budgets = self._budgets(caller.project, known)
        price = self._prices.of(billed_name(kind, backend_model)) if budgets else NOBODYS
        return Account(
            self._line(caller, kind, backend_model),
            None if model is None else self._rates(caller.project, model, known),
            budgets,
            self._experience(caller.project, backend_model),
            price,
            price.batch if caller.batch else 1.0,
            lambda row: cost_of(self._prices, row),
        )

    def _line(self, caller: Caller, kind: UsageKind, model: str) -> ReservationLine:
        key = (caller.project, caller.key_id, caller.user, caller.batch, kind, model)
        if (line := self.lines.get(key)) is None:
            line = self.lines[key] = ReservationLine(caller, kind, model)
        return line

    def _experience(self, project: str, model: str) -> Experience:
        if len(self._experiences) >= MOST_ACCOUNTS:
            self._experiences.clear()
        return self._experiences.setdefault((project, model), Experience())

    def _rates(self, project: str, model: str, known: Known) -> ModelRates | None:
        limits = limits_of(self._ceilings, known.project, model)
        limited = {
            metric.name: limit * metric.unit
            for metric in METRICS
            if (limit := getattr(limits, metric.rule)) < UNLIMITED
        }
        if not limited:
            return None
        id = f"{project}/{model}"
        rates = self.rates.get(id)
        if rates is None:
            rates = self.rates[id] = ModelRates(id, limited, self._clock)
        else:
            rates.limit(limited)
        return rates

    def _budgets(self, project: str, known: Known) -> list[Budget]:
        found = []
        for id, rules, alerts in (
            (project, known.project, known.alerts),
            (ORGANIZATION, known.organization, known.organization_alerts),
        ):
            if rules.spend_limit is not None or alerts:
                found.append(self._budget(id, rules, alerts))
        return found

    def _budget(self, id: str, rules: Rules, alerts: Sequence[SpendAlert]) -> Budget:
        limit = None if rules.spend_limit is None else rules.spend_limit * _CENT
        thresholds = {alert.id: alert.threshold_amount * _CENT for alert in alerts}
        if (budget := self.budgets.get(id)) is None:
            budget = self.budgets[id] = Budget(id, self._clock)
        budget.set_rules(limit, thresholds)
        return budget

    def touch(self, account: Account) -> None:
        """Note that something of an account's has been spent or settled."""
        if account.rates is not None:
            self.touched_rates.add(account.rates)
        self.touched_budgets.update(account.budgets)

    def is_busy(self) -> bool:
        """Whether something may have to be written without anybody asking for it."""
        return bool(self.registered or self.touched_rates or self.touched_budgets)

    def is_idle(self) -> bool:
        """Whether there is nothing left that the others should know of."""
        touched = self.touched_rates or self.touched_budgets
        return not touched and not any(line.stands() for line in self.lines.values())

    def reborn(self) -> None:
        """Be another process to the others: they have held this one for dead, and settled what it had."""
        self.process, self.registered = registration(), False
        for budget in self.budgets.values():
            budget.begin_anew()
        for line in self.lines.values():
            line.forget()

    def forget_empty(self) -> None:
        """Let go of what nothing is reserved for, where there is much of it: callers may make up names."""
        if len(self.lines) < MOST_LINES:
            return
        self.lines = {key: line for key, line in self.lines.items() if not line.is_empty()}
        lines = set(map(id, self.lines.values()))
        self._accounts = {key: each for key, each in self._accounts.items() if id(each.account.line) in lines}
        rates = {id(each.account.rates) for each in self._accounts.values()}
        self.rates = {key: each for key, each in self.rates.items() if id(each) in rates or each in self.touched_rates}
