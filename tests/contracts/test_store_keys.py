"""A kind that its table knows by another attribute than its id: a file's id is its own in every vector store."""

import pytest

from everloom.kit.errors import NotFound
from everloom.objects.base import PageQuery
from everloom.objects.vector_stores import VectorStoreFile, file_key
from everloom.store.base import Add, Change, Conflict, Database, Remove, change_one
from tests.store.databases import on_every_database


def a_file_in(store_id: str, file_id: str = "file-1") -> VectorStoreFile:
    return VectorStoreFile(id=file_id, created_at=1, vector_store_id=store_id)


@on_every_database
async def test_one_id_stands_once_for_each_key(database: Database) -> None:
    store = database.store("proj_a")
    one, two = a_file_in("vs_1"), a_file_in("vs_2")
    await store.write(Add(one), Add(two))
    assert await store.get(VectorStoreFile, file_key("vs_1", "file-1")) == one
    assert await store.get(VectorStoreFile, two.key, vector_store_id="vs_2") == two
    assert await store.all(VectorStoreFile, file_id="file-1") == [one, two]
    assert await store.all(VectorStoreFile, id=[two.key]) == [two]
    with pytest.raises(Conflict):
        await store.write(Add(a_file_in("vs_1")))
    with pytest.raises(NotFound, match=r"^No vector store file found with id 'file-1'\.$"):
        await store.get(VectorStoreFile, file_key("vs_3", "file-1"))


@on_every_database
async def test_changes_and_removals_go_by_the_key(database: Database) -> None:
    store = database.store("proj_a")
    one, two = a_file_in("vs_1"), a_file_in("vs_2")
    await store.write(Add(one), Add(two))

    def end(file: VectorStoreFile) -> None:
        file.status = "completed"

    def move(file: VectorStoreFile) -> None:
        file.vector_store_id = "vs_9"

    changed = await change_one(store, Change(VectorStoreFile, one.key, end))
    assert changed.status == "completed"
    assert await store.all(VectorStoreFile, status="in_progress") == [two]
    with pytest.raises(ValueError, match="made"):
        await store.write(Change(VectorStoreFile, two.key, move))
    await store.write(Remove(VectorStoreFile, one.key))
    assert await store.all(VectorStoreFile) == [two]


@on_every_database
async def test_pages_show_ids_and_are_turned_by_keys(database: Database) -> None:
    store = database.store("proj_a")
    files = [a_file_in("vs_1", f"file-{number}") for number in range(5)]
    await store.write(*map(Add, files))
    page = await store.find(VectorStoreFile, PageQuery(limit=2, order="asc"), vector_store_id="vs_1")
    assert (page.first_id, page.last_id) == ("file-0", "file-1")
    query = PageQuery(limit=2, order="asc", after=file_key("vs_1", "file-1"))
    page = await store.find(VectorStoreFile, query, vector_store_id="vs_1")
    assert page.decode() == files[2:4]
