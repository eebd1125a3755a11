"""An executor's pen: writes of one run in order, gathered while the last one is under way."""

import asyncio
from typing import Any

from everloom.context import Context
from everloom.kit.errors import NotFound
from everloom.objects.runs import RunLease
from everloom.store.base import Change, Operation, change_one


class Superseded(Exception):
    """Another executor has taken the run over, or the run is gone: this one must not write any more."""


class Journal:
    """Keeps operations of a run and wakes whoever follows it; nothing is told that is not kept.

    ``put`` returns at once: what gathers while a transaction is under way goes into the next one, so
    fast streams make large transactions and slow ones are told without delay.
    """

    def __init__(self, ctx: Context, run_id: str, holder: str) -> None:
        self._ctx = ctx
        self._run_id = run_id
        self._holder = holder
        self._waiting: list[Operation] = []
        self._writer: asyncio.Task[Any] | None = None

    async def take(self) -> RunLease:
        """Make this executor the run's holder; whoever held it writes nothing more."""

        def hold(lease: RunLease) -> None:
            lease.holder = self._holder

        try:
            return await change_one(self._ctx.store, Change(RunLease, self._run_id, hold))
        except NotFound as gone:
            raise Superseded from gone

    def put(self, *operations: Operation) -> None:
        """Keep soon. What went wrong with earlier ones is raised here or by ``write``."""
        if self._writer is not None and self._writer.done():
            writer, self._writer = self._writer, None
            writer.result()
        self._waiting.extend(operations)
        if self._writer is None:
            self._writer = asyncio.create_task(self._drain())

    async def write(self, *operations: Operation) -> list[Any]:
        """Keep now, together with all that was put before; the results of ``operations``.

        A caller that is cancelled meanwhile does not take the transaction along: what was told and
        what is kept must not part.
        """
        await self._settle()
        before, self._waiting = self._waiting, []
        writer = asyncio.create_task(self._commit([*before, *operations]))
        self._writer = writer
        await self._settle()
        return writer.result()[len(before) :]

    async def close(self) -> None:
        """Wait for the transaction under way; forget what has not begun."""
        self._waiting = []
        if self._writer is not None:
            await asyncio.gather(self._writer, return_exceptions=True)
            self._writer = None

    async def _settle(self) -> None:
        while (writer := self._writer) is not None:
            try:
                await asyncio.shield(writer)
            finally:
                if writer.done() and self._writer is writer:
                    self._writer = None

    async def _drain(self) -> None:
        while self._waiting:
            operations, self._waiting = self._waiting, []
            await self._commit(operations)

    async def _commit(self, operations: list[Operation]) -> list[Any]:
        guard: Change[RunLease] = Change(RunLease, self._run_id, holder=self._holder)
        try:
            _, *results = await self._ctx.store.write(guard, *operations, log=self._run_id)
        except NotFound as gone:
            raise Superseded from gone
        self._ctx.ports.bus.wake(self._run_id)
        return results
