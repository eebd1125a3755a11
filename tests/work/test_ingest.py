"""Reading files into stores, entered and left at awkward moments. What clients see of it: ``tests/api``."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.blobs.obstore import ObjectBlobs
from everloom.bus.memory import MemoryBus
from everloom.context import Context, Ports, ServerLimits
from everloom.context.known_rules import KnownRules
from everloom.context.tuned_models import TunedModels
from everloom.jobs.embedded import EmbeddedJobs
from everloom.kit.clock import now
from everloom.kit.errors import BadRequest, NotFound
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.objects.tools import FileSearchResources, ToolResources
from everloom.objects.vector_stores import (
    ExpiresAfter,
    IndexTask,
    NewVectorStoreFile,
    VectorStore,
    VectorStoreFile,
    file_key,
)
from everloom.store.base import SYSTEM, Add, Change
from everloom.store.sqlite import SqliteDatabase
from everloom.tools.file_search import default_limit
from everloom.vectors.sqlite import SqliteVectors
from everloom.work.runs.verbs import RUN_JOB
from everloom.work.vector_stores import ingest
from everloom.work.vector_stores import stores as vector_stores
from everloom.work.vector_stores.chunking import chunk
from everloom.work.vector_stores.search import SearchOptions, score, search
from everloom.work.vector_stores.waiting import wait_for_files
from tests.replies import Fails
from tests.scripted import ScriptedUpstream
from tests.store.things import a_file

Check = Callable[[Context, ScriptedUpstream], Awaitable[None]]


@asynccontextmanager
async def a_server(folder: Path, upstream: ScriptedUpstream) -> AsyncIterator[Context]:
    """Everything below the API, and jobs that nobody works on: the tests do."""

    async def never(project: str, key: str) -> None:
        raise AssertionError("nobody works here")

    backend = UpstreamBackend(upstream.url)
    nowhere: Any = None  # files are read without a sandbox
    database = SqliteDatabase(folder / "everloom.db", synchronous="NORMAL")
    blobs = ObjectBlobs.at((folder / "blobs").as_uri())
    ports = Ports(
        database=database,
        bus=MemoryBus(),
        jobs=EmbeddedJobs(database),
        blobs=blobs,
        tuned=TunedModels(blobs, folder / "adapters"),
        models=Models([], default=backend),
        vectors=SqliteVectors(folder / "vectors.db"),
        sandboxes=nowhere,
        limits=ServerLimits(embedding_model="scripted"),
        rules=KnownRules(database.store(SYSTEM)),
    )
    await ports.database.open()
    await ports.bus.open()
    await ports.models.open()
    await ports.vectors.open()
    await ports.jobs.launch({vector_stores.INGEST_JOB: never, RUN_JOB: never}, work=False)
    try:
        yield Context.of(ports, "proj_a")
    finally:
        await ports.jobs.stop(0)
        await ports.vectors.close()
        await ports.models.close()
        await ports.bus.close()
        await ports.database.close()


def on_a_server(check: Check) -> Callable[[Path], None]:
    async def run(folder: Path) -> None:
        with ScriptedUpstream() as upstream:
            async with a_server(folder, upstream) as ctx:
                await check(ctx, upstream)

    def test(tmp_path: Path) -> None:
        asyncio.run(run(tmp_path))

    test.__name__ = check.__name__
    return test


async def uploaded(ctx: Context, text: str, name: str = "a.txt") -> str:
    async def blocks() -> AsyncIterator[bytes]:
        yield text.encode()

    file = a_file(filename=name, bytes=len(text.encode()))
    await ctx.ports.blobs.put(file.id, blocks())
    await ctx.store.write(Add(file))
    return file.id


async def a_store(ctx: Context, *texts: str, **fields: Any) -> tuple[VectorStore, list[str]]:
    """A store whose files nobody has read yet."""
    ids = [await uploaded(ctx, text) for text in texts]
    return await vector_stores.create_store(ctx, file_ids=ids, **fields), ids


async def work(ctx: Context, *pauses: float) -> None:
    """Do all that is to be done, as a worker would."""
    for job in dict.fromkeys([task.job for task in await ctx.store.all(IndexTask)]):
        await ingest.ingest(ctx.ports, ctx.project, job, pauses)


async def file_in(ctx: Context, store: VectorStore, file_id: str) -> VectorStoreFile:
    return await ctx.store.get(VectorStoreFile, file_key(store.id, file_id))


async def fresh(ctx: Context, store: VectorStore) -> VectorStore:
    return await ctx.store.get(VectorStore, store.id)


async def asked(upstream: ScriptedUpstream) -> None:
    """Wait until a vector has been asked for."""
    assert await asyncio.to_thread(upstream.wait, lambda: bool(upstream.embeddings))


class LeavingVectors:
    """Vectors whose worker is stopped right after it has kept a file's chunks."""

    def __init__(self, inner: SqliteVectors) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, *arguments: Any) -> None:
        await self._inner.put(*arguments)
        raise asyncio.CancelledError


