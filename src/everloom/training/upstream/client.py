"""Another server's files and fine-tuning jobs, over HTTP: bounded answers, the platform's words for errors."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from msgspec import Meta, Struct

from everloom.kit.bounded_heads import BoundedHeads
from everloom.kit.errors import NO_JSON, ApiError, ModelAway, ModelFailure
from everloom.models.upstream.errors import AWAY, ERROR_BYTES, refusal
from everloom.objects.base import JsonObject, encode
from everloom.training.base import Metrics

T = TypeVar("T")

ANSWER_BYTES = 16 << 20
"""The longest answer that is read."""

PAGE = 100
MOST_PAGES = 100
_CONNECT_S = 10.0
_SILENCE_S = 60.0

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Status = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]


class _Named(Struct):
    id: Id


class RemoteError(Struct):
    """Why a job failed there."""

    code: str | None = None
    message: str | None = None
    param: str | None = None


class RemoteNumbers(Struct):
    """Hyperparameters; "auto" until the server has chosen."""

    n_epochs: int | float | str | None = None
    batch_size: int | float | str | None = None
    learning_rate_multiplier: int | float | str | None = None
    beta: int | float | str | None = None


class RemoteJob(Struct):
    """A job as the server tells it."""

    id: Id
    status: Status
    training_file: str | None = None
    fine_tuned_model: Annotated[str, Meta(max_length=512)] | None = None
    trained_tokens: Annotated[int, Meta(ge=0)] | None = None
    estimated_finish: float | None = None
    error: RemoteError | None = None
    hyperparameters: RemoteNumbers | None = None


class RemoteEvent(Struct):
    """``data`` of a metrics event has numbers by name."""

    id: Id
    level: str = "info"
    message: str = ""
    type: str | None = None
    data: Any = None


class RemoteCheckpoint(Struct):
    id: Id
    fine_tuned_model_checkpoint: Annotated[str, Meta(min_length=1, max_length=512)]
    step_number: Annotated[int, Meta(ge=0)] = 0
    metrics: JsonObject = {}


class _JobPage(Struct):
    data: list[RemoteJob]
    has_more: bool = False


class _EventPage(Struct):
    data: list[RemoteEvent]
    has_more: bool = False


class _CheckpointPage(Struct):
    data: list[RemoteCheckpoint]
    has_more: bool = False


def read_metrics(step: int, given: Any) -> Metrics:
    """What of a server's numbers are metrics of ours."""
    fields = given if isinstance(given, dict) else {}
    known = {
        name: float(value)
        for name in Metrics.__struct_fields__
        if name != "step" and isinstance(value := fields.get(name), int | float) and value == value
    }
    return Metrics(step=step, **known)


