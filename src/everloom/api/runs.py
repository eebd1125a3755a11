"""The Runs and Run steps tags: an assistant at work on a thread, and what it did, step by step."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import UNSET, Meta, Struct

from everloom.api.http.routes import EventStream, Request, Routes
from everloom.context import Context
from everloom.kit import sse
from everloom.kit.errors import BadRequest
from everloom.kit.pouring import each
from everloom.objects.base import MetadataChange, Page, PageQuery
from everloom.objects.events import STEP_EVENTS
from everloom.objects.runs import TERMINAL, ModelRequest, NewRun, NewThreadRun, Run, ToolOutputs
from everloom.objects.steps import SEARCH, Include, RunStep, hide_texts, thread_of, without_texts
from everloom.objects.threads import Thread
from everloom.store.base import Change, change_one
from everloom.work.changes import WaitSeconds, until_changed
from everloom.work.runs import verbs as runs
from everloom.work.runs.events import follow
from everloom.work.runs.model_requests import ModelRequestQuery, model_requests

routes = Routes(
    permission="threads", api_family="assistants", ids={"thread_id": Thread, "run_id": Run, "step_id": RunStep}
)


class StepInclude(Struct, frozen=True, kw_only=True):
    """``include[]`` names what is left out unless asked for: the texts that a file search found."""

    include: list[Include] = []


class StreamQuery(Struct, frozen=True, kw_only=True):
    """``ids`` asks for the number of each event of a stream, behind which it can be read again; so does a
    ``Last-Event-ID`` header, whatever it says. By themselves streams have no numbers, as the platform's had none.
    """

    ids: bool = False


class WaitQuery(Struct, frozen=True, kw_only=True):
    """``wait``: so many seconds, at most, until the run's state is another than it is now."""

    wait: WaitSeconds = 0.0


class RunQuery(StreamQuery, frozen=True, kw_only=True):
    """What a new run's stream shows, besides."""

    include: list[Include] = []


@routes.post("/threads/{thread_id}/runs")
async def create_run(
    ctx: Context, request: Request, thread_id: str, body: NewRun, query: RunQuery
) -> Run | EventStream:
    """createRun. With ``stream`` the run's events, from its creation to its end or next pause."""
    run = await runs.begin(ctx, thread_id, body, empty_threads=_lets_empty_threads_run(request))
    shown = _Shown(ids=_asks_for_ids(request, query), texts=bool(query.include))
    return _stream(ctx, request, run.id, shown) if body.stream else run


@routes.post("/threads/runs")
async def create_thread_and_run(
    ctx: Context, request: Request, body: NewThreadRun, query: StreamQuery
) -> Run | EventStream:
    """createThreadAndRun."""
    run = await runs.begin_with_thread(ctx, body, empty_threads=_lets_empty_threads_run(request))
    return _stream(ctx, request, run.id, _Shown(ids=_asks_for_ids(request, query))) if body.stream else run


@routes.get("/threads/{thread_id}/runs")
async def list_runs(ctx: Context, thread_id: str, page: PageQuery) -> Page[Run]:
    """listRuns."""
    await ctx.store.get(Thread, thread_id)
    return await ctx.store.find(Run, page, thread_id=thread_id)


@routes.get("/threads/{thread_id}/runs/{run_id}")
async def get_run(ctx: Context, request: Request, thread_id: str, run_id: str, query: WaitQuery) -> Run:
    """getRun. With ``wait``, an extension, once the run has come to another state, or can come to none."""

    async def look() -> Run:
        return await ctx.store.get(Run, run_id, thread_id=thread_id)

    if not query.wait:
        return await look()
    changed = until_changed(ctx, run_id, look, lambda run: run.status, seconds=query.wait, final=TERMINAL)
    return await request.unless_gone(changed)


@routes.post("/threads/{thread_id}/runs/{run_id}")
async def modify_run(ctx: Context, thread_id: str, run_id: str, body: MetadataChange) -> Run:
    """modifyRun: the metadata, while nobody is at work on the run."""

    def edit(run: Run) -> None:
        if run.status in ("queued", "in_progress", "cancelling"):
            raise BadRequest(f"Cannot update run with status '{run.status}'.")
        if body.metadata is not UNSET:
            run.metadata = body.metadata or {}

    return await change_one(ctx.store, Change(Run, run_id, edit, thread_id=thread_id))


@routes.post("/threads/{thread_id}/runs/{run_id}/cancel")
async def cancel_run(ctx: Context, thread_id: str, run_id: str) -> Run:
    """cancelRun."""
    return await runs.cancel(ctx, thread_id, run_id)