@on_a_server
async def test_a_job_that_is_entered_again_reads_what_is_left(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, ids = await a_store(ctx, "apples", "pears", "plums")
    ports = ctx.ports
    assert isinstance(ports.vectors, SqliteVectors)
    leaving = msgspec.structs.replace(ports, vectors=LeavingVectors(ports.vectors))
    (job,) = {task.job for task in await ctx.store.all(IndexTask)}
    with pytest.raises(asyncio.CancelledError):
        await ingest.ingest(leaving, ctx.project, job)
    assert await ports.vectors.count(ctx.project, store.id) == 1
    assert {(await file_in(ctx, store, id)).status for id in ids} == {"in_progress"}
    await work(ctx)
    assert await ports.vectors.count(ctx.project, store.id) == 3
    assert (await fresh(ctx, store)).file_counts.completed == 3
    assert await ctx.store.all(IndexTask) == []
    await ingest.ingest(ports, ctx.project, job)
    assert (await fresh(ctx, store)).file_counts.completed == 3


@on_a_server
async def test_a_file_that_is_taken_out_while_it_is_read_leaves_nothing(
    ctx: Context, upstream: ScriptedUpstream
) -> None:
    store, (one, two) = await a_store(ctx, "apples", "pears")
    upstream.embedding_delay = 0.2
    reading = asyncio.create_task(work(ctx))
    await asked(upstream)
    await vector_stores.remove_file(ctx, store.id, one)
    assert (await fresh(ctx, store)).file_counts.total == 1
    await reading
    assert await ctx.ports.vectors.count(ctx.project, store.id) == 1
    assert (await file_in(ctx, store, two)).status == "completed"
    with pytest.raises(NotFound):
        await file_in(ctx, store, one)


@on_a_server
async def test_a_store_that_goes_while_it_is_filled_leaves_nothing(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, _ = await a_store(ctx, "apples", "pears")
    upstream.embedding_delay = 0.2
    reading = asyncio.create_task(work(ctx))
    await asked(upstream)
    await vector_stores.remove_store(ctx, store.id)
    await reading
    assert await ctx.ports.vectors.count(ctx.project, store.id) == 0
    assert await ctx.store.all(VectorStoreFile) == []
    assert await ctx.store.all(IndexTask) == []


@on_a_server
async def test_of_two_readings_the_later_one_counts(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, (file_id,) = await a_store(ctx, "apples " * 200)
    upstream.embedding_delay = 0.2
    first = asyncio.create_task(work(ctx))
    await asked(upstream)
    sizes = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}
    again = msgspec.convert(
        {"file_id": file_id, "chunking_strategy": {"type": "static", "static": sizes}}, NewVectorStoreFile
    )
    await vector_stores.add_files(ctx, store.id, [again])
    await first
    assert (await file_in(ctx, store, file_id)).status == "in_progress"
    upstream.embedding_delay = 0
    await work(ctx)
    assert (await fresh(ctx, store)).file_counts.completed == 1
    assert await ctx.ports.vectors.count(ctx.project, store.id) > 1


@on_a_server
async def test_a_file_that_is_gone_fails(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, (file_id,) = await a_store(ctx, "apples")
    await ctx.ports.blobs.remove(file_id)
    await work(ctx)
    file = await file_in(ctx, store, file_id)
    assert file.status == "failed"
    assert file.last_error is not None
    assert file.last_error.code == "invalid_file"


@on_a_server
async def test_a_model_that_fails_is_told(ctx: Context, upstream: ScriptedUpstream) -> None:
    for fails, code in ((Fails(429), "rate_limit_exceeded"), (Fails(500), "server_error")):
        store, (file_id,) = await a_store(ctx, "apples")
        upstream.embedding_fails = fails
        await work(ctx)
        file = await file_in(ctx, store, file_id)
        assert file.last_error is not None
        assert (file.status, file.last_error.code) == ("failed", code)
        assert (await fresh(ctx, store)).status == "completed"


async def put_off(ctx: Context, tries: int) -> None:
    """Have it that the model of what is to be read was away so often."""

    def count(task: IndexTask) -> None:
        task.tries = tries

    for task in await ctx.store.all(IndexTask):
        await ctx.store.write(Change(IndexTask, task.id, count))


@on_a_server
async def test_a_model_that_is_away_is_waited_for_and_in_the_end_told_of(
    ctx: Context, upstream: ScriptedUpstream
) -> None:
    store, (file_id,) = await a_store(ctx, "apples")
    upstream.embedding_fails = Fails(503)
    await work(ctx)
    assert (await file_in(ctx, store, file_id)).status == "in_progress"
    assert [task.tries for task in await ctx.store.all(IndexTask)] == [1]
    assert all(len(request.body["input"]) == 1 for request in upstream.embeddings)
    await put_off(ctx, ingest.MOST_TRIES)
    await work(ctx)
    file = await file_in(ctx, store, file_id)
    assert file.last_error is not None
    assert (file.status, file.last_error.code) == ("failed", "server_error")
    assert "failed (503)" in file.last_error.message
    assert await ctx.store.all(IndexTask) == []


@on_a_server
async def test_a_model_that_was_away_and_is_busy_for_a_moment_is_asked_again(
    ctx: Context, upstream: ScriptedUpstream
) -> None:
    store, (file_id,) = await a_store(ctx, "apples")
    await put_off(ctx, 1)
    upstream.embedding_fails = Fails(429)
    reading = asyncio.create_task(work(ctx, 3.0))
    await asked(upstream)
    await asyncio.sleep(2)  # Longer than its adapter goes on asking.
    upstream.embedding_fails = None
    await reading
    assert (await file_in(ctx, store, file_id)).status == "completed"


@on_a_server
async def test_what_is_half_embedded_waits_for_its_model_where_it_is(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, (file_id,) = await a_store(ctx, " ".join(f"word{number}" for number in range(40_000)))
    upstream.embedding_delay = 0.2
    reading = asyncio.create_task(work(ctx, 3.0, 3.0))
    await asyncio.to_thread(upstream.wait, lambda: len(upstream.embeddings) > 1)
    upstream.embedding_fails = Fails(503)
    await asyncio.sleep(2)
    upstream.embedding_fails = None
    await reading
    assert (await file_in(ctx, store, file_id)).status == "completed"
    texts = [text for request in upstream.embeddings for text in request.body["input"]]
    assert texts.count(texts[0]) == 1, "its beginning is not embedded again"


@on_a_server
async def test_what_a_dead_server_left_to_be_forgotten_is_forgotten(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, (one, _) = await a_store(ctx, "apples", "pears")
    await work(ctx)
    operations, tasks = await vector_stores.withdrawal(ctx, one)
    await ctx.store.write(*operations)  # and here the server dies
    assert await ctx.ports.vectors.count(ctx.project, store.id) == 2
    assert await ctx.store.all(IndexTask) == tasks
    await work(ctx)
    assert await ctx.ports.vectors.count(ctx.project, store.id) == 1
    assert await ctx.store.all(IndexTask) == []


@on_a_server
async def test_a_model_that_is_busy_for_a_moment_is_asked_again(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, (file_id,) = await a_store(ctx, "apples")
    upstream.embedding_fails = Fails(429)
    reading = asyncio.create_task(work(ctx, 0.5, 0.5))
    await asked(upstream)
    await asyncio.sleep(0.1)
    upstream.embedding_fails = None
    await reading
    assert (await file_in(ctx, store, file_id)).status == "completed"
    assert len(upstream.embeddings) == 2


@on_a_server
async def test_a_store_takes_many_files_and_not_too_many(ctx: Context, upstream: ScriptedUpstream) -> None:
    files = [a_file() for _ in range(620)]
    await ctx.store.write(*map(Add, files))
    store = await vector_stores.create_store(ctx, file_ids=[file.id for file in files])
    assert (store.file_counts.in_progress, store.file_counts.total) == (620, 620)
    tasks = await ctx.store.all(IndexTask)
    assert len(tasks) == 620
    assert len({task.job for task in tasks}) == 31

    def fill(store: VectorStore) -> None:
        store.file_counts.total = vector_stores.MAX_FILES

    await ctx.store.write(Change(VectorStore, store.id, fill), Add(one_more := a_file()))
    with pytest.raises(BadRequest, match="at most 10000 files"):
        await vector_stores.add_files(ctx, store.id, [NewVectorStoreFile(file_id=one_more.id)])
    assert len(await ctx.store.all(VectorStoreFile)) == 620


# --- windows ---------------------------------------------------------------------------------------------------------

PROSE = " ".join(f"This is sentence number {place} of a text about nothing at all." for place in range(600))


def test_chunks_that_overlap_share_their_windows() -> None:
    pieces = ingest.cut(PROSE, 800, 400)
    assert [text for text, _ in pieces] == chunk(PROSE, 800, 400)
    assert all(own for _, own in pieces)
    windows = [window for _, own in pieces for window in own]
    assert "".join(dict.fromkeys(windows)) == PROSE
    assert len(set(windows)) < 0.6 * len(windows)
    for text, own in pieces:
        begin = PROSE.index(text)
        for window in own:
            middle = PROSE.index(window) + len(window) // 2
            assert begin <= middle <= begin + len(text)


def test_chunks_that_hardly_overlap_have_windows_of_their_own() -> None:
    for sizes in ((800, 0), (100, 20)):
        for text, own in ingest.cut(PROSE, *sizes):
            assert "".join(own) == text


def test_small_chunks_that_overlap_have_vectors_too() -> None:
    assert all(own for _, own in ingest.cut(PROSE, 100, 50))
    assert ingest.cut("word", 800, 400) == [("word", ["word"])]
    assert ingest.cut("", 800, 400) == []


@on_a_server
async def test_what_chunks_share_is_embedded_once(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, _ = await a_store(ctx, PROSE)
    await work(ctx)
    texts = [text for request in upstream.embeddings for text in request.body["input"]]
    assert len(set(texts)) == len(texts)
    assert await ctx.ports.vectors.count(ctx.project, store.id) == len(chunk(PROSE, 800, 400))


# --- expiry ----------------------------------------------------------------------------------------------------------

WEEK = ExpiresAfter(anchor="last_active_at", days=7)


def aged(store: VectorStore) -> None:
    store.last_active_at = now() - 8 * 86_400
    store.expires_at = store.last_active_at + 7 * 86_400


@on_a_server
async def test_a_store_that_is_not_used_expires(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, (file_id,) = await a_store(ctx, "apples", expires_after=WEEK)
    other, _ = await a_store(ctx, "pears", expires_after=WEEK)
    await work(ctx)
    await ingest.expire_due(ctx.ports)
    assert (await fresh(ctx, store)).status == "completed"
    await ctx.store.write(Change(VectorStore, store.id, aged))
    await ingest.expire_due(ctx.ports)
    expired = await fresh(ctx, store)
    assert (expired.status, expired.usage_bytes, expired.file_counts.total) == ("expired", 0, 1)
    assert await ctx.ports.vectors.count(ctx.project, store.id) == 0
    assert (await file_in(ctx, store, file_id)).status == "completed"
    assert (await fresh(ctx, other)).status == "completed"
    with pytest.raises(vector_stores.ExpiredStore):
        await vector_stores.add_files(ctx, store.id, [NewVectorStoreFile(file_id=file_id)])
    with pytest.raises(vector_stores.ExpiredStore, match=store.id):
        await vector_stores.check_alive(ctx, [other.id, store.id])
    await vector_stores.check_alive(ctx, [other.id, "vs_gone"])
    assert await search(ctx, [store.id], "apples") == []


@on_a_server
async def test_a_store_that_is_used_lives_on(ctx: Context, upstream: ScriptedUpstream) -> None:
    def idle(store: VectorStore) -> None:
        store.last_active_at = now() - 6 * 86_400
        store.expires_at = store.last_active_at + 7 * 86_400

    store, _ = await a_store(ctx, "apples", expires_after=WEEK)
    await work(ctx)
    await ctx.store.write(Change(VectorStore, store.id, idle))
    assert len(await search(ctx, [store.id], "apples")) == 1
    used = await fresh(ctx, store)
    assert used.expires_at is not None
    assert used.expires_at >= now() + 7 * 86_400 - 5


# --- runs that wait --------------------------------------------------------------------------------------------------


@on_a_server
async def test_a_run_waits_for_its_threads_store(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, _ = await a_store(ctx, "apples")
    resources = ToolResources(file_search=FileSearchResources(vector_store_ids=[store.id, "vs_gone"]))
    thread = Thread(id="thread_1", created_at=now(), tool_resources=resources)
    clock = asyncio.get_running_loop().time
    began = clock()
    run = Run(id="run_1", created_at=now(), thread_id=thread.id, assistant_id="asst_1", model="m")
    await wait_for_files(ctx, run, thread, timeout=0.2)
    assert 0.15 < clock() - began < 2
    waiting = asyncio.create_task(wait_for_files(ctx, run, thread))
    await work(ctx)
    await asyncio.wait_for(waiting, 5)
    assert (await fresh(ctx, store)).status == "completed"


# --- search over several stores --------------------------------------------------------------------------------------


@on_a_server
async def test_several_stores_are_searched_as_one(ctx: Context, upstream: ScriptedUpstream) -> None:
    one, _ = await a_store(ctx, "apples are red fruit", "cars are fast")
    two, (shared,) = await a_store(ctx, "apples are green fruit")
    await vector_stores.add_files(ctx, one.id, [NewVectorStoreFile(file_id=shared)])
    await work(ctx)
    found = await search(ctx, [one.id, two.id, "vs_gone"], "apples are green fruit", SearchOptions(limit=2))
    assert [result.content[0].text for result in found] == ["apples are green fruit", "apples are red fruit"]
    assert found[0].score == pytest.approx(1, abs=0.01)
    assert found[0].file_id == shared
    assert await search(ctx, [], "apples") == []
    assert await search(ctx, [one.id], "  ") == []


@on_a_server
async def test_a_store_keeps_the_model_it_began_with(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, _ = await a_store(ctx, "apples")
    other = Context.of(
        msgspec.structs.replace(ctx.ports, limits=ServerLimits(embedding_model="another")),
        ctx.project,
    )
    await work(other)
    new, _ = await a_store(other, "apples")
    await work(other)
    models = [request.body["model"] for request in upstream.embeddings]
    assert models == ["scripted", "another"]
    assert len(await search(other, [store.id, new.id], "apples")) == 2
    assert {request.body["model"] for request in upstream.embeddings[2:]} == {"scripted", "another"}


def test_a_score_grows_with_either_merit() -> None:
    assert score(0, 0) == 0
    assert score(1, 0) == score(1, 1) == 1
    assert score(0.3, 0) == pytest.approx(0.3)
    assert score(0, 1) == 0.5
    grades = [0, 0.1, 0.5, 0.9]
    assert all(score(d + 0.1, w) > score(d, w) for d in grades[:3] for w in grades)
    assert all(score(d, w + 0.1) > score(d, w) for d in grades for w in grades)


def test_small_models_get_fewer_results() -> None:
    assert (default_limit("gpt-3.5-turbo"), default_limit("gpt-4o"), default_limit("smollm2")) == (5, 20, 20)
