"""What only a database server can do to its clients."""

import asyncio

import psycopg

from everloom.objects.threads import Thread
from everloom.store.base import Add, Change
from everloom.store.postgres import PostgresDatabase
from tests.postgres import fresh_database
from tests.store.things import a_thread


def test_connections_that_the_server_closed_are_replaced() -> None:
    url = fresh_database()
    thread, other = a_thread(), a_thread()

    def cut() -> int:
        with psycopg.connect(url, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'everloom'"
                " AND datname = current_database()"
            )
            return len(rows.fetchall())

    async def check() -> None:
        database = PostgresDatabase(url)
        await database.open()
        store = database.store("proj_a")
        await asyncio.gather(store.write(Add(thread)), *(store.all(Thread) for _ in range(5)))
        assert cut() > 0
        assert await store.get(Thread, thread.id) == thread
        assert cut() > 0
        await store.write(Add(other))
        assert await store.all(Thread) == [thread, other]
        await database.close()

    asyncio.run(check())


def test_a_write_waits_for_the_row_that_another_one_holds() -> None:
    url = fresh_database()
    thread = a_thread()

    async def check() -> None:
        database = PostgresDatabase(url)
        await database.open()
        store = database.store("proj_a")
        await store.write(Add(thread))
        connection = await psycopg.AsyncConnection.connect(url)
        await connection.execute("SELECT 1 FROM threads WHERE id = %s FOR UPDATE", [thread.id])
        change = Change(Thread, thread.id, lambda thread: thread.metadata.update(a="b"))
        waiting = asyncio.create_task(store.write(change))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await connection.rollback()
        assert (await waiting)[change].metadata == {"a": "b"}
        await connection.close()
        await database.close()

    asyncio.run(check())
