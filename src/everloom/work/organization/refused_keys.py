"""Keys that were refused where an admin key is asked for, in the audit log as ``login.failed``.

They are counted, so that nobody can fill the log by being refused: the first is told at once, what follows together, at
first after a minute and then at twice the time, until that is an hour. After a quiet hour it begins anew. So a process
writes some thirty events a day of each code at most.
"""

import asyncio
import logging
import time
from contextlib import suppress

from msgspec import Struct

from everloom.kit.errors import ApiError, Unavailable
from everloom.kit.log import outage
from everloom.objects.audit import AuditActor, AuditEvent, Origin
from everloom.store.base import Audit, Store

log = logging.getLogger(__name__)

FIRST_PAUSE = 60.0
LONGEST_PAUSE = 3600.0


class _Tally(Struct):
    """Refusals for one reason that have not been told; the last came from ``origin``."""

    count: int
    origin: Origin


class RefusedKeys:
    """What one process has refused."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._untold: dict[str, _Tally] = {}
        self._telling: asyncio.Task[None] | None = None
        self._pause = 0.0
        self._told_at = self._last = float("-inf")
        self._closing = asyncio.Event()

    def note(self, error: ApiError, origin: Origin) -> None:
        """Count a refusal, and have it told in its time. Who has shown no key at all is none."""
        if not error.code:
            return
        now = time.monotonic()
        if now - self._last > LONGEST_PAUSE:
            self._pause = 0.0
        self._last = now
        tally = self._untold.setdefault(error.code, _Tally(0, origin))
        tally.count += 1
        tally.origin = origin
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        while self._untold:
            if (seconds := self._told_at + self._pause - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), seconds)
            untold, self._untold = self._untold, {}
            self._told_at = time.monotonic()
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            try:
                await self._store.write(Audit(tuple(_event(code, tally) for code, tally in untold.items())))
            except Unavailable as away:
                if self._closing.is_set():
                    _lost(untold)
                    return
                outage("the audit log", away)
                for code, tally in untold.items():
                    self._untold.setdefault(code, _Tally(0, tally.origin)).count += tally.count
            except Exception:
                log.exception("refused keys were not told in the audit log")

    async def close(self, grace: float) -> None:
        """Tell what was counted and not told yet; what the database does not take in ``grace`` seconds is lost."""
        self._closing.set()
        if self._telling is None:
            return
        done, _ = await asyncio.wait({self._telling}, timeout=grace)
        if not done:
            _lost(self._untold)
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)


def _lost(untold: dict[str, _Tally]) -> None:
    count = sum(tally.count for tally in untold.values())
    log.error("the audit log has lost %d refused keys: the database is away", count)


def _event(code: str, tally: _Tally) -> AuditEvent:
    """It says nothing of the key: somebody may have typed a password."""
    times = "A request" if tally.count == 1 else f"{tally.count} requests"
    text = f"{times} to the organization's API came with a key that was refused; the last from this address."
    return AuditEvent(
        type="login.failed",
        details={"error_code": code, "error_message": text},
        actor=AuditActor(type="session"),
        origin=tally.origin,
    )
