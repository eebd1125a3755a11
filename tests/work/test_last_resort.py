"""The last resort, over rows that are lost, spoilt or overdue, with a clock that the test sets, and as servers do."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import psycopg
import pytest
from prometheus_client import REGISTRY

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.deadlines import Deadlines
from everloom.kit.ids import new_id
from everloom.objects.messages import Message
from everloom.objects.runs import Run, RunLease
from everloom.objects.steps import RunStep
from everloom.objects.uploads import NewUpload, PartBlob, Upload, UploadTally
from everloom.objects.vector_stores import ExpiresAfter, IndexTask, VectorStore
from everloom.store.base import Add, Change, Remove, Start, change_one
from everloom.work import last_resort
from everloom.work.files import uploads
from everloom.work.runs.execution import execute
from everloom.work.runs.verbs import RUN_JOB
from everloom.work.vector_stores import ingest
from everloom.work.vector_stores.stores import INGEST_JOB, remove_store
from tests.builders import Json, a_run, fetched, run_path, settled
from tests.postgres import fresh_database
from tests.replies import Hangs
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom, last_resorts
from tests.servers import http as client_of
from tests.work.test_ingest import a_server, a_store, file_in, fresh, work
from tests.work.test_run_rounds import a_kept_run

HOUR = 3600.0
SPOILT = b'{"id":"'


class Hands:
    """A server's store and a clock."""

    def __init__(self, ctx: Context, upstream: ScriptedUpstream, folder: Path) -> None:
        self.passed = 0.0
        deadlines = Deadlines(wall=lambda: time.time() + self.passed, steady=lambda: time.monotonic() + self.passed)
        self.ctx = Context.of(msgspec.structs.replace(ctx.ports, deadlines=deadlines), ctx.project)
        self.upstream = upstream
        self._folder = folder

    async def look(self) -> None:
        await last_resort.sweep(self.ctx.ports)
        await last_resort.sweep_files(self.ctx.ports)

    async def look_on(self, seconds: float, every: float = 5.0) -> None:
        """Let time pass, and have the sweeps look every now and then."""
        await self.look()
        for _ in range(int(seconds / every)):
            self.passed += every
            await self.look()

    def spoil(self, table: str, id: str) -> None:
        with contextlib.closing(sqlite3.connect(self._folder / "everloom.db")) as database:
            assert database.execute(f"UPDATE {table} SET body = ? WHERE id = ?", (SPOILT, id)).rowcount == 1
            database.commit()


def with_hands(check: Callable[[Hands], Awaitable[None]]) -> Callable[[Path], None]:
    async def run(folder: Path) -> None:
        with ScriptedUpstream() as upstream:
            async with a_server(folder, upstream) as ctx:
                await check(Hands(ctx, upstream, folder))

    def test(tmp_path: Path) -> None:
        asyncio.run(run(tmp_path))

    test.__name__ = check.__name__
    return test


@contextlib.contextmanager
def counted(**wanted: int) -> Iterator[None]:
    """So often, and no oftener, the last resort has to act on each kind of thing."""
    before = {what: _count(what) for what in _NOUNS}
    yield
    assert {what: _count(what) - before[what] for what in _NOUNS} == dict.fromkeys(_NOUNS, 0) | wanted


_NOUNS = ("run", "file", "index task", "upload", "job")


def _count(what: str) -> float:
    return REGISTRY.get_sample_value("everloom_last_resort_total", {"what": what}) or 0.0


# --- runs ------------------------------------------------------------------------------------------------------------


async def an_overdue_run(hands: Hands, **fields: object) -> Run:
    return await a_kept_run(hands.ctx, expires_at=now() + 600, **fields)


async def ended(hands: Hands, run: Run) -> Run:
    """The run, once its time has been over for half a minute, and not before."""
    await hands.look_on(600)
    assert (await hands.ctx.store.get(Run, run.id)).active
    with counted(run=1):
        await hands.look_on(30)
    run = await hands.ctx.store.get(Run, run.id)
    assert not run.active
    assert (await hands.ctx.store.events(run.id))[-1].name == f"thread.run.{run.status}"
    assert await hands.ctx.store.all(RunLease, id=[run.id]) == []
    return run


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action", "cancelling"])
def test_a_run_ends_that_nobody_has(tmp_path: Path, status: str) -> None:
    @with_hands
    async def test(hands: Hands) -> None:
        run = await ended(hands, await an_overdue_run(hands, status=status))
        assert run.status == ("cancelled" if status == "cancelling" else "expired")
        assert (run.expires_at, run.required_action) == (None, None)
        assert (run.cancelled_at is not None) is (status == "cancelling")

    test(tmp_path)


async def half_told(hands: Hands) -> Run:
    """A run whose executor has died in the middle of an answer."""
    hands.upstream.script(Hangs(4))
    run = await an_overdue_run(hands)
    executing = asyncio.create_task(execute(hands.ctx.ports, hands.ctx.project, run.id))
    with hands.ctx.ports.bus.watch(run.id) as watch:
        while "thread.message.delta" not in [event.name for event in await hands.ctx.store.events(run.id)]:
            await watch.wait(10)
    executing.cancel()
    await asyncio.gather(executing, return_exceptions=True)
    return run


