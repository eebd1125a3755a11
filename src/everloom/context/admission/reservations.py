"""What this process may have under way for a key and a model: kept beforehand, so that a kill loses none of it."""

import time
from collections.abc import Sequence
from operator import sub

from everloom.context.caller import Caller
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.ledger import UsageKind
from everloom.objects.quotas import RESERVED, Reservation
from everloom.store.base import Add, Change, Operation, Remove

IDLE_SECONDS = 5.0
"""How long a reservation stays for what may come next, once all is entered."""


_NOTHING = (0,) * len(RESERVED)


class ReservationLine:
    """One key's and model's. ``under_way`` and the other amounts are of ``RESERVED``, in that order."""

    def __init__(self, caller: Caller, kind: UsageKind, model: str) -> None:
        self.kind = kind
        self.model = model
        self.under_way = [0] * len(RESERVED)
        self.used_at = time.monotonic()
        self._most: Sequence[int] = _NOTHING
        self._asked: Sequence[int] = _NOTHING
        self._peak = [0] * len(RESERVED)
        self._row: Reservation | None = None
        self._new = Reservation(
            id="",
            created_at=0,
            process_id="",
            project_id=caller.project,
            kind=kind,
            key_id=caller.key_id,
            user_id=caller.user,
            model=model,
            batch=caller.batch,
            amounts=[],
        )

    def fits(self, amounts: Sequence[int]) -> bool:
        """Whether so much more is covered by what is reserved."""
        for under_way, amount, most in zip(self.under_way, amounts, self._most, strict=True):
            if amount and under_way + amount > most:
                return False
        return True

    def reserve(self, amounts: Sequence[int]) -> None:
        """Have so much more under way. It must fit."""
        under_way, peak = self.under_way, self._peak
        for place, amount in enumerate(amounts):
            if amount:
                under_way[place] = now = under_way[place] + amount
                if now > peak[place]:
                    peak[place] = now

    def release(self, amounts: Sequence[int]) -> None:
        """It stands in the ledger, or has come to nothing."""
        self.under_way = [*map(sub, self.under_way, amounts)]
        self.used_at = time.monotonic()

    def is_idle(self, now: float) -> bool:
        """Whether its reservation is not needed any more."""
        return self._row is not None and not self.under_way[0] and now - self.used_at >= IDLE_SECONDS

    def is_empty(self) -> bool:
        """Whether nothing would be lost with it."""
        return self._row is None and not self.under_way[0]

    def is_roomy(self) -> bool:
        """Whether much more is reserved than was needed of late."""
        return self._most[0] > 3 * max(self._peak[0], 1)

    def stands(self) -> bool:
        """Whether there is a row of it."""
        return self._row is not None

    def change(self, process: str, wanted: Sequence[int] = _NOTHING) -> Operation:
        """Part of a process's write that makes room for what is ``wanted`` besides what is under way, and for half as
        much again as there was of late.
        """
        self._asked = [
            max(peak, under_way + more) + max(peak, under_way + more) // 2
            for peak, under_way, more in zip(self._peak, self.under_way, wanted, strict=True)
        ]
        self._most = [*map(min, self._most, self._asked)]
        self._peak = [*self.under_way]
        amounts = [*self._asked]
        if self._row is None:
            return Add(self._made(process, amounts))

        def edit(row: Reservation) -> None:
            row.amounts = amounts

        return Change(Reservation, self._row.id, edit)

    def _made(self, process: str, amounts: list[int]) -> Reservation:
        new = self._new
        new.id, new.created_at, new.process_id, new.amounts = new_id("rsv_"), now(), process, amounts
        return new

    def written(self) -> None:
        """That write is through."""
        self._row = self._new
        self._most = self._asked

    def drop(self) -> Remove[Reservation]:
        """Part of a write that takes the reservation away; from now on nothing fits."""
        assert self._row is not None
        id, self._row, self._most = self._row.id, None, _NOTHING
        return Remove(Reservation, [id])

    def is_kept_as(self, id: str) -> bool:
        """Whether its row has this id."""
        return self._row is not None and self._row.id == id

    def forget(self) -> None:
        """Its row is gone: somebody has held this process for dead."""
        self._row, self._most = None, _NOTHING
