"""Lines of a batch: how long they are asked, and what becomes of what they have cost."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from everloom.context import Context
from everloom.context import throttle as throttles
from everloom.context.metering import UsageRecord
from everloom.context.throttle import Throttle
from everloom.context.traffic import LiveTraffic
from everloom.kit.errors import ApiError, BadRequest, ModelAway, ModelFailure, Unavailable
from everloom.objects.batches import (
    Batch,
    BatchAnswer,
    BatchLine,
    BatchSegment,
    BatchWork,
    LineOutput,
    LineResponse,
    NewBatch,
    RequestCounts,
)
from everloom.objects.files import File
from everloom.objects.tools import Usage
from everloom.objects.uploads import BlobDraft
from everloom.store.base import Add, Change, Remove
from everloom.work.batches import asking, outputs, verbs
from everloom.work.batches.answers import AnswerWriter, SegmentClosed
from everloom.work.batches.asking import MOST_FAILURES, LineAnswer, LineAsker, PutOff
from everloom.work.batches.endpoints import LineEndpoint
from everloom.work.batches.segments import work
from tests.batches import a_line, jsonl
from tests.loops import on_a_loop
from tests.replies import Says
from tests.scripted import ScriptedUpstream
from tests.work.test_ingest import on_a_server, uploaded

LINE = BatchLine(custom_id="one", method="POST", url="/v1/chat/completions", body=Raw(b"{}"))
FAILED = ModelFailure("no", status=502)
BROKEN = ModelAway("broken off", reached=True)
AWAY = ModelAway("nobody there")


class Model:
    """Says what it is told to, one after the other, and then the last for ever. ``asked`` is how often it was."""

    def __init__(self, *outcomes: ApiError | bytes, then: Callable[[], None] = lambda: None) -> None:
        self.asked = 0
        self._outcomes = deque(outcomes)
        self._then = then

    async def answer(self, ctx: Context, body: bytes, base: str) -> bytes:
        self.asked += 1
        outcome = self._outcomes.popleft() if len(self._outcomes) > 1 else self._outcomes[0]
        self._then()
        if isinstance(outcome, ApiError):
            raise outcome
        return outcome


class Clock:
    """Time that goes by where somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(throttles, "time", SimpleNamespace(monotonic=lambda: self.now))
        slept = SimpleNamespace(Event=asyncio.Event, sleep=self.sleep, wait_for=self.wait_for)
        monkeypatch.setattr(asking, "asyncio", slept)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def wait_for(self, waiting: Coroutine[Any, Any, bool], seconds: float) -> None:
        try:
            waiting.send(None)
        except StopIteration:
            return
        waiting.close()
        self.now += seconds
        raise TimeoutError


class Ground:
    """A context of which nothing is needed."""

    def __init__(self) -> None:
        self.recorded: list[UsageRecord] = []

    def keeping(self, keep: Any) -> Any:
        return self

    @property
    def ports(self) -> Any:
        return self

    @property
    def gate(self) -> Any:
        return self

    @property
    def meter(self) -> Any:
        return self

    def on_record(self, record: UsageRecord) -> None:
        self.recorded.append(record)


def an_asker(model: Model, throttle: Throttle, failures: dict[int, int] | None = None) -> LineAsker:
    ground: Any = Ground()
    return LineAsker(ground, LineEndpoint("chat", model.answer), throttle, "", failures or {})


def a_throttle() -> Throttle:
    return Throttle(object(), LiveTraffic(), 32)


@pytest.mark.parametrize("error", [FAILED, BROKEN])
@on_a_loop
async def test_a_line_fails_for_good_once_others_are_answered(monkeypatch: pytest.MonkeyPatch, error: ApiError) -> None:
    Clock(monkeypatch)
    throttle = a_throttle()
    model = Model(error, then=throttle.answered)
    answer = await an_asker(model, throttle).ask(1, LINE)
    assert (answer.failed, model.asked) == (True, MOST_FAILURES)


