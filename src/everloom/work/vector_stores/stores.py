"""Vector stores and the files in them: what is kept when files come and go. The reading of files is ``ingest.py``'s.

A store's counts change in the write that changes its files, so they are true whenever they are looked at.
What has to be done to the chunks is written down in that same write (``IndexTask``), so a crash forgets nothing.
"""

import logging
from collections.abc import Iterable, Sequence

from everloom.context import Context
from everloom.context.caller import Caller
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, BadRequest, NotFound, Unavailable
from everloom.kit.ids import new_id
from everloom.kit.log import outage
from everloom.objects.base import Metadata
from everloom.objects.files import File
from everloom.objects.vector_stores import (
    DEFAULT_CHUNKING,
    ChunkingRequest,
    ExpiresAfter,
    FileBatch,
    FileBatchMember,
    FileStatus,
    IndexTask,
    NewVectorStoreFile,
    StaticChunkingStrategy,
    StoreModel,
    VectorStore,
    VectorStoreFile,
    file_key,
)
from everloom.store.base import Add, Change, Conflict, Operation, Remove, Start
from everloom.work.vector_stores.extraction import refuse_unsupported

log = logging.getLogger(__name__)

INGEST_JOB = "ingest"
"""Jobs of this kind have the ``job`` of ``IndexTask``s as their key, and do those."""

MAX_FILES = 10_000
"""Files a store may have."""

THREAD_STORE = ExpiresAfter(anchor="last_active_at", days=7)
"""How long a store lives that was made for a thread."""

_AT_ONCE = 500
"""Files put into a new store in one write. A batch is one write, however many it has."""

_GROUP = 20
"""Files a job reads, one after the other."""

_TOUCH_SECONDS = 60
_DAY = 86_400
_TRIES = 10


class ExpiredStore(ApiError):
    """A store that was not used for longer than it was to live; nothing can be found in it any more."""

    def __init__(self, store_id: str) -> None:
        super().__init__(400, f"Vector store {store_id} is expired.", code="vector_store_expired")


class Tally:
    """What one write does to the counts of its store. Begun anew each time the write's edits are called.

    ``used``: it is a use of the store, whose life begins again with it.
    """

    def __init__(self, added: int = 0, *, used: bool = True) -> None:
        self._added = added
        self._used = used
        self._moves: list[tuple[FileStatus | None, FileStatus | None, int]] = []

    def begin(self, store: VectorStore) -> None:
        self._moves = [(None, "in_progress", 0)] * self._added

    def begin_alive(self, store: VectorStore) -> None:
        """As ``begin``, for a store that may still take files. Errors: ``ExpiredStore``."""
        if has_expired(store):
            raise ExpiredStore(store.id)
        self.begin(store)

    def note(self, old: FileStatus, new: FileStatus | None, usage: int = 0) -> None:
        """A file went from ``old`` to ``new`` (None: away), and uses so many bytes more."""
        self._moves.append((old, new, usage))

    def end(self, store: VectorStore) -> None:
        """Add up."""
        counts = store.file_counts
        for old, new, usage in self._moves:
            if old is not None:
                setattr(counts, old, getattr(counts, old) - 1)
            if new is not None:
                setattr(counts, new, getattr(counts, new) + 1)
            counts.total += (new is not None) - (old is not None)
            store.usage_bytes += usage
        if counts.total > MAX_FILES:
            raise BadRequest(f"A vector store can have at most {MAX_FILES} files.", param="file_id")
        if store.status != "expired":
            store.status = "in_progress" if counts.in_progress else "completed"
            if self._used:
                keep_alive(store)

    def around(self, store_id: str, *operations: Operation, alive: bool = False) -> list[Operation]:
        """The operations on files, between the store's own."""
        begin = self.begin_alive if alive else self.begin
        return [Change(VectorStore, store_id, begin), *operations, Change(VectorStore, store_id, self.end)]


def keep_alive(store: VectorStore) -> None:
    """Count the store's life from now."""
    store.last_active_at = now()
    after = store.expires_after
    store.expires_at = None if after is None else store.last_active_at + after.days * _DAY


def has_expired(store: VectorStore) -> bool:
    """Whether its time is over, noted already or not."""
    return store.status == "expired" or (store.expires_at is not None and store.expires_at <= now())


# --- stores ----------------------------------------------------------------------------------------------------------


