"""What only a database server can do to its clients."""

import asyncio

import psycopg

from everloom.objects.threads import Thread
from everloom.store.base import Add, Change, Tell
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


def test_a_write_that_is_cancelled_as_it_begins_leaves_nothing_behind() -> None:
    """It begins its transaction and waits for its log's lock in one text: who leaves then knows of neither."""
    url, log = fresh_database(), "rün'_1 \\"

    async def check() -> None:
        database = PostgresDatabase(url, connections=1)
        await database.open()
        store = database.store("proj_a")
        other = await psycopg.AsyncConnection.connect(url)
        await other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"proj_a/{log}"])
        waiting = asyncio.create_task(store.write(Tell("thread.message.delta", b"1"), log=log))
        await asyncio.sleep(0.3)
        assert not waiting.done(), "one transaction at a time appends to a log"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await store.events(log) == []
        left = await other.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE application_name = 'everloom' AND datname = current_database() AND state <> 'idle'"
        )
        assert await left.fetchone() == (0,)
        await other.rollback()
        await store.write(Tell("thread.message.delta", b"2"), log=log)
        assert [event.data for event in await store.events(log)] == [b"2"]
        await other.close()
        await database.close()

    asyncio.run(check())
