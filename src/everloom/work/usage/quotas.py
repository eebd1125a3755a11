"""Upkeep of limits and budgets: what dead processes had reserved is settled, what budgets know is compared with the
ledger, and windows that nobody uses go.
"""

import hashlib
import logging
from collections import Counter
from typing import Any

from everloom.context import Ports
from everloom.context.admission.budgets import month_of
from everloom.context.admission.registration import is_dead
from everloom.context.admission.spending import cost_of, spent
from everloom.context.pricing import PriceList
from everloom.kit.clock import now
from everloom.kit.errors import NotFound, Unavailable
from everloom.objects.ledger import DAY, LedgerRow
from everloom.objects.organization import ORGANIZATION
from everloom.objects.quotas import RESERVED, RateWindows, Reservation, ServerProcess, Spend
from everloom.store.base import SYSTEM, Change, Enter, Missing, Operation, Remove
from everloom.work.organization.due_alerts import due_alerts, send_alerts

log = logging.getLogger(__name__)

BURY_SECONDS = 5.0
COMPARE_SECONDS = 60.0
COMPARE_SHARE = 0.1
PURGE_SECONDS = 600.0

_UNUSED_SECONDS = 600
"""Behind the end of all that stands in a window."""


class _Alive(Exception):
    """It has said so in the meantime."""


async def bury(ports: Ports) -> None:
    """Settle what dead processes had reserved: it stands as used, as an estimate."""
    by_time = not ports.deadlines.unsettled()  # Else this machine's clock has just jumped, and says nothing of others.
    for _, process in await ports.database.across(ServerProcess):
        if is_dead(process, by_time=by_time):
            try:
                await _bury(ports, process)
            except Unavailable:
                raise
            except Exception:  # The others are not to wait for one that cannot be settled.
                log.exception("what %s had reserved cannot be settled", process.id)


async def _bury(ports: Ports, process: ServerProcess) -> None:
    store, prices = ports.database.store(SYSTEM), ports.prices
    reserved = await store.all(Reservation, process_id=process.id)
    rows = tuple(_estimated(each, prices) for each in reserved if any(each.amounts))
    costs: Counter[str] = Counter()
    for row in rows:
        costs.update(dict.fromkeys((row.project, ORGANIZATION), cost_of(prices, row)))
    spends = [spend for spend in await store.all(Spend) if process.id in spend.shares]
    operations: list[Operation] = [_settling(spend.id, process.id, costs[spend.id]) for spend in spends]

    def still_dead(row: ServerProcess) -> None:
        if not is_dead(row):
            raise _Alive

    try:
        await store.write(
            Change(ServerProcess, process.id, still_dead),
            *operations,
            Remove(Reservation, process_id=process.id),
            Remove(ServerProcess, process.id),
            Enter(rows),
        )
    except (_Alive, Missing):  # Or somebody else has just done so.
        return


def _settling(spend_id: str, process_id: str, cost: int) -> Change[Spend]:
    def edit(spend: Spend) -> None:
        if spend.shares.pop(process_id, None) is not None:
            spend.settled += cost

    return Change(Spend, spend_id, edit)


def _estimated(reserved: Reservation, prices: PriceList) -> LedgerRow:
    """The row of what one process had reserved for one key and model."""
    kind: Any = reserved.kind
    amounts: dict[str, Any] = dict(zip(RESERVED, reserved.amounts, strict=True))
    if kind == "transcribe" and prices.of(reserved.model).minute:
        amounts["input_tokens"] = 0  # What is paid by the minute is not paid by the token as well.
    return LedgerRow(
        at=now(),
        id=int.from_bytes(hashlib.sha256(reserved.id.encode()).digest()[:8], "big") >> 1,
        project=reserved.project_id,
        kind=kind,
        key_id=reserved.key_id,
        user_id=reserved.user_id,
        model=reserved.model,
        batch=reserved.batch,
        estimated=True,
        **amounts,
    )


async def compare(ports: Ports) -> None:
    """Have budgets know of everything that stands in the ledger: storage, and what was used before there was a budget.

    They never know less than the ledger, and so refuse too early rather than too late. What another server's clock, or
    this one's before it was corrected, has taken for the next month goes on as this one.
    """
    store, is_settled = ports.database.store(SYSTEM), not ports.deadlines.unsettled()
    for spend in await store.all(Spend):
        project, month = None if spend.id == ORGANIZATION else spend.id, month_of(now())
        cost = await spent(ports.database.ledger, ports.prices, project)
        if month != month_of(now()):
            continue
        ends_soon = month != month_of(now() + DAY)  # Then a clock that is a little ahead is right soon.
        try:
            await store.write(_at_least(spend.id, month, cost, turns_back=is_settled and not ends_soon))
        except NotFound:
            continue
        if due := await due_alerts(ports, spend.id):
            await send_alerts(ports, spend.id, due)


def _at_least(spend_id: str, month: str, cost: int, *, turns_back: bool) -> Change[Spend]:
    def edit(spend: Spend) -> None:
        # What stands in the ledger and was not reported yet is held by whoever will report it.
        known = max(0, cost - sum(share.held for share in spend.shares.values()))
        if spend.month == month:
            spend.settled = max(spend.settled, known)
        elif turns_back and spend.month > month:
            spend.turn_back(month, known)

    return Change(Spend, spend_id, edit)


async def purge(ports: Ports) -> None:
    """Take away windows in which nothing counts any more: callers may make up models."""
    store = ports.database.store(SYSTEM)
    async for _, windows in ports.database.walk(RateWindows):
        if _is_unused(windows):
            try:
                await store.write(Change(RateWindows, windows.id, _still_unused), Remove(RateWindows, windows.id))
            except (_Alive, Missing):
                continue


def _is_unused(windows: RateWindows) -> bool:
    longest = DAY if windows.windows.get("requests_day") else 0
    return windows.at + longest + _UNUSED_SECONDS < now()


def _still_unused(windows: RateWindows) -> None:
    if not _is_unused(windows):
        raise _Alive