@with_hands
async def test_what_is_open_ends_with_its_run(hands: Hands) -> None:
    run = await half_told(hands)
    await hands.ctx.store.write(Remove(RunLease, run.id))
    run = await ended(hands, run)
    (step,) = await hands.ctx.store.all(RunStep, run_id=run.id)
    (message,) = await hands.ctx.store.all(Message, run_id=run.id)
    assert (step.status, message.status) == ("expired", "incomplete")
    assert message.content
    names = [event.name for event in await hands.ctx.store.events(run.id)][-3:]
    assert names == ["thread.message.incomplete", "thread.run.step.expired", "thread.run.expired"]


@pytest.mark.parametrize("table", ["run_steps", "messages", "run_leases"])
@pytest.mark.parametrize("spoil", [False, True], ids=["missing", "spoilt"])
def test_a_run_ends_whatever_of_it_is_lost(tmp_path: Path, table: str, spoil: bool) -> None:
    @with_hands
    async def test(hands: Hands) -> None:
        run = await half_told(hands)
        (step,) = await hands.ctx.store.all(RunStep, run_id=run.id)
        (message,) = await hands.ctx.store.all(Message, run_id=run.id)
        row = {"run_steps": step, "messages": message, "run_leases": run}[table]
        if spoil:
            hands.spoil(table, row.id)
        else:
            await hands.ctx.store.write(Remove(RunLease if row is run else type(row), row.id))
        await ended(hands, run)
        if row is not message:
            assert (await hands.ctx.store.get(Message, message.id)).status == "incomplete"
        if row is not step:
            assert (await hands.ctx.store.get(RunStep, step.id)).status == "expired"

    test(tmp_path)


@with_hands
async def test_a_run_that_has_lost_its_deadline_has_one(hands: Hands) -> None:
    run = await an_overdue_run(hands)
    await change_one(hands.ctx.store, Change(Run, run.id, lambda run: setattr(run, "expires_at", None)))
    await ended(hands, run)


@with_hands
async def test_what_is_in_time_is_left_alone(hands: Hands) -> None:
    run = await an_overdue_run(hands)
    store, _ = await a_store(hands.ctx, "apples")
    with counted():
        await hands.look_on(500)
        hands.passed += 2 * HOUR  # a server that was down, or had no database: it gets to its work
        await hands.look()
        hands.passed += 14
        await hands.look()
    assert (await hands.ctx.store.get(Run, run.id)).status == "queued"
    assert (await fresh(hands.ctx, store)).file_counts.in_progress == 1


# --- files in stores -------------------------------------------------------------------------------------------------


@with_hands
async def test_a_file_fails_that_nobody_reads(hands: Hands) -> None:
    store, (file_id,) = await a_store(hands.ctx, "apples")
    with counted():
        await hands.look_on(HOUR, every=60)
    with counted(file=1):
        await hands.look_on(30)
    file = await file_in(hands.ctx, store, file_id)
    assert (file.status, file.usage_bytes) == ("failed", 0)
    assert file.last_error is not None
    assert file.last_error.code == "server_error"
    assert "time" in file.last_error.message
    store = await fresh(hands.ctx, store)
    assert (store.status, store.file_counts.failed, store.file_counts.in_progress) == ("completed", 1, 0)
    assert await hands.ctx.store.all(IndexTask) == []


@with_hands
async def test_a_file_fails_that_has_lost_its_task(hands: Hands) -> None:
    store, (file_id,) = await a_store(hands.ctx, "apples")
    await hands.ctx.store.write(Remove(IndexTask))
    with counted(file=1):
        await hands.look_on(HOUR + 30, every=15)
    assert (await file_in(hands.ctx, store, file_id)).status == "failed"


@with_hands
async def test_a_file_fails_whose_store_is_spoilt(hands: Hands) -> None:
    store, (file_id,) = await a_store(hands.ctx, "apples")
    hands.spoil("vector_stores", store.id)
    with counted(file=1):
        await hands.look_on(HOUR + 30, every=15)
    assert (await file_in(hands.ctx, store, file_id)).status == "failed"


@with_hands
async def test_a_line_that_moves_is_let_move(hands: Hands) -> None:
    stores = [await a_store(hands.ctx, "apples") for _ in range(8)]
    with counted():
        for store, (file_id,) in stores:
            await hands.look_on(550, every=50)
            (task,) = await hands.ctx.store.all(IndexTask, vector_store_id=store.id)
            await ingest.read(hands.ctx, task)
            assert (await file_in(hands.ctx, store, file_id)).status == "completed"


