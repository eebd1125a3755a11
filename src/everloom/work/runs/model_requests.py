"""What a run has asked its model, made again from what its prompts were made of.

No prompt is kept: its messages stand in the thread, its calls and their outputs in the run's steps. Each answer that
was kept knows from which message to which its prompt went (``SentPrompt``): the code that makes prompts does the rest.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from everloom.context import Context
from everloom.objects.base import JsonObject, Page, PageQuery, encode
from everloom.objects.files import File
from everloom.objects.runs import DroppedMessages, Generation, MissingParts, ModelRequest, Run, RunLease, SentPrompt
from everloom.objects.steps import RunStep
from everloom.work.runs.history import Standing, read_again
from everloom.work.runs.prompt import rebuild
from everloom.work.runs.state import RunState, load

MOST_BYTES = 8 * 1024 * 1024
"""Of one page: a prompt may be as long as what its model reads. At least one request is shown."""


class ModelRequestQuery(Struct, frozen=True, kw_only=True):
    """A page of requests: ``limit`` of them behind an id."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


async def model_requests(ctx: Context, run: Run, query: ModelRequestQuery) -> Page[ModelRequest]:
    """The requests of a run whose answers were kept. Errors: 400 for an ``after`` that is none of them."""
    page = PageQuery(limit=query.limit, order=query.order, after=query.after)
    found = await ctx.store.find(Generation, page, run_id=run.id)
    leases = await ctx.store.all(RunLease, id=[run.id])
    again = _Again(ctx, await load(ctx, run, leases[0].named if leases else ()))
    bodies: list[bytes] = []
    ids: list[str] = []
    size = 0
    for generation in found.decode():
        body = encode(await again.made(generation.id))
        size += len(body)
        if bodies and size > MOST_BYTES:
            break
        bodies.append(body)
        ids.append(generation.id)
    return Page(
        bodies,
        msgspec.json.Decoder(ModelRequest),
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=found.has_more or len(bodies) < len(found.bodies),
    )


class _Again:
    """The requests of one run; what several were made of is read once."""

    def __init__(self, ctx: Context, state: RunState) -> None:
        self._ctx = ctx
        self._state = state
        self._read: dict[tuple[str, str], Standing] = {}

    async def made(self, id: str) -> ModelRequest:
        """The request whose answer is kept under this id."""
        number = next(number for number, each in enumerate(self._state.generations) if each.id == id)
        generation = self._state.generations[number]
        shown: dict[str, Any] = {"model": generation.model, "messages": None}
        missing, exact = MissingParts(messages=0, files=[]), False
        if (sent := generation.sent) is not None:
            state = self._before(number)
            standing = await self._standing(sent)
            body = rebuild(state, sent, standing.turns, standing.said)
            missing = await self._missing(sent, body, standing)
            exact = not (missing.messages or missing.files) and len(standing.turns) <= sent.turns
            shown = body
        return ModelRequest(
            id=generation.id,
            created_at=generation.created_at if sent is None else sent.asked_at,
            run_id=self._state.run.id,
            thread_id=self._state.run.thread_id,
            step_id=generation.step_id,
            exact=exact,
            dropped=DroppedMessages(messages=generation.dropped_messages, has_more=sent is not None and not sent.whole),
            missing=missing,
            finish_reason=generation.finish_reason,
            usage=generation.usage,
            **shown,
        )

    def _before(self, number: int) -> RunState:
        """The run as it stood when its model was asked for the answer of this number."""
        state = self._state
        earlier = state.generations[:number]
        steps = _steps_before(state.steps, earlier, state.generations[number])
        ids = {step.id for step in steps}
        works = [work for work in state.works if work.step_id in ids]
        return RunState(state.run, steps, earlier, works, state.named)

    async def _standing(self, sent: SentPrompt) -> Standing:
        """What went in, with all that the run has ever said: what of that stood there its steps tell."""
        place = (sent.oldest, sent.newest)
        if place not in self._read:
            self._read[place] = await read_again(self._ctx, self._state, sent)
        return self._read[place]

    async def _missing(self, sent: SentPrompt, body: JsonObject, standing: Standing) -> MissingParts:
        files = list(dict.fromkeys(standing.pictures))
        there = {file.id for file in await self._ctx.store.all(File, id=files)} if files else set()
        return MissingParts(
            messages=max(0, sent.messages - len(body["messages"])), files=[id for id in files if id not in there]
        )


def _steps_before(steps: list[RunStep], earlier: list[Generation], asked: Generation) -> list[RunStep]:
    """The steps that stood there before an answer: those up to the end of the one before it, and of those that follow
    the calls that no model has asked for (``forced_search.py``).
    """
    ends = {generation.step_id for generation in earlier}
    behind = max((place for place, step in enumerate(steps, start=1) if step.id in ends), default=0)
    own = next((place for place, step in enumerate(steps) if step.id == asked.step_id), len(steps))
    forced = [step for step in steps[behind:own] if step.type == "tool_calls"]
    return [*steps[:behind], *forced]
