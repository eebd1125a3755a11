"""The delivery of events to an endpoint: its line, by one process at a time, until it is empty or the endpoint fails.

What is on its way stands in the database until it has been answered with 2xx, so that it arrives at least once. An
endpoint's deliveries stand in the order in which they are due; one that failed goes back to where its next try is.
While an endpoint fails, it is asked for one at a time, after pauses that grow; nobody else waits for it meanwhile.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from msgspec import Struct
from prometheus_client import Counter

from everloom.context import Context, Ports
from everloom.kit.backoff import Backoff
from everloom.kit.errors import BadRequest, Unavailable
from everloom.kit.ids import rank_at
from everloom.objects.base import PageQuery
from everloom.objects.webhooks import (
    HOLD_SECONDS,
    LONGEST_SILENCE,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookState,
)
from everloom.store.base import LONGEST_WAIT, Add, Change, Missing, Operation, Remove, Start
from everloom.webhooks.base import Undelivered
from everloom.work.organization.projects import refuse_archived
from everloom.work.webhooks.announcing import WEBHOOK_JOB
from everloom.work.webhooks.endpoints import secrets_of
from everloom.work.webhooks.signing import signed

log = logging.getLogger(__name__)

GIVE_UP_SECONDS = 72 * 3600
"""How long an event is tried again, as the platform does."""

LONGEST_PAUSE = 3600.0
"""Seconds between two tries of one event; at an endpoint that fails the next one is tried before that."""

AT_ONCE = 8
"""Deliveries under way to an endpoint that answers."""

SLICE_SECONDS = 30.0
"""After which a long line is put down, so that others get its place."""

_NO_PLACE_SECONDS = 2.0
_GONE = 410

_OUTCOMES = Counter("everloom_webhook_deliveries", "Tries at delivering events to webhook endpoints", ["outcome"])
for _outcome in ("delivered", "failed", "given_up"):
    _OUTCOMES.labels(_outcome)


class _Try(Struct):
    """What came of a delivery: the status it was answered with, 0 and a reason where it was not."""

    delivery: WebhookDelivery
    status: int
    reason: str

    @property
    def delivered(self) -> bool:
        return 200 <= self.status < 300


class _Superseded(Exception):
    """Another process holds the line."""


async def deliver(ports: Ports, project: str, endpoint_id: str) -> None:
    """Deliver what waits for an endpoint. One that is gone gets nothing more, nor does one of an archived project."""
    line = _Line(Context.of(ports, project), endpoint_id)
    try:
        await line.work()
    except Unavailable:
        raise
    except _Superseded:
        log.info("the line of the webhook endpoint %s went on elsewhere", endpoint_id)
    except Missing:
        await line.drop()
    except Exception:
        log.exception("delivering to the webhook endpoint %s failed; trying again", endpoint_id)
        await line.store.write(line.start(LONGEST_WAIT))


class _Line:
    """One process's hold on an endpoint's deliveries."""

    def __init__(self, ctx: Context, endpoint_id: str) -> None:
        self.store = ctx.store
        self._ctx = ctx
        self._id = endpoint_id
        self._me = ctx.ports.outgoing.name

    async def work(self) -> None:
        """Deliver, if nobody else does and the endpoint is not paused. Errors: ``Missing`` where it is gone."""
        try:
            await refuse_archived(self._ctx)
        except BadRequest:
            await self.drop()
            return
        outgoing, project = self._ctx.ports.outgoing, self._ctx.project
        with outgoing.projects.take(project) as free:
            if not free:
                await self._put_off()
            elif (state := await self._take()) is None:
                return
            elif not state.failures:
                await self._deliver(state)
            else:
                with outgoing.failing.take(project) as free:
                    if free:
                        await self._deliver(state)
                    else:
                        await self._leave(time.time() + _NO_PLACE_SECONDS, whatever=True)

    async def drop(self) -> None:
        """Forget what waits."""
        await self.store.write(Remove(WebhookDelivery, endpoint_id=self._id))

    def start(self, after: float = 0.0) -> Start:
        """Somebody's next look at the line."""
        return Start(WEBHOOK_JOB, self._id, "outgoing", after=min(max(after, 0.0), LONGEST_WAIT))

    async def _deliver(self, state: WebhookState) -> None:
        ends = time.monotonic() + SLICE_SECONDS
        while True:
            endpoint = await self.store.get(WebhookEndpoint, self._id)
            page = await self.store.find(WebhookDelivery, PageQuery(limit=AT_ONCE, order="asc"), endpoint_id=self._id)
            at, line = time.time(), page.decode()
            due = [each for each in line if not 0 < each.due_at - at <= LONGEST_PAUSE]
            next_due = line[len(due)].due_at if len(due) < len(line) else 0.0
            if not due:
                if await self._leave(next_due):
                    return
                continue
            stale = [each for each in due if _is_stale(each, state, at)]
            fresh = [each for each in due if each not in stale][: 1 if state.failures else AT_ONCE]
            keys = secrets_of(state, at)
            tries = await asyncio.gather(*(self._try(endpoint, each, keys) for each in fresh))
            whole = len(line) < AT_ONCE and len(stale) + len(fresh) == len(due)
            state = await self._keep(stale, tries, next_due if whole else None)
            if state.holder != self._me:
                return
            if time.monotonic() > ends:
                await self._leave(time.time(), whatever=True)
                return

    async def _try(self, endpoint: WebhookEndpoint, delivery: WebhookDelivery, keys: Sequence[str]) -> _Try:
        headers = signed(delivery.id, int(time.time()), delivery.body, keys)
        try:
            status = await self._ctx.ports.courier.post(endpoint.url, delivery.body.encode(), headers)
        except Undelivered as problem:
            return _Try(delivery, 0, str(problem))
        return _Try(delivery, status, f"it answered {status}")

    # --- what is kept ------------------------------------------------------------------------------------------------

    async def _keep(self, stale: Sequence[WebhookDelivery], tries: Sequence[_Try], rest: float | None) -> WebhookState:
        """Keep what came of some tries, and let the line go where one failed, for a pause, or where they were the last
        that were due: ``rest`` says when the next ones are (0: none is there), None that there may be more.
        """
        at = time.time()
        failed = [each for each in tries if not each.delivered]
        operations: list[Operation] = [
            Remove(WebhookDelivery, [*(each.id for each in stale), *(each.delivery.id for each in tries)])
        ]
        again = [_put_off(each.delivery, at) for each in failed if each.status != _GONE]
        kept = [each for each in again if not _is_over(each, at)]
        operations += [Add(each, rank=rank_at(each.due_at)) for each in kept]
        looks: list[Operation] = []

        def edit(state: WebhookState) -> None:
            self._check(state)
            looks.clear()
            state.held_until = at + HOLD_SECONDS
            if len(failed) < len(tries):
                state.failures, state.failing_since, state.paused_until = 0, 0.0, 0.0
            if failed:
                state.failures += 1
                state.failing_since = state.failing_since or at
                state.paused_until = at + Backoff(state.failures + 2, LONGEST_SILENCE).pause()
                state.holder = ""
                looks.extend(self._look_at(state, state.paused_until, at))
            elif rest is not None and not state.again:
                state.holder = ""
                if rest:
                    looks.extend(self._look_at(state, rest, at))
            state.again = False

        change = Change(WebhookState, self._id, edit, then=lambda _: looks)
        state = (await self.store.write(change, *operations))[change]
        self._count(tries, len(stale) + len(failed) - len(kept), state)
        return state

    def _count(self, tries: Sequence[_Try], given_up: int, state: WebhookState) -> None:
        for each in tries:
            _OUTCOMES.labels("delivered" if each.delivered else "failed").inc()
        if given_up:
            _OUTCOMES.labels("given_up").inc(given_up)
            log.warning("%d events for the webhook endpoint %s are given up", given_up, self._id)
        if state.failures == 1:
            reason = next(each.reason for each in tries if not each.delivered)
            log.warning("the webhook endpoint %s failed: %s; it is tried again", self._id, reason)

    async def _take(self) -> WebhookState | None:
        """Hold the line, if nobody else does and the endpoint is not paused; otherwise somebody looks again."""
        at = time.time()
        looks: list[Operation] = []

        def edit(state: WebhookState) -> None:
            looks.clear()
            state.called_at = 0.0
            if state.holder != self._me and state.is_held(at):
                state.again = True
                looks.extend(self._look_at(state, state.held_until, at))
            elif state.is_paused(at):
                state.holder = ""
                looks.extend(self._look_at(state, state.paused_until, at))
            else:
                state.holder, state.held_until, state.again = self._me, at + HOLD_SECONDS, False

        change = Change(WebhookState, self._id, edit, then=lambda _: looks)
        state = (await self.store.write(change))[change]
        return state if state.holder == self._me else None

    async def _leave(self, until: float, *, whatever: bool = False) -> bool:
        """Let the line go, with a look at it at ``until`` (0: when something comes); not where others have come in vain
        meanwhile, unless ``whatever``. Whether it was let go.
        """
        at = time.time()
        looks: list[Operation] = []

        def edit(state: WebhookState) -> None:
            self._check(state)
            looks.clear()
            if state.again and not whatever:
                state.again, state.held_until = False, at + HOLD_SECONDS
                return
            state.holder, state.again = "", False
            if until:
                looks.extend(self._look_at(state, until, at))

        change = Change(WebhookState, self._id, edit, then=lambda _: looks)
        return not (await self.store.write(change))[change].holder

    async def _put_off(self) -> None:
        """Have somebody look in a moment, when there may be a place."""
        at = time.time()
        looks: list[Operation] = []

        def edit(state: WebhookState) -> None:
            looks[:] = self._look_at(state, at + _NO_PLACE_SECONDS, at)

        await self.store.write(Change(WebhookState, self._id, edit, then=lambda _: looks))

    def _look_at(self, state: WebhookState, until: float, at: float) -> list[Operation]:
        """Somebody's look at ``until``, in an edit of the state: nothing where one is coming by then, so that many who
        come in vain leave one behind them, and not many.
        """
        until = min(until, at + LONGEST_WAIT)
        if state.is_looked_at(at, until):
            return []
        state.next_look = max(until, at)
        return [self.start(until - at)]

    def _check(self, state: WebhookState) -> None:
        if state.holder != self._me:
            raise _Superseded


def _put_off(delivery: WebhookDelivery, at: float) -> WebhookDelivery:
    """The delivery as it waits for its next try."""
    delivery.tries += 1
    delivery.due_at = at + Backoff(delivery.tries + 4, LONGEST_PAUSE).pause()
    return delivery


def _is_over(delivery: WebhookDelivery, at: float) -> bool:
    return at - delivery.created_at > GIVE_UP_SECONDS


def _is_stale(delivery: WebhookDelivery, state: WebhookState, at: float) -> bool:
    """Whether an event's time is over. That of one that was never tried is, where the endpoint has failed all that
    time; else it may have been us who were away.
    """
    failing = state.failing_since and at - state.failing_since > GIVE_UP_SECONDS
    return _is_over(delivery, at) and bool(delivery.tries or failing)