async def create_store(
    ctx: Context,
    *,
    name: str | None = None,
    description: str | None = None,
    file_ids: Sequence[str] = (),
    chunking: ChunkingRequest | None = None,
    expires_after: ExpiresAfter | None = None,
    metadata: Metadata | None = None,
) -> VectorStore:
    """Make a store and begin to read its files. Errors: 404 for a file that is not there, 400 for one of a kind that
    is not read, or for a chunking.
    """
    files = [NewVectorStoreFile(file_id=id, chunking_strategy=chunking) for id in dict.fromkeys(file_ids)]
    for file in files:
        settled(file.chunking_strategy)
    await check_searchable(ctx, [file.file_id for file in files])
    store = VectorStore(
        id=new_id("vs_"), created_at=now(), name=name, expires_after=expires_after, metadata=metadata or {}
    )
    if description is not None:
        store.description = description
    keep_alive(store)
    model = StoreModel(id=store.id, created_at=store.created_at, model=ctx.ports.limits.embedding_model)
    await ctx.store.write(Add(store), Add(model))
    for start in range(0, len(files), _AT_ONCE):
        await add_files(ctx, store.id, files[start : start + _AT_ONCE])
    return await ctx.store.get(VectorStore, store.id) if files else store


async def remove_store(ctx: Context, store_id: str) -> None:
    """Take away a store with all that is in it; the files themselves stay. Errors: 404."""
    task = _forgetting(store_id, "")
    await ctx.store.write(
        Remove(VectorStore, store_id),
        Remove(StoreModel, store_id),
        Remove(VectorStoreFile, vector_store_id=store_id),
        Remove(FileBatch, vector_store_id=store_id),
        Remove(FileBatchMember, vector_store_id=store_id),
        Remove(IndexTask, vector_store_id=store_id),
        *asking(task),
    )
    ctx.ports.bus.wake(store_id)
    await forget(ctx, task)


async def touch(ctx: Context, stores: Iterable[VectorStore]) -> None:
    """Note that stores were used, once a minute at most."""

    def edit(store: VectorStore) -> None:
        if not has_expired(store):
            keep_alive(store)

    for store in stores:
        if not has_expired(store) and now() - (store.last_active_at or 0) >= _TOUCH_SECONDS:
            try:
                await ctx.store.write(Change(VectorStore, store.id, edit))
            except NotFound:
                continue


async def check_alive(ctx: Context, store_ids: Iterable[str]) -> None:
    """Ask that none of these stores has expired. Errors: ``ExpiredStore``; one that is gone is passed over."""
    for store in await ctx.store.all(VectorStore, id=list(store_ids)):
        if has_expired(store):
            raise ExpiredStore(store.id)


async def check_stores(ctx: Context, store_ids: Sequence[str], param: str) -> None:
    """Ask that every store is there. Errors: 404 for the first that is not."""
    known = {store.id for store in await ctx.store.all(VectorStore, id=list(store_ids))}
    for place, id in enumerate(store_ids):
        if id not in known:
            raise NotFound(f"Vector store with id [{id}] not found.", param=f"{param}[{place}]")


# --- files in a store ------------------------------------------------------------------------------------------------


async def add_files(
    ctx: Context, store_id: str, new: Sequence[NewVectorStoreFile], batch: FileBatch | None = None
) -> list[VectorStoreFile]:
    """Put files into a store and begin to read them; one that is in it already is read again.

    Errors: 404 for the store or a file, 400 for a store that is expired or full or a file of a kind that is not read,
    409 where others do not cease to change the same files.
    """
    wanted = {file.file_id: file for file in new}
    for file in new:
        settled(file.chunking_strategy)
    await check_searchable(ctx, list(wanted))
    for _ in range(_TRIES):
        await ctx.store.get(VectorStore, store_id)
        keys = [file_key(store_id, id) for id in wanted]
        known = {row.id for row in await ctx.store.all(VectorStoreFile, id=keys)}
        tally = Tally(added=len(wanted) - len(known))
        tasks = reading(ctx.caller, store_id, list(wanted))
        rows = [_put(store_id, file, tally, again=file.file_id in known) for file in wanted.values()]
        operations: list[Operation] = [Remove(IndexTask, vector_store_id=store_id, file_id=list(wanted))]
        operations += [*rows, *asking(*tasks), *_members(batch, list(wanted))]
        try:
            written = await ctx.store.write(*tally.around(store_id, *operations, alive=True))
        except (Conflict, NotFound):
            continue  # a file came or went meanwhile, or the store, which the next look tells
        return [written[row] for row in rows]
    raise ApiError(409, f"Vector store {store_id} is being changed by other requests. Please try again.")


async def remove_file(ctx: Context, store_id: str, file_id: str) -> None:
    """Take a file out of a store; the file itself stays. Errors: 404."""
    operations, task = _removal(store_id, file_id)
    await ctx.store.write(*operations)
    ctx.ports.bus.wake(store_id)
    await forget(ctx, task)


async def withdrawal(ctx: Context, file_id: str) -> tuple[list[Operation], list[IndexTask]]:
    """What takes a file out of every store, for the write that removes the file; ``forget`` the tasks after it."""
    removals = [_removal(row.vector_store_id, file_id) for row in await ctx.store.all(VectorStoreFile, file_id=file_id)]
    return [operation for operations, _ in removals for operation in operations], [task for _, task in removals]


