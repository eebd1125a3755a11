"""Batches of files: put into a store together, looked at and cancelled together.

A batch keeps who its members are. What state it is in is counted from its files when somebody asks.
"""

from collections.abc import Sequence

import msgspec

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import NotFound
from everloom.kit.ids import new_id
from everloom.objects.base import Page, PageQuery, encode
from everloom.objects.vector_stores import (
    FileBatch,
    FileBatchMember,
    FileCounts,
    FileStatus,
    IndexTask,
    NewVectorStoreFile,
    VectorStoreFile,
    file_key,
)
from everloom.store.base import Change, Remove
from everloom.work.vector_stores.stores import Tally, add_files

_AT_ONCE = 100
"""Members that are read at a time for a page."""

_files = msgspec.json.Decoder(VectorStoreFile)


async def create_batch(ctx: Context, store_id: str, files: Sequence[NewVectorStoreFile]) -> FileBatch:
    """Put files into a store as a batch. Errors: as ``add_files``."""
    batch = FileBatch(id=new_id("vsfb_"), created_at=now(), vector_store_id=store_id)
    await add_files(ctx, store_id, files, batch)
    return await get_batch(ctx, store_id, batch.id)


async def get_batch(ctx: Context, store_id: str, batch_id: str) -> FileBatch:
    """A batch as it stands. Errors: 404."""
    batch = await ctx.store.get(FileBatch, batch_id, vector_store_id=store_id)
    return shown(batch, await files_of(ctx, batch))


async def files_of(ctx: Context, batch: FileBatch) -> list[VectorStoreFile]:
    """The files of a batch that are still in the store, in the order they were named."""
    return await _standing(ctx, await ctx.store.all(FileBatchMember, batch_id=batch.id))


async def _standing(ctx: Context, members: Sequence[FileBatchMember]) -> list[VectorStoreFile]:
    keys = [file_key(member.vector_store_id, member.file_id) for member in members]
    rows = {row.key: row for row in await ctx.store.all(VectorStoreFile, id=keys)}
    return [rows[key] for key in keys if key in rows]


async def page_of_files(
    ctx: Context, batch: FileBatch, page: PageQuery, status: FileStatus | None = None
) -> Page[VectorStoreFile]:
    """A page of a batch's files that are still in the store, those in one state where it is said; no more are read than
    it takes to fill it. A cursor whose file has gone since (by a client that deletes as it lists) counts as none.
    """
    cursors = {name: f"{batch.id}.{id}" for name in ("after", "before") if (id := getattr(page, name)) is not None}
    standing = {row.id for row in await ctx.store.all(FileBatchMember, id=list(cursors.values()))} if cursors else set()
    places = {name: key for name, key in cursors.items() if key in standing}
    backward = places.keys() == {"before"}
    found: list[VectorStoreFile] = []
    while True:
        query = PageQuery(limit=_AT_ONCE, order=page.order, **places)
        members = await ctx.store.find(FileBatchMember, query, batch_id=batch.id)
        some = [file for file in await _standing(ctx, members.decode()) if status in (None, file.status)]
        found = [*some, *found] if backward else [*found, *some]
        if len(found) > page.limit or not members.has_more:
            break
        places |= {"before": members.first_id or ""} if backward else {"after": members.last_id or ""}
    cut = found[-page.limit :] if backward else found[: page.limit]
    return Page(
        [encode(file) for file in cut],
        _files,
        first_id=cut[0].id if cut else None,
        last_id=cut[-1].id if cut else None,
        has_more=len(found) > len(cut),
    )


def shown(batch: FileBatch, files: Sequence[VectorStoreFile]) -> FileBatch:
    """The batch with its counts, and the state that follows from them."""
    counts = FileCounts(total=len(files))
    for file in files:
        setattr(counts, file.status, getattr(counts, file.status) + 1)
    batch.file_counts, batch.status = counts, _status(batch.status, counts)
    return batch


def _status(kept: FileStatus, counts: FileCounts) -> FileStatus:
    if counts.in_progress:
        return "in_progress"
    if kept == "cancelled" and counts.cancelled:
        return "cancelled"
    return "failed" if counts.failed and counts.failed == counts.total else "completed"


async def cancel_batch(ctx: Context, store_id: str, batch_id: str) -> FileBatch:
    """Stop reading what has not been read yet. What is done stays; a batch that is done stays as it is. Errors: 404."""
    batch = await ctx.store.get(FileBatch, batch_id, vector_store_id=store_id)
    while open := [file for file in await files_of(ctx, batch) if file.status == "in_progress"]:
        tally = Tally()

        def edit(row: VectorStoreFile, tally: Tally = tally) -> None:
            if row.status == "in_progress":
                tally.note(row.status, "cancelled")
                row.status = "cancelled"

        operations = tally.around(
            store_id,
            *(Change(VectorStoreFile, file.key, edit) for file in open),
            Remove(IndexTask, vector_store_id=store_id, file_id=[file.id for file in open]),
            Change(FileBatch, batch_id, _cancel),
        )
        try:
            await ctx.store.write(*operations)
        except NotFound:
            continue  # one of them was taken out meanwhile
    ctx.ports.bus.wake(store_id)
    return await get_batch(ctx, store_id, batch_id)


def _cancel(batch: FileBatch) -> None:
    batch.status = "cancelled"