class FineTuningClient:
    """``base_url`` ends where ``/fine_tuning`` begins.

    Errors of every method: ``ModelAway`` where the server is away or asks for patience, ``ApiError`` for what it
    refuses, ``ModelFailure`` for what cannot be read.
    """

    def __init__(self, base_url: str, api_key: str | None) -> None:
        self.host = urlsplit(base_url).hostname or base_url
        self._base = base_url.rstrip("/")
        self._headers = {"accept-encoding": "identity", "user-agent": "everloom"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def upload(self, path: Path, name: str) -> str:
        """The id of the file there."""
        with await asyncio.to_thread(path.open, "rb") as file:
            form = aiohttp.FormData()
            form.add_field("purpose", "fine-tune")
            form.add_field("file", file, filename=name, content_type="application/jsonl")
            made = await self._ask("POST", "/files", msgspec.json.Decoder(_Named).decode, data=form)
        return made.id

    async def create(self, body: JsonObject) -> RemoteJob:
        """createFineTuningJob."""
        headers = {"content-type": "application/json"}
        return await self._ask("POST", "/fine_tuning/jobs", _job, data=encode(body), headers=headers)

    async def job(self, id: str) -> RemoteJob:
        """retrieveFineTuningJob."""
        return await self._ask("GET", _path(id), _job)

    async def tell(self, id: str, verb: Literal["cancel", "pause", "resume"]) -> RemoteJob:
        """Cancel, pause or resume a job."""
        return await self._ask("POST", f"{_path(id)}/{verb}", _job)

    async def look(self) -> None:
        """Ask whether there is fine-tuning at all."""
        await self._ask("GET", "/fine_tuning/jobs?limit=1", msgspec.json.Decoder(_JobPage).decode)

    async def job_of(self, training_file: str) -> RemoteJob | None:
        """The job that learns from a file, if there is one."""
        decode, after = msgspec.json.Decoder(_JobPage).decode, ""
        for _ in range(MOST_PAGES):
            page = await self._ask("GET", f"/fine_tuning/jobs?limit={PAGE}{after}", decode)
            for job in page.data:
                if job.training_file == training_file:
                    return job
            if not page.has_more or not page.data:
                break
            after = f"&after={quote(page.data[-1].id, safe='')}"
        return None

    async def events(self, id: str, known: str) -> list[RemoteEvent]:
        """What happened behind the event ``known``, oldest first."""
        decode, after = msgspec.json.Decoder(_EventPage).decode, ""
        found: list[RemoteEvent] = []
        for _ in range(MOST_PAGES):
            page = await self._ask("GET", f"{_path(id)}/events?limit={PAGE}{after}", decode)
            for event in page.data:
                if event.id == known:
                    return found[::-1]
                found.append(event)
            if not page.has_more or not page.data:
                break
            after = f"&after={quote(page.data[-1].id, safe='')}"
        return found[::-1]

    async def checkpoints(self, id: str) -> list[RemoteCheckpoint]:
        """A job's checkpoints, in the order of their steps; none where the server knows of no such thing."""
        decode, after = msgspec.json.Decoder(_CheckpointPage).decode, ""
        found: list[RemoteCheckpoint] = []
        for _ in range(MOST_PAGES):
            page = await self._ask("GET", f"{_path(id)}/checkpoints?limit={PAGE}{after}", decode)
            found += page.data
            if not page.has_more or not page.data:
                break
            after = f"&after={quote(page.data[-1].id, safe='')}"
        return sorted(found, key=lambda checkpoint: checkpoint.step_number)

    async def _ask(
        self,
        method: str,
        path: str,
        decode: Callable[[bytes], T],
        *,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
            self._session = aiohttp.ClientSession(
                connector=BoundedHeads(),
                headers=self._headers,
                timeout=timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        try:
            async with self._session.request(
                method, self._base + path, data=data, headers=headers, allow_redirects=False
            ) as response:
                body = await _bounded(response, ANSWER_BYTES if response.status == 200 else ERROR_BYTES)
                if response.status != 200:
                    raise self._refusal(response.status, body, response.headers)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            reached = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL)
            text = f"The upstream {self.host} could not be reached: {error or error!r}"
            raise ModelAway(text, code="upstream_unreachable", reached=reached) from error
        try:
            return decode(body)
        except NO_JSON as error:
            text = f"The upstream {self.host} answered something that is no fine-tuning of the reference: {error}"
            raise ModelFailure(text, code="upstream_broken") from error

    def _refusal(self, status: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
        error = refusal(status, body, headers, self.host, "fine-tuning")
        if status in AWAY or status >= 500 or (status == 429 and error.code != "insufficient_quota"):
            away = ModelAway(error.message, status=503, code=error.code, reached=True)
            away.headers |= {name: headers[name] for name in ("retry-after", "retry-after-ms") if name in headers}
            return away
        return error


_job = msgspec.json.Decoder(RemoteJob).decode


def _path(id: str) -> str:
    return f"/fine_tuning/jobs/{quote(id, safe='')}"


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    async for block in response.content.iter_any():
        body += block
        if len(body) > most:
            response.close()
            return bytes(body[:most])
    return bytes(body)
