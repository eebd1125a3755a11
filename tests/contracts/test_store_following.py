"""The store's contract: what follows from objects, in the write itself, on every adapter."""

import pytest

from everloom.kit.errors import NotFound
from everloom.objects.assistants import Assistant
from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.store.base import Add, Change, Database, Each, Operation, Start
from tests.contracts.test_store_starts import heard
from tests.store.databases import on_every_database
from tests.store.things import a_run, a_thread


@on_every_database
async def test_each_object_that_fits_is_followed_by_what_it_gives(database: Database) -> None:
    told = heard(database)
    store, other = database.store("proj_a"), database.store("proj_b")
    threads = [a_thread(), a_thread()]
    await store.write(*map(Add, threads))
    await other.write(Add(a_thread()))
    made: list[Thread] = []

    def follow(thread: Thread) -> list[Operation]:
        made.append(a_thread())
        return [Add(made[-1]), Start("run", thread.id)]

    first, each = Add(a_thread()), Each(Thread, follow)
    written = await store.write(each, first)
    assert written[first] == first.object
    # Found where it stands among the operations, and followed behind all of them.
    assert [start.key for start in written.starts] == [thread.id for thread in threads]
    assert [job.key for job in told] == [job.key for job in await database.waiting("live", 10)]
    assert len(await store.all(Thread)) == 5
    assert len(await other.all(Thread)) == 1


@on_every_database
async def test_nothing_follows_where_nothing_fits_or_the_write_fails(database: Database) -> None:
    told = heard(database)
    store = database.store("proj_a")
    thread = a_thread()
    await store.write(Each(Thread, lambda found: [Start("run", found.id)]), Add(thread))
    run = a_run(thread.id)
    await store.write(Add(run))
    each = Each(Run, lambda found: [Start("run", found.id)], thread_id="thread_other")
    assert (await store.write(each)).starts == []
    with pytest.raises(NotFound):
        await store.write(Each(Thread, lambda found: [Start("run", found.id)]), Change(Assistant, "asst_none"))
    assert told == await database.waiting("live", 10) == []


@on_every_database
async def test_a_change_is_followed_by_what_it_has_made(database: Database) -> None:
    told = heard(database)
    store = database.store("proj_a")
    thread, endpoint = a_thread(), a_thread()
    await store.write(Add(thread), Add(endpoint))

    def edit(thread: Thread) -> None:
        thread.metadata = {"state": "over"}

    def follow(thread: Thread) -> list[Operation]:
        state = thread.metadata["state"]
        return [Each(Thread, lambda other: [Start("tell", f"{other.id}:{state}", "outgoing")])]

    change = Change(Thread, thread.id, edit, then=follow)
    written = await store.write(change)
    assert written[change].metadata == {"state": "over"}
    assert [job.key for job in told] == [f"{each}:over" for each in (thread.id, endpoint.id)]
    assert await database.waiting("outgoing", 10) == told
