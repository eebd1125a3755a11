"""Reading files into vector stores: text, chunks, vectors, in jobs that may die at any moment.

What is to be done stands in ``IndexTask`` rows, so a job that is entered again finds what is left. A file's
chunks are kept in one piece in place of those it had, and its outcome in one write that takes its task away:
however often it is read, no chunk stands twice, and a file that was withdrawn meanwhile is not heard of.
"""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Literal

from everloom.blobs.base import DamagedBlob
from everloom.context import Context, Ports
from everloom.kit.backoff import Backoff
from everloom.kit.errors import ApiError, ModelAway, NotFound, Unavailable
from everloom.kit.log import outage
from everloom.kit.outages import disk_is_away
from everloom.objects.files import File
from everloom.objects.vector_stores import (
    DEFAULT_CHUNKING,
    FileStatus,
    IndexTask,
    IngestError,
    StaticChunkingStrategy,
    StoreModel,
    VectorStore,
    VectorStoreFile,
    file_key,
)
from everloom.store.base import Change, Missing, Remove, Start
from everloom.vectors.base import Chunk, Vector
from everloom.work.files.blobs import read_file
from everloom.work.inference.embeddings import embed
from everloom.work.salvage import salvage
from everloom.work.vector_stores.chunking import spans, windows
from everloom.work.vector_stores.extraction import Invalid, Unsupported, extract
from everloom.work.vector_stores.stores import INGEST_JOB, Tally, has_expired

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
LOOK_SHARE = 0.01
"""The part of its time that a worker may spend with looking, however many stores there are."""

_TEXTS_AT_ONCE = 64
"""Texts embedded between two looks whether the file is still wanted."""

PAUSES = (1.0, 5.0, 20.0)
"""Seconds before an embedding model that is busy or unwell is asked again."""

FIRST_TRY = 3
LONGEST_PAUSE = 15.0
"""A file whose embedding model is away is put off for a second at first, for fifteen at last."""

MOST_TRIES = 240
"""Some three quarters of an hour: before the last resort comes by, which could not say why."""

_FLOAT_BYTES = 4
_OUR_FAULT = "An internal error occurred."
_LATE = "The file was not read in the time that it has for that."
_EMPTY = "The file could not be parsed because it is empty."


class Withdrawn(Exception):
    """Nobody waits for this file any more: it was removed, cancelled, or begun anew."""


async def ingest(ports: Ports, project: str, key: str, pauses: Sequence[float] = PAUSES) -> None:
    """Do the tasks of one job, ``key``."""
    ctx = Context.of(ports, project)
    for task in await ctx.store.all(IndexTask, job=key):
        try:
            if task.verb == "forget":
                await _forget(ctx, task)
            else:
                async with ports.reading:
                    await read(ctx.acting_for(task.key_id, task.user), task, pauses)
        except Unavailable:
            raise
        except Exception:  # the job's other tasks have done nothing wrong
            log.exception("%s %s in %s failed", task.verb, task.file_id, task.vector_store_id)


async def _forget(ctx: Context, task: IndexTask) -> None:
    """Take away the chunks of a file or a store that is gone."""
    await ctx.ports.vectors.remove(ctx.project, task.vector_store_id, task.file_id or None)
    with suppress(NotFound):  # whoever asked for it was faster
        await ctx.store.write(Remove(IndexTask, task.id))


async def read(ctx: Context, task: IndexTask, pauses: Sequence[float] = PAUSES) -> None:
    """Read one file into its store and keep what came of it."""
    try:
        usage = await _index(ctx, task, pauses)
    except Withdrawn:
        await _clear_up(ctx, task)
    except Unsupported as error:
        await _end(ctx, task, "failed", IngestError(code="unsupported_file", message=str(error)))
    except DamagedBlob as error:
        log.error("reading %s into %s failed: %s", task.file_id, task.vector_store_id, error)
        await _end(ctx, task, "failed", IngestError(code="server_error", message=str(error)))
    except Invalid as error:
        await _end(ctx, task, "failed", IngestError(code="invalid_file", message=str(error)))
    except ApiError as error:
        if _is_away(error) and task.tries < MOST_TRIES:
            return await _put_off(ctx, task, error)
        code: Literal["rate_limit_exceeded", "server_error"]
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        log.warning("reading %s into %s failed: %s", task.file_id, task.vector_store_id, error.message)
        await _end(ctx, task, "failed", IngestError(code=code, message=error.message))
    except Unavailable:
        raise
    except Exception as error:
        if disk_is_away(error):  # the disk that the file is laid on while it is read, for one
            raise Unavailable("its disk", error) from error
        log.exception("reading %s into %s failed", task.file_id, task.vector_store_id)
        await _end(ctx, task, "failed", IngestError(code="server_error", message=_OUR_FAULT))
    else:
        await _end(ctx, task, "completed", usage=usage)


