"""An executor's pen: writes of one run in order, gathered while the last one is under way."""

import asyncio
from typing import Any

from everloom.context import Context
from everloom.kit.clock import now
from everloom.objects.runs import Run, RunLease
from everloom.store.base import Add, Change, Conflict, Missing, Operation, Written


class Superseded(Exception):
    """Another executor has taken the run over, or the run is gone: this one must not write any more."""


class RunWriter:
    """Keeps operations of a run and wakes whoever follows it; nothing is told that is not kept.

    ``enqueue`` returns at once: what gathers while a transaction is under way goes into the next one, so
    fast streams make large transactions and slow ones are told without delay.
    """

    def __init__(self, ctx: Context, run_id: str, holder: str) -> None:
        self._ctx = ctx
        self._run_id = run_id
        self._holder = holder
        self._waiting: list[Operation] = []
        self._under_way: asyncio.Task[Any] | None = None

    async def acquire(self, begin: Change[Run] | None = None) -> tuple[Run, RunLease]:
        """Make this executor the run's holder; whoever held it writes nothing more. Both as they stand then.

        ``begin`` is done to the run in the same write; what its edit raises leaves everything as it was. A run whose
        lease is lost gets a new one, of nobody's key.
        """

        def hold(lease: RunLease) -> None:
            lease.holder = self._holder

        lease = Change(RunLease, self._run_id, hold)
        run = begin or Change(Run, self._run_id)
        try:
            written = await self._ctx.store.write(lease, run, log=self._run_id)
        except Missing as missing:
            if missing.cls is Run:
                raise Superseded from missing
            return await self._lease_anew()
        if begin is not None:
            self._ctx.ports.bus.wake(self._run_id)
        return written[run], written[lease]

    async def _lease_anew(self) -> tuple[Run, RunLease]:
        run: Change[Run] = Change(Run, self._run_id)
        lease = Add(RunLease(id=self._run_id, created_at=now(), holder=self._holder))
        try:
            written = await self._ctx.store.write(run, lease)
        except (Missing, Conflict) as other:
            raise Superseded from other
        return written[run], written[lease]

    def enqueue(self, *operations: Operation) -> None:
        """Keep soon. What went wrong with earlier ones is raised here or by ``commit``."""
        if self._under_way is not None and self._under_way.done():
            done, self._under_way = self._under_way, None
            done.result()
        self._waiting.extend(operations)
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._drain())

    async def commit(self, *operations: Operation) -> Written:
        """Keep now, together with all that was enqueued before.

        A caller that is cancelled meanwhile does not take the transaction along: what was told and
        what is kept must not part.
        """
        await self._settle()
        before, self._waiting = self._waiting, []
        writing = asyncio.create_task(self._write([*before, *operations]))
        self._under_way = writing
        await self._settle()
        return writing.result()

    async def clear(self) -> None:
        """Wait for the transaction under way, whatever comes of it; forget what has not begun."""
        self._waiting = []
        if self._under_way is not None:
            await asyncio.gather(self._under_way, return_exceptions=True)
            self._under_way = None

    async def _settle(self) -> None:
        while (task := self._under_way) is not None:
            try:
                await asyncio.shield(task)
            finally:
                if task.done() and self._under_way is task:
                    self._under_way = None

    async def _drain(self) -> None:
        while self._waiting:
            operations, self._waiting = self._waiting, []
            await self._write(operations)

    async def _write(self, operations: list[Operation]) -> Written:
        guard: Change[RunLease] = Change(RunLease, self._run_id, holder=self._holder)
        try:
            written = await self._ctx.store.write(guard, *operations, log=self._run_id)
        except Missing as missing:
            if missing.cls in (Run, RunLease):
                raise Superseded from missing
            raise
        self._ctx.ports.bus.wake(self._run_id)
        return written
