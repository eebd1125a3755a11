"""Compacts the log of a run, and is gone, as by ``kill -9``, within the write, behind all that it has done.

``python -m tests.work.dying_compaction ADDRESS PROJECT RUN``
"""

import asyncio
import os
import signal
import sys
from typing import Any

from everloom.objects.runs import Run
from everloom.store.base import Change, Operation, Pack, Store, Written
from everloom.work.runs.compaction import compact
from tests.store.databases import database_at


class DyingStore:
    """A store whose write of a packed log has an edit at its end that never returns."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def write(self, *operations: Operation, log: str | None = None) -> Written:
        packed = [operation for operation in operations if isinstance(operation, Pack)]
        last: list[Change[Run]] = [Change(Run, each.log, _die) for each in packed]
        return await self._inner.write(*operations, *last, log=log)


def _die(run: Run) -> None:
    print("packed", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


async def main(address: str, project: str, run_id: str) -> None:
    database = database_at(address)
    await database.open()
    store: Any = DyingStore(database.store(project))
    await compact(store, run_id)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
