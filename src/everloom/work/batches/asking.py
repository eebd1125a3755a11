"""One line of a batch, asked until it has an answer that stands."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

import msgspec
from msgspec import Raw, Struct

from everloom.context import Context
from everloom.context.metering import UsageRecord
from everloom.context.throttle import BrokenOff, Throttle
from everloom.kit.backoff import Backoff
from everloom.kit.errors import NO_JSON, ApiError, ModelAway, ModelFailure, Unavailable
from everloom.kit.ids import new_id
from everloom.kit.log import outage
from everloom.kit.outages import disk_is_away
from everloom.objects.base import encode
from everloom.objects.batches import BatchLine, LineOutput, LineResponse
from everloom.work.batches.endpoints import LineEndpoint

log = logging.getLogger(__name__)

MOST_FAILURES = 8
"""How often a line may fail at a model's server that answers others, before its failure stands."""

PATIENCE_SECONDS = 600.0
"""For how long a server may answer nobody, before it is believed that the lines are to blame."""

IN_PLACE_SECONDS = 10.0
"""How long lines wait where they are, while their model answers nobody; then others have their place."""

LONGEST_PAUSE = 60.0
_LONGEST_ASKED_PAUSE = 600.0
_OUR_FAULT = "The server had an error processing your request."


class LineAnswer(Struct):
    """What came of a line; ``records`` are what it has used, to be entered with it."""

    number: int
    output: LineOutput
    failed: bool
    records: list[UsageRecord]

    @property
    def size(self) -> int:
        """Its bytes, about."""
        return 0 if self.output.response is None else len(bytes(self.output.response.body))


class PutOff(Exception):
    """Nobody is answered for now: the line is to be asked later, and takes no place of others meanwhile."""


class LineAsker:
    """Asks lines of one batch, under its maker's key. ``base_url`` is for links in answers. ``lets_go`` is set once the
    model has answered nobody for a while: what is under way ends, and nothing more is asked. ``failures``: how often
    lines have failed that have no answer yet, by number.
    """

    def __init__(
        self,
        ctx: Context,
        endpoint: LineEndpoint,
        throttle: Throttle,
        base_url: str,
        failures: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self.lets_go = asyncio.Event()
        self.failures = dict(failures)
        self._ctx = ctx
        self._endpoint = endpoint
        self._throttle = throttle
        self._base_url = base_url

    async def ask(self, number: int, line: BatchLine) -> LineAnswer:
        """The answer or the error that stands: an outage is waited for, a refusal for want of room too.

        Errors: ``PutOff``.
        """
        records: list[UsageRecord] = []
        try:
            status, body = await self._until_it_stands(number, line, records)
        except BaseException as problem:
            if isinstance(problem, Exception) and not isinstance(problem, PutOff) and not disk_is_away(problem):
                log.exception("line %d of a batch failed", number)
                status, body = 500, encode(ModelFailure(_OUR_FAULT, status=500).envelope())
            else:
                for record in records:  # Nobody will keep them with an answer.
                    self._ctx.ports.gate.meter.on_record(record)
                if disk_is_away(problem):
                    raise Unavailable("its disk", problem) from problem
                raise
        response = LineResponse(status_code=status, request_id=new_id("req_"), body=Raw(body))
        self.failures.pop(number, None)
        output = LineOutput(id=new_id("batch_req_"), custom_id=line.custom_id, response=response, error=None)
        return LineAnswer(number, output, status >= 400, records)

    async def _until_it_stands(self, number: int, line: BatchLine, records: list[UsageRecord]) -> tuple[int, bytes]:
        ctx, body, throttle = self._ctx.keeping(records.append), bytes(line.body), self._throttle
        backoff, answers = Backoff(longest=LONGEST_PAUSE), throttle.answers
        while True:
            try:
                answer = _in_one_line(await throttle.run(lambda: self._answer(ctx, body)))
                throttle.answered()
                return 200, answer
            except BrokenOff:
                continue
            except Unavailable as away:
                outage("lines of batches", away)
                await asyncio.sleep(backoff.pause())
            except ApiError as error:
                if not _may_pass(error):
                    throttle.reached()
                    return error.status, encode(error.envelope())
                throttle.failed()
                if counts := _counts(error):
                    self.failures[number] = failures = self.failures.get(number, 0) + 1
                    answers_others = throttle.answers > answers or throttle.failing_for() >= PATIENCE_SECONDS
                    if failures >= MOST_FAILURES and answers_others:
                        return error.status, encode(error.envelope())
                if not counts or failures == 1:  # What fails again and again says nothing of the others.
                    throttle.troubled()
                await self._wait(max(backoff.pause(), _asked_pause(error)), in_place=counts)

    async def _answer(self, ctx: Context, body: bytes) -> bytes:
        if self.lets_go.is_set():
            raise PutOff
        return await self._endpoint.answer(ctx, body, self._base_url)

    async def _wait(self, seconds: float, *, in_place: bool) -> None:
        """Let some time pass. Errors: ``PutOff``, unless the line is to be asked ``in_place``."""
        if in_place:
            return await asyncio.sleep(seconds)
        if self._throttle.failing_for() >= IN_PLACE_SECONDS:
            self.lets_go.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.lets_go.wait(), seconds)
            raise PutOff


def _counts(error: ApiError) -> bool:
    """Whether an error may be the line's own fault: a server that is away is waited for, one that is full too."""
    if isinstance(error, ModelAway):
        return error.reached
    return error.status >= 500 and error.code != "overloaded"


def _may_pass(error: ApiError) -> bool:
    """Whether the same line may fare better later."""
    if error.status == 429:
        return error.code != "insufficient_quota" and error.headers.get("x-should-retry") != "false"
    return error.status >= 500 and error.code != "upstream_refused"


def _asked_pause(error: ApiError) -> float:
    """The seconds that a server asks to be left alone."""
    try:
        if (milliseconds := error.headers.get("retry-after-ms")) is not None:
            return min(max(0.0, float(milliseconds) / 1000), _LONGEST_ASKED_PAUSE)
        return min(max(0.0, float(error.headers.get("retry-after") or 0)), _LONGEST_ASKED_PAUSE)
    except ValueError:
        return 0.0


def _in_one_line(answer: bytes) -> bytes:
    """The answer as a line of a file may hold it. Errors: ``ModelFailure``."""
    try:
        answer.decode()  # what is passed on unread is not looked at by the decoder
        return msgspec.json.format(answer, indent=-1) if b"\n" in answer or b"\r" in answer else answer
    except NO_JSON as error:
        raise ModelFailure("The model answered with something that is no JSON.", code="upstream_broken") from error