@routes.post("/threads/{thread_id}/runs/{run_id}/submit_tool_outputs")
async def submit_tool_outputs(
    ctx: Context, request: Request, thread_id: str, run_id: str, body: ToolOutputs, query: StreamQuery
) -> Run | EventStream:
    """submitToolOuputsToRun. With ``stream`` the events from here on."""
    after = await ctx.store.last_seq(run_id) if body.stream else 0
    run = await runs.submit(ctx, thread_id, run_id, body.tool_outputs)
    return _stream(ctx, request, run.id, _Shown(ids=_asks_for_ids(request, query)), after) if body.stream else run


class StepQuery(PageQuery, frozen=True, kw_only=True):
    """A page of steps, with what ``include[]`` adds to each."""

    include: list[Include] = []


@routes.get("/threads/{thread_id}/runs/{run_id}/steps")
async def list_run_steps(ctx: Context, thread_id: str, run_id: str, page: StepQuery) -> Page[RunStep]:
    """listRunSteps. A step that stands in the thread shows that its run does: they are removed together."""
    steps = await ctx.store.find(RunStep, page, run_id=run_id)
    if not steps.bodies or thread_of(steps.bodies[0]) != thread_id:
        await ctx.store.get(Run, run_id, thread_id=thread_id)
    if page.include or not steps.mentions(SEARCH):
        return steps
    return steps.with_bodies([without_texts(body) for body in steps.bodies])


@routes.get("/threads/{thread_id}/runs/{run_id}/steps/{step_id}")
async def get_run_step(ctx: Context, thread_id: str, run_id: str, step_id: str, query: StepInclude) -> RunStep:
    """getRunStep."""
    await ctx.store.get(Run, run_id, thread_id=thread_id)
    step = await ctx.store.get(RunStep, step_id, run_id=run_id)
    return step if query.include else hide_texts(step)


@routes.get("/threads/{thread_id}/runs/{run_id}/model_requests")
async def list_model_requests(
    ctx: Context, thread_id: str, run_id: str, query: ModelRequestQuery
) -> Page[ModelRequest]:
    """An extension: what the run has asked of its model, as it was sent."""
    return await model_requests(ctx, await ctx.store.get(Run, run_id, thread_id=thread_id), query)


class EventQuery(Struct, frozen=True, kw_only=True):
    """``after`` is the number of the last event seen; a ``Last-Event-ID`` header means the same."""

    after: Annotated[int, Meta(ge=0)] = 0


@routes.get("/threads/{thread_id}/runs/{run_id}/events")
async def list_run_events(
    ctx: Context, request: Request, thread_id: str, run_id: str, query: EventQuery
) -> EventStream:
    """An extension: the run's events again, from the start or behind ``Last-Event-ID``, then live."""
    await ctx.store.get(Run, run_id, thread_id=thread_id)
    after = query.after
    if (last := request.header(b"last-event-id")) is not None:
        if not (last.isascii() and last.isdigit()) or len(last) > 18:
            raise BadRequest("Invalid 'Last-Event-ID': expected the id of an event.", code="invalid_value")
        after = int(last)
    return _stream(ctx, request, run_id, _Shown(ids=True), after)


class _Shown(Struct, frozen=True, kw_only=True):
    """What of its events a stream shows: their numbers, the texts that searches found."""

    ids: bool
    texts: bool = False


def _lets_empty_threads_run(request: Request) -> bool:
    return request.dialect is not None and request.dialect.empty_threads_run


def _asks_for_ids(request: Request, query: StreamQuery) -> bool:
    return query.ids or request.header(b"last-event-id") is not None


def _stream(ctx: Context, request: Request, run_id: str, shown: _Shown, after: int = 0) -> EventStream:
    return EventStream(each(_frames(ctx, request, run_id, after, shown)))


async def _frames(ctx: Context, request: Request, run_id: str, after: int, shown: _Shown) -> AsyncIterator[bytes]:
    async for batch in follow(ctx, run_id, after):
        if not batch:
            if shown.ids:  # Readers written by hand take lines in pairs, and were never sent a comment.
                yield sse.KEEP_ALIVE
            continue
        frames = []
        for event in batch:
            name: str = event.name
            data = event.data
            if not shown.texts and name in _WHOLE_STEPS:
                data = without_texts(data)
            if request.dialect is not None:
                if (older := await request.dialect.event(ctx, name, data)) is None:
                    continue
                name, data = older
            frames.append(sse.frame(data, event=name, id=event.seq if shown.ids else None))
        yield b"".join(frames)
    yield sse.frame(sse.DONE, event="done")


_WHOLE_STEPS = frozenset(name for status, name in STEP_EVENTS.items() if status != "in_progress")
"""The events that carry a step with what its searches found."""
