"""A process that writes as fast as it may, names what was acknowledged, and waits to be killed.

``python -m tests.store.writer ADDRESS``: a line ``<thread> <message>`` for each acknowledged pair of objects.
"""

import asyncio
import sys

from everloom.store.base import Add, Database
from tests.store.databases import database_at
from tests.store.things import a_message, a_thread


async def _write(database: Database) -> None:
    store = database.store("proj_a")
    while True:
        thread = a_thread()
        message = a_message(thread.id, "x" * 2000)
        await store.write(Add(thread), Add(message, tell=("thread.message.created",)), log=thread.id)
        sys.stdout.write(f"{thread.id} {message.id}\n")
        sys.stdout.flush()


async def _main(address: str) -> None:
    database = database_at(address)
    await database.open()
    await asyncio.gather(*(_write(database) for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