async def _index(ctx: Context, task: IndexTask, pauses: Sequence[float]) -> int:
    """Keep the file's chunks; how many bytes they use."""
    row = await _wanted(ctx, task)
    if task.tries:
        await _probe(ctx, task, pauses)
    try:
        file = await ctx.store.get(File, task.file_id)
        text = await extract(read_file(ctx, file), file.filename)
    except (NotFound, FileNotFoundError) as error:
        raise Invalid("The file could not be found.") from error
    text = text.encode("utf-8", "replace").decode()
    chunking = row.chunking_strategy
    sizes = chunking.static if isinstance(chunking, StaticChunkingStrategy) else DEFAULT_CHUNKING.static
    pieces = await asyncio.to_thread(cut, text, sizes.max_chunk_size_tokens, sizes.chunk_overlap_tokens)
    if not pieces:
        raise Invalid(_EMPTY)
    chunks = await _embedded(ctx, task, pieces, pauses)
    await _wanted(ctx, task)
    await ctx.ports.vectors.put(ctx.project, task.vector_store_id, task.file_id, chunks)
    return sum(
        len(piece.text.encode()) + sum(len(vector) * _FLOAT_BYTES for vector in piece.vectors) for piece in chunks
    )


def cut(text: str, max_tokens: int, overlap: int) -> list[tuple[str, list[str]]]:
    """The chunks of a text, each with the windows that its vectors are made of.

    Where chunks overlap by much, the text itself is cut into windows, and each belongs to every chunk that holds
    its middle: with the default strategy that leaves less than half of the vectors to be made. A window stands
    out of its chunk by half of itself at most.
    """
    chunks = [(begin, end) for begin, end in spans(text, max_tokens, overlap) if not text[begin:end].isspace()]
    if overlap * 4 < max_tokens:
        return [(text[begin:end], _told(windows(text[begin:end]))) for begin, end in chunks]
    pieces = windows(text)
    middles = [end - len(piece) // 2 for piece, end in zip(pieces, accumulate(map(len, pieces)), strict=True)]
    return [
        (text[begin:end], _told(pieces[bisect_left(middles, begin) : bisect_left(middles, end)]) or [text[begin:end]])
        for begin, end in chunks
    ]


def _told(pieces: Sequence[str]) -> list[str]:
    """Those of which there is something to say."""
    return [piece for piece in pieces if not piece.isspace()]


async def _embedded(
    ctx: Context, task: IndexTask, pieces: Sequence[tuple[str, list[str]]], pauses: Sequence[float]
) -> list[Chunk]:
    """The chunks with their vectors. What several of them share is embedded once. Errors: ``Withdrawn``."""
    model = (await ctx.store.get(StoreModel, task.vector_store_id)).model
    texts = list(dict.fromkeys(window for _, own in pieces for window in own))
    vectors: dict[str, Vector] = {}
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        if start:
            await _wanted(ctx, task)
        some = texts[start : start + _TEXTS_AT_ONCE]
        vectors.update(zip(some, await _patiently(ctx, model, some, pauses, begun=start > 0), strict=True))
    return [Chunk(place, text, [vectors[window] for window in own]) for place, (text, own) in enumerate(pieces)]


async def _patiently(
    ctx: Context, model: str, texts: list[str], pauses: Sequence[float], *, begun: bool = False
) -> Sequence[Vector]:
    """The vectors. ``begun``: a model that is away is waited for a while, too, rather than have all made again."""
    for pause in pauses:
        try:
            return await embed(ctx, model, texts)
        except ApiError as error:
            if (_is_away(error) and not begun) or (error.status != 429 and error.status < 500):
                raise
            await asyncio.sleep(pause)
    return await embed(ctx, model, texts)


def _is_away(error: ApiError) -> bool:
    """Whether a model's server is away, and what it was asked is not to blame."""
    return isinstance(error, ModelAway) and not error.reached


async def _probe(ctx: Context, task: IndexTask, pauses: Sequence[float]) -> None:
    """Ask that the embedding model is back, before a file is read once more for nothing. Errors: ``ModelAway``."""
    model = (await ctx.store.get(StoreModel, task.vector_store_id)).model
    if model in ctx.ports.away_models:
        raise ModelAway(f"The model {model} was away a moment ago.")
    try:
        await _patiently(ctx, model, ["."], pauses)
    except ModelAway:
        ctx.ports.away_models.note(model)
        raise


async def _put_off(ctx: Context, task: IndexTask, away: ApiError) -> None:
    """Have the file read later, in nobody's place meanwhile."""
    outage(f"reading {task.file_id}", away)

    def count(task: IndexTask) -> None:
        task.tries += 1

    pause = Backoff(task.tries + FIRST_TRY, LONGEST_PAUSE).pause()
    with suppress(Missing):  # nobody waits for it any more
        again = Start(INGEST_JOB, task.job, "background", after=pause)
        await ctx.store.write(Change(IndexTask, task.id, count), again)


async def _wanted(ctx: Context, task: IndexTask) -> VectorStoreFile:
    """The file's row, if its task still stands. Errors: ``Withdrawn``."""
    try:
        await ctx.store.get(IndexTask, task.id)
        if has_expired(await ctx.store.get(VectorStore, task.vector_store_id)):
            raise Withdrawn
        return await ctx.store.get(VectorStoreFile, file_key(task.vector_store_id, task.file_id))
    except NotFound:
        raise Withdrawn from None


async def _end(
    ctx: Context, task: IndexTask, status: FileStatus, error: IngestError | None = None, usage: int = 0
) -> None:
    """Keep the outcome, if it is still asked for."""
    tally = Tally(used=not task.moved)

    def edit(row: VectorStoreFile) -> None:
        tally.note(row.status, status, usage - row.usage_bytes)
        row.status, row.last_error, row.usage_bytes = status, error, usage

    change = Change(VectorStoreFile, file_key(task.vector_store_id, task.file_id), edit)
    try:
        await ctx.store.write(*tally.around(task.vector_store_id, Remove(IndexTask, task.id), change))
    except NotFound:
        await _clear_up(ctx, task)
    else:
        ctx.ports.bus.wake(task.vector_store_id)


async def give_up(ctx: Context, store_id: str, file_id: str) -> bool:
    """Fail a file that nobody has read in its time, whatever of it is missing. Whether it was still to be read."""
    tally = Tally()

    def edit(row: VectorStoreFile) -> None:
        if row.status != "in_progress":
            raise Withdrawn
        tally.note(row.status, "failed", -row.usage_bytes)
        row.status, row.last_error, row.usage_bytes = "failed", IngestError(code="server_error", message=_LATE), 0

    change = Change(VectorStoreFile, file_key(store_id, file_id), edit)
    task: Remove[IndexTask] = Remove(IndexTask, vector_store_id=store_id, file_id=file_id)
    try:
        await salvage(ctx.store, tally.around(store_id, task, change), change)
    except (Missing, Withdrawn):
        return False
    ctx.ports.bus.wake(store_id)
    await ctx.ports.vectors.remove(ctx.project, store_id, file_id)
    return True


async def _clear_up(ctx: Context, task: IndexTask) -> None:
    """Leave no chunks of a file that is not in the store any more; what is there anew has a task of its own."""
    rows = await ctx.store.all(VectorStoreFile, id=[file_key(task.vector_store_id, task.file_id)])
    if not rows or rows[0].status in ("cancelled", "failed"):
        await ctx.ports.vectors.remove(ctx.project, task.vector_store_id, task.file_id)
    log.info("%s is not wanted in %s any more", task.file_id, task.vector_store_id)


# --- expiry ----------------------------------------------------------------------------------------------------------


async def expire_due(ports: Ports) -> None:
    """Mark the stores whose time is over, and free their chunks; their files' rows stay to be looked at."""
    async for project, store in ports.database.walk(VectorStore, mortal=True):
        if has_expired(store):
            await expire(Context.of(ports, project), store.id)


async def expire(ctx: Context, store_id: str) -> None:
    """Mark one store as expired, if it is due, and cancel what was to be read into it. The chunks go first: a store
    that is due takes no more.
    """
    tally = Tally()

    def cancel(row: VectorStoreFile) -> None:
        if row.status == "in_progress":
            tally.note(row.status, "cancelled")
            row.status = "cancelled"

    try:
        if not has_expired(await ctx.store.get(VectorStore, store_id)):
            return
        await ctx.ports.vectors.remove(ctx.project, store_id)
        files = await ctx.store.all(VectorStoreFile, vector_store_id=store_id, status="in_progress")
        cancelled = [Change(VectorStoreFile, file.key, cancel) for file in files]
        tasks: Remove[IndexTask] = Remove(IndexTask, vector_store_id=store_id)
        await ctx.store.write(Change(VectorStore, store_id, _mark_expired), *tally.around(store_id, *cancelled, tasks))
    except (NotFound, _Alive):
        return
    ctx.ports.bus.wake(store_id)


class _Alive(Exception):
    """A store was used meanwhile."""


def _mark_expired(store: VectorStore) -> None:
    if not has_expired(store):
        raise _Alive
    store.status = "expired"
    store.usage_bytes = 0


async def sweep(ports: Ports) -> None:
    """Look after stores that are due."""
    await expire_due(ports)