@on_a_loop
async def test_what_befalls_all_is_no_lines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says 500 to everything, until somebody starts it again."""
    Clock(monkeypatch)
    model = Model(*[FAILED] * (MOST_FAILURES + 4), b'{"good": 1}')
    answer = await an_asker(model, a_throttle()).ask(1, LINE)
    assert (answer.failed, model.asked) == (False, MOST_FAILURES + 5)


@on_a_loop
async def test_a_server_that_answers_nobody_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    answer = await an_asker(Model(FAILED), a_throttle()).ask(1, LINE)
    assert answer.failed
    assert asking.PATIENCE_SECONDS <= clock.now < 2 * asking.PATIENCE_SECONDS


@pytest.mark.parametrize("error", [AWAY, ApiError(429, "later"), ModelFailure("busy", status=503, code="overloaded")])
@on_a_loop
async def test_what_is_away_or_full_is_waited_for_in_nobodys_place(
    monkeypatch: pytest.MonkeyPatch, error: ApiError
) -> None:
    Clock(monkeypatch)
    throttle = a_throttle()
    asker = an_asker(Model(error), throttle, {1: 5})
    with pytest.raises(PutOff):
        await asker.ask(1, LINE)
    assert asker.lets_go.is_set()
    assert asker.failures == {1: 5}
    assert throttle.failing_for() >= asking.IN_PLACE_SECONDS
    with pytest.raises(PutOff):
        await asker.ask(2, LINE)


@on_a_loop
async def test_what_failed_before_it_was_put_off_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    throttle = a_throttle()
    model = Model(BROKEN, then=throttle.answered)
    answer = await an_asker(model, throttle, {1: MOST_FAILURES - 2}).ask(1, LINE)
    assert (answer.failed, model.asked) == (True, 2)


@on_a_loop
async def test_a_refusal_that_stands_is_asked_once() -> None:
    model = Model(BadRequest("no"))
    answer = await an_asker(model, a_throttle()).ask(1, LINE)
    assert (answer.failed, model.asked) == (True, 1)


@pytest.mark.parametrize("bad", [b'{"a": "\xff\xfe"}', b'{"a":\n', b'{"a":\n"\xed\xa0\x80"}'])
@on_a_loop
async def test_what_is_no_json_is_no_answer(monkeypatch: pytest.MonkeyPatch, bad: bytes) -> None:
    Clock(monkeypatch)
    model = Model(bad, b'{\r\n  "a": "b c",\n "d": 1e400\n}\n')
    answer = await an_asker(model, a_throttle()).ask(1, LINE)
    assert model.asked == 2
    assert answer.output.response is not None
    assert bytes(answer.output.response.body) == b'{"a":"b c","d":1e400}'


# --- keeping ---------------------------------------------------------------------------------------------------------


class Reserved:
    """A ticket: what was reserved is settled, and then released."""

    def __init__(self) -> None:
        self.released = False

    def settle(self, row: Any) -> None:
        assert row is not None

    def release(self) -> None:
        self.released = True


def an_answer(ctx: Context, number: int, ticket: Reserved, size: int = 2) -> LineAnswer:
    usage: Any = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    record = UsageRecord(caller=ctx.caller, capability="chat", model="m", outcome="completed", usage=usage)
    record.ticket, record.ended_at = ticket, 1_700_000_000  # type: ignore[assignment]
    response = LineResponse(status_code=200, request_id="req_1", body=Raw(b'"' + b"x" * (size - 2) + b'"'))
    output = LineOutput(id="batch_req_1", custom_id=f"line-{number}", response=response, error=None)
    return LineAnswer(number, output, False, [record])


async def a_batch(ctx: Context, lines: int = 3, **fields: Any) -> tuple[Batch, BatchSegment]:
    """A batch in progress, of one segment."""
    content = jsonl(a_line(number) for number in range(1, lines + 1))
    file_id = await uploaded(ctx, content.decode(), "in.jsonl")
    await ctx.store.write(Change(File, file_id, lambda file: setattr(file, "purpose", "batch")))
    new = NewBatch(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = await verbs.create(ctx, new, "")

    def begin(batch: Batch) -> None:
        batch.request_counts = RequestCounts(total=lines)
        batch.model = "gpt-4o"
        batch.status = fields.get("status", "in_progress")

    segment = BatchSegment(
        id=f"{batch.id}.00000",
        created_at=1,
        batch_id=batch.id,
        offset=0,
        length=len(content),
        first=1,
        count=lines,
    )
    change = Change(Batch, batch.id, begin)
    written = await ctx.store.write(change, Add(segment))
    return written[change], segment


def tokens(folder: Path) -> int:
    """What the ledger has of input tokens."""
    with closing(sqlite3.connect(folder / "everloom.db")) as connection:
        return int(connection.execute("SELECT COALESCE(SUM(input_tokens), 0) FROM ledger").fetchone()[0])


@pytest.mark.parametrize("gone", [False, True])
def test_what_came_too_late_is_paid_and_no_longer_reserved(tmp_path: Path, gone: bool) -> None:
    """The segment was closed while its line was asked; or it is not there any more."""

    @on_a_server
    async def check(ctx: Context, upstream: ScriptedUpstream) -> None:
        batch, segment = await a_batch(ctx)
        writer, ticket = AnswerWriter(ctx, batch, segment), Reserved()
        if gone:
            await ctx.store.write(Remove(BatchSegment, segment.id))
        else:
            await outputs.close_segments(ctx, batch)
        with pytest.raises(SegmentClosed):
            await writer.keep(an_answer(ctx, 1, ticket))
        assert ticket.released
        assert tokens(tmp_path) == 3

    check(tmp_path)


def test_a_line_that_two_have_answered_is_paid_twice_and_kept_once(tmp_path: Path) -> None:
    @on_a_server
    async def check(ctx: Context, upstream: ScriptedUpstream) -> None:
        batch, segment = await a_batch(ctx)
        one, other = (AnswerWriter(ctx, batch, segment) for _ in range(2))
        await one.keep(an_answer(ctx, 1, Reserved()))
        await asyncio.gather(*(other.keep(an_answer(ctx, number, Reserved())) for number in (1, 2)))
        assert other.done == {1, 2}
        assert other.batch.request_counts.completed == 2
        assert len(await ctx.store.all(BatchAnswer)) == 2
        assert tokens(tmp_path) == 9

    check(tmp_path)


def test_long_answers_are_written_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @on_a_server
    async def check(ctx: Context, upstream: ScriptedUpstream) -> None:
        batch, segment = await a_batch(ctx, 20)
        writer, written = AnswerWriter(ctx, batch, segment), []
        keep = writer._write_once

        async def counted(some: Sequence[LineAnswer], *rest: Any) -> None:
            written.append(len(some))
            await keep(some, *rest)

        monkeypatch.setattr(writer, "_write_once", counted)
        answers = [an_answer(ctx, number, Reserved(), 3_000_000 if number < 9 else 2) for number in range(1, 21)]
        await asyncio.gather(*map(writer.keep, answers))
        assert written == [2, 2, 2, 14]

    check(tmp_path)


# --- segments --------------------------------------------------------------------------------------------------------


@on_a_server
async def test_a_batch_that_is_being_finalized_cannot_be_cancelled(ctx: Context, upstream: ScriptedUpstream) -> None:
    batch, _ = await a_batch(ctx, status="finalizing")
    with pytest.raises(BadRequest) as refused:
        await verbs.cancel(ctx, batch.id)
    assert refused.value.code == "invalid_batch_status"
    assert "finalizing" in refused.value.message


@on_a_server
async def test_a_batch_ends_though_its_drafts_were_given_up(ctx: Context, upstream: ScriptedUpstream) -> None:
    """Its process had stood still for an hour, and others have swept."""
    batch, segment = await a_batch(ctx, status="finalizing")
    await AnswerWriter(ctx, batch, segment).keep(an_answer(ctx, 1, Reserved()))
    plan, store, given_up = await ctx.store.get(BatchWork, batch.id), ctx.store, []

    class Sweeping:
        """The store, beside a sweep that gives up the first draft before it is kept."""

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def write(self, *operations: Any, log: str | None = None) -> Any:
            drafts = await store.all(BlobDraft)
            if drafts and not given_up and any(isinstance(one, Add) and type(one.object) is File for one in operations):
                given_up.append(drafts[0].id)
                await store.write(Change(BlobDraft, drafts[0].id, lambda draft: setattr(draft, "pending_delete", True)))
            return await store.write(*operations, log=log)

    swept = replace(ctx, store=Sweeping())
    with pytest.raises(Unavailable):
        await outputs.finish(swept, batch, plan, "completed")
    await outputs.finish(swept, batch, plan, "completed")
    ended = await ctx.store.get(Batch, batch.id)
    assert ended.status == "completed"
    assert ended.output_file_id is not None
    assert ended.output_file_id not in given_up


@on_a_server
async def test_input_that_is_gone_is_away(ctx: Context, upstream: ScriptedUpstream) -> None:
    batch, segment = await a_batch(ctx)
    await ctx.ports.blobs.remove(batch.input_file_id)
    with pytest.raises(Unavailable):
        await work(ctx.ports, ctx.project, segment.id)


@on_a_server
async def test_input_that_cannot_be_read_any_more_fails_its_lines(ctx: Context, upstream: ScriptedUpstream) -> None:
    upstream.rule(lambda body: Says("yes"))
    batch, segment = await a_batch(ctx)

    async def damaged() -> Any:
        content = jsonl(a_line(number) for number in range(1, 4)).split(b"\n")
        yield b"\n".join([content[0], b"#" * len(content[1]), content[2], b""])

    await ctx.ports.blobs.put(batch.input_file_id, damaged())
    await work(ctx.ports, ctx.project, segment.id)
    counts = (await ctx.store.get(Batch, batch.id)).request_counts
    assert (counts.completed, counts.failed) == (2, 1)


def test_a_segment_whose_model_is_away_lets_go_of_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "IN_PLACE_SECONDS", 0.0)

    @on_a_server
    async def check(ctx: Context, upstream: ScriptedUpstream) -> None:
        _, segment = await a_batch(ctx)
        upstream.close()
        async with asyncio.timeout(60):
            await work(ctx.ports, ctx.project, segment.id)
        assert (await ctx.store.get(BatchSegment, segment.id)).done == []
        with closing(sqlite3.connect(tmp_path / "everloom.db")) as connection:
            rows = connection.execute("SELECT key, due FROM outbox WHERE kind = 'batch_lines'").fetchall()
        assert [key for key, _ in rows] == [segment.id]
        assert rows[0][1] > 0
        assert await ctx.ports.database.waiting("batch", 10) == []

    check(tmp_path)