def _removal(store_id: str, file_id: str) -> tuple[list[Operation], IndexTask]:
    key = file_key(store_id, file_id)
    tally = Tally()
    task = _forgetting(store_id, file_id)
    operations = tally.around(
        store_id,
        Change(VectorStoreFile, key, lambda row: tally.note(row.status, None, -row.usage_bytes)),
        Remove(VectorStoreFile, key),
        Remove(FileBatchMember, vector_store_id=store_id, file_id=file_id),
        Remove(IndexTask, vector_store_id=store_id, file_id=file_id),
        *asking(task),
    )
    return operations, task


async def forget(ctx: Context, *tasks: IndexTask) -> None:
    """Take chunks away whose file or store is gone, at once. What fails here the tasks' jobs do."""
    for task in tasks:
        try:
            await ctx.ports.vectors.remove(ctx.project, task.vector_store_id, task.file_id or None)
            await ctx.store.write(Remove(IndexTask, task.id))
        except NotFound:
            continue  # somebody else was faster
        except Unavailable as away:
            outage(f"forgetting {task.file_id} in {task.vector_store_id}", away)
        except Exception:
            log.exception("forgetting %s in %s failed; it will be tried again", task.file_id, task.vector_store_id)


def settled(chunking: ChunkingRequest | None) -> StaticChunkingStrategy:
    """The sizes that a request means. Errors: 400 for an overlap of more than half of a chunk."""
    if not isinstance(chunking, StaticChunkingStrategy):
        return DEFAULT_CHUNKING
    sizes = chunking.static
    if sizes.chunk_overlap_tokens * 2 > sizes.max_chunk_size_tokens:
        param = "chunking_strategy.static.chunk_overlap_tokens"
        raise BadRequest(
            f"Invalid '{param}': must be at most half of 'max_chunk_size_tokens' ({sizes.max_chunk_size_tokens}), "
            f"but got {sizes.chunk_overlap_tokens} instead.",
            param=param,
            code="invalid_value",
        )
    return chunking


async def check_files(ctx: Context, file_ids: Sequence[str]) -> list[File]:
    """The files, which must all be there. Errors: 404 for the first that is not."""
    known = {file.id: file for file in await ctx.store.all(File, id=list(file_ids))} if file_ids else {}
    return [known.get(id) or await ctx.store.get(File, id) for id in file_ids]


async def check_searchable(ctx: Context, file_ids: Sequence[str]) -> None:
    """Ask that every file is there and of a kind that can be searched. Errors: 404, 400 (``unsupported_file``)."""
    refuse_unsupported(file.filename for file in await check_files(ctx, file_ids))


def _put(
    store_id: str, new: NewVectorStoreFile, tally: Tally, *, again: bool
) -> Add[VectorStoreFile] | Change[VectorStoreFile]:
    chunking = settled(new.chunking_strategy)
    if not again:
        row = VectorStoreFile(
            id=new.file_id,
            created_at=now(),
            vector_store_id=store_id,
            chunking_strategy=chunking,
            attributes=new.attributes or {},
        )
        return Add(row)

    def edit(row: VectorStoreFile) -> None:
        tally.note(row.status, "in_progress", -row.usage_bytes)
        row.status, row.last_error, row.usage_bytes = "in_progress", None, 0
        row.chunking_strategy = chunking
        if new.attributes is not None:
            row.attributes = new.attributes

    return Change(VectorStoreFile, file_key(store_id, new.file_id), edit)


def _members(batch: FileBatch | None, file_ids: Sequence[str]) -> list[Operation]:
    if batch is None:
        return []
    members = [
        FileBatchMember(
            id=f"{batch.id}.{id}",
            created_at=batch.created_at,
            batch_id=batch.id,
            file_id=id,
            vector_store_id=batch.vector_store_id,
        )
        for id in file_ids
    ]
    return [Add(batch), *map(Add, members)]


# --- tasks -----------------------------------------------------------------------------------------------------------


def reading(caller: Caller, store_id: str, file_ids: Sequence[str]) -> list[IndexTask]:
    """The tasks of reading files into a store, some to a job."""
    made = now()
    tasks: list[IndexTask] = []
    for place, file_id in enumerate(file_ids):
        id = new_id("task_")
        job = tasks[place - place % _GROUP].job if place % _GROUP else id
        task = IndexTask(id=id, created_at=made, job=job, vector_store_id=store_id, file_id=file_id, verb="put")
        task.key_id, task.user = caller.key_id, caller.user
        tasks.append(task)
    return tasks


def _forgetting(store_id: str, file_id: str) -> IndexTask:
    id = new_id("task_")
    return IndexTask(id=id, created_at=now(), job=id, vector_store_id=store_id, file_id=file_id, verb="forget")


def asking(*tasks: IndexTask) -> list[Operation]:
    """Keep tasks, and have their jobs done."""
    return [*map(Add, tasks), *(Start(INGEST_JOB, job, "background") for job in dict.fromkeys(t.job for t in tasks))]