@with_hands
async def test_a_task_goes_that_nobody_waits_for(hands: Hands) -> None:
    store, _ = await a_store(hands.ctx, "apples")
    await work(hands.ctx)
    id = new_id("task_")
    lost = IndexTask(id=id, created_at=now(), job=id, vector_store_id=store.id, file_id="", verb="forget")
    await hands.ctx.store.write(Add(lost))
    with counted(**{"index task": 1}):
        await hands.look_on(HOUR + 30, every=15)
    assert await hands.ctx.ports.vectors.count(hands.ctx.project, store.id) == 0
    assert await hands.ctx.store.all(IndexTask) == []


# --- uploads and jobs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [False, True])
def test_an_upload_ends(tmp_path: Path, lost: bool) -> None:
    @with_hands
    async def test(hands: Hands) -> None:
        new = NewUpload(filename="a.txt", purpose="assistants", bytes=5, mime_type="text/plain")
        upload = await uploads.begin(hands.ctx, new, "a.txt")
        part = PartBlob(id=new_id("part_"), created_at=now(), upload_id=upload.id, bytes=5)
        await hands.ctx.store.write(Add(part))
        if lost:
            await hands.ctx.store.write(Remove(Upload, upload.id))
        with counted():
            await hands.look_on(uploads.LIFE_SECONDS + uploads.COMPOSING_SECONDS, every=60)
        with counted(upload=1):
            await hands.look_on(30)
        tally = await hands.ctx.store.get(UploadTally, upload.id)
        assert (tally.ended, tally.open) == (True, False)
        assert await hands.ctx.store.all(PartBlob) == []
        if not lost:
            assert (await hands.ctx.store.get(Upload, upload.id)).status == "expired"

    test(tmp_path)


@with_hands
async def test_a_job_goes_that_has_nothing_left_to_do(hands: Hands) -> None:
    done = await a_kept_run(hands.ctx, status="completed")
    waiting = await a_kept_run(hands.ctx, expires_at=now() + 10_000_000)
    keys = (done.id, f"{done.id}.end", "run_gone", waiting.id)
    await hands.ctx.store.write(*(Start(RUN_JOB, key) for key in keys), Start("of a later program", "x"))
    await hands.ctx.store.write(Start(INGEST_JOB, "task_gone", "background"))
    with counted(job=3):
        await hands.look_on(630)
    with counted(job=1):
        await hands.look_on(24 * HOUR, every=HOUR)
    left = [job.key for lane in ("live", "background") for job in await hands.ctx.ports.database.waiting(lane, 9)]
    assert left == [waiting.id, "x"]


@with_hands
async def test_a_store_that_expires_cancels_what_was_to_be_read(hands: Hands) -> None:
    store, (file_id,) = await a_store(hands.ctx, "apples", expires_after=ExpiresAfter(anchor="last_active_at", days=1))
    await change_one(hands.ctx.store, Change(VectorStore, store.id, lambda store: setattr(store, "expires_at", now())))
    await ingest.sweep(hands.ctx.ports)
    assert (await file_in(hands.ctx, store, file_id)).status == "cancelled"
    store = await fresh(hands.ctx, store)
    assert (store.status, store.file_counts.cancelled, store.file_counts.in_progress) == ("expired", 1, 0)
    await remove_store(hands.ctx, store.id)


# --- in a server -----------------------------------------------------------------------------------------------------

RUN_SECONDS = 10


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_server_ends_a_run_whose_steps_are_spoilt(upstream: ScriptedUpstream, tmp_path: Path, database: str) -> None:
    settings = {"database": fresh_database()} if database == "postgres" else {}
    with (
        Everloom(tmp_path, upstream=upstream.url, run_expires=RUN_SECONDS, **settings) as server,
        client_of(server) as http,
    ):
        settled(http, a_run(http))  # A server's first run may take longer, and expire, before its model is asked.
        assert last_resorts(server) == 0
        upstream.requests.clear()
        upstream.script(Hangs(4))
        run = a_run(http)
        assert upstream.wait(lambda: len(upstream.requests) == 1)
        step = step_of(http, run)
        if database == "postgres":
            with psycopg.connect(settings["database"], autocommit=True) as connection:
                connection.execute("UPDATE run_steps SET body = %s WHERE id = %s", (SPOILT, step["id"]))
        else:
            with contextlib.closing(sqlite3.connect(tmp_path / "everloom.db", timeout=30)) as connection:
                connection.execute("UPDATE run_steps SET body = ? WHERE id = ?", (SPOILT, step["id"]))
                connection.commit()
        began = time.monotonic()
        with http.stream("GET", f"{run_path(run)}/events", timeout=RUN_SECONDS + 45) as events:
            lines = list(events.iter_lines())
        assert time.monotonic() - began < RUN_SECONDS + 40
        names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        assert names[-2:] == ["thread.run.expired", "done"]
        assert fetched(http, run_path(run))["status"] == "expired"
        assert last_resorts(server) == 1


def step_of(http: httpx.Client, run: Json) -> Json:
    deadline = time.monotonic() + 60
    while not (steps := fetched(http, f"{run_path(run)}/steps")["data"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    step: Json = steps[0]
    return step
