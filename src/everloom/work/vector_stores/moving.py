"""Vector stores that come from elsewhere with the files that are in them, which are read again."""

from collections.abc import Mapping, Sequence

from everloom.context import Context
from everloom.objects.vector_stores import FileCounts, StoreModel, VectorStore, VectorStoreFile
from everloom.store.base import Add, Change, Operation
from everloom.work.vector_stores.stores import asking, has_expired, reading


def moving_in(ctx: Context, store: VectorStore, rank: int) -> list[Operation]:
    """What keeps a store as it was, empty: the times of its life do not begin anew."""
    store.file_counts, store.usage_bytes = FileCounts(), 0
    store.status = "expired" if has_expired(store) else "completed"
    model = StoreModel(id=store.id, created_at=store.created_at, model=ctx.ports.limits.embedding_model)
    return [Add(store, rank=rank), Add(model)]


def moving_files_in(
    ctx: Context, store: VectorStore, rows: Sequence[VectorStoreFile], ranks: Mapping[str, int]
) -> list[Operation]:
    """What puts files into a store, as its files were; those that could be searched there are to be read, unless the
    store has expired. ``ranks`` are those of the rows, by their keys.
    """
    expired = has_expired(store)
    read: list[str] = []
    for row in rows:
        if not expired and row.status in ("completed", "in_progress"):
            row.status, row.last_error, row.usage_bytes = "in_progress", None, 0
            read.append(row.id)
        elif row.status == "in_progress":
            row.status = "cancelled"

    def count(store: VectorStore) -> None:
        counts = store.file_counts
        for row in rows:
            setattr(counts, row.status, getattr(counts, row.status) + 1)
            counts.total += 1
            store.usage_bytes += 0 if store.status == "expired" else row.usage_bytes
        if store.status != "expired":
            store.status = "in_progress" if counts.in_progress else "completed"

    tasks = reading(ctx.caller, store.id, read)
    for task in tasks:
        task.moved = True
    adding = [Add(row, rank=ranks[row.key]) for row in rows]
    return [Change(VectorStore, store.id, count), *adding, *asking(*tasks)]
