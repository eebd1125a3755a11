"""Fine-tuning by another server's jobs: ours is told of theirs, and goes on following the same one after a restart."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from everloom.kit.errors import NO_JSON, ApiError, BadRequest, ModelAway, NoSuchEndpoint
from everloom.kit.outages import disk_is_away
from everloom.models.upstream.errors import backoff
from everloom.objects.base import JsonObject
from everloom.training import base
from everloom.training.base import Artifact, Method, Metrics, TrainingEvent, TrainingFailed, TrainingTask
from everloom.training.upstream.client import FineTuningClient, RemoteEvent, RemoteJob, read_metrics
from everloom.training.upstream.state import RemoteState, read_state, write_state

T = TypeVar("T")

POLL_S = 5.0
FIRST_POLL_S = 0.25
_SLOWER = 1.25
"""Looks come soon at first: some jobs are refused at once."""

PATIENCE_S = 600.0
"""Seconds for which an upstream may be away before the job is handed back, to be gone on with later."""

_CANCEL_S = 20.0
_LONGEST_TEXT = 2000
_STATE = "upstream-{}.json"
_LIVE = ("validating_files", "queued", "running", "paused")


class UpstreamTrainer:
    """Has the server at ``base_url`` train. ``models``: its own names of the models by the names they are asked by.

    ``poll_s``: seconds between two looks. ``patience_s``: as ``PATIENCE_S``.
    """

    def __init__(
        self,
        models: Mapping[str, str],
        base_url: str,
        api_key: str | None = None,
        *,
        poll_s: float = POLL_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._models = models
        self._base_url, self._api_key = base_url, api_key
        self._poll_s, self._patience_s = poll_s, patience_s

    @property
    def works_here(self) -> bool:
        return False

    def trains(self, model: str) -> bool:
        """Whether the settings name it as one that is trained there."""
        return model in self._models

    async def check(self, model: str, method: Method) -> None:
        """Errors: ``BadRequest`` where the upstream has no fine-tuning; ``ModelFailure`` while it is away."""
        client = FineTuningClient(self._base_url, self._api_key)
        try:
            await client.look()
        except NoSuchEndpoint as error:
            text = f"The model `{model}` cannot be fine-tuned: the upstream {client.host} that serves it has none."
            raise BadRequest(text, param="model", code="fine_tuning_unavailable") from error
        finally:
            await client.close()

    def train(self, task: TrainingTask) -> "UpstreamRun":
        """Nothing begins before its events are asked for."""
        client = FineTuningClient(self._base_url, self._api_key)
        return UpstreamRun(client, task, self._models[task.base], self._poll_s, self._patience_s)


class UpstreamRun:
    """A job at the upstream, being followed. Only ``cancel`` ends it there: whoever merely lets go of it may go on."""

    def __init__(
        self, client: FineTuningClient, task: TrainingTask, model: str, poll_s: float, patience_s: float
    ) -> None:
        self._client = client
        self._task = task
        self._model = model
        self._poll_s, self._patience_s = poll_s, patience_s
        self._state = RemoteState()
        self._saves = 0
        self._last: Path | None = None
        self._metrics = Metrics(step=0)
        self._wake = asyncio.Event()
        self._making = asyncio.Lock()
        self._kept = ""
        """The job that the last state names."""
        self._began = self._pausing = self._closing = self._ended = False

    async def events(self) -> AsyncGenerator[TrainingEvent, None]:
        """See ``TrainingRun``."""
        try:
            await self._restore()
            async for event in self._happens():
                yield event
                if isinstance(event, base.Saved):
                    await asyncio.to_thread(self._taken, event.state)
        except ModelAway:
            if not self._pausing or self._closing or not self._state.job:
                raise
            yield await self._save()
            yield base.Paused()
        except OSError as error:
            if not disk_is_away(error):
                raise
            raise ModelAway(f"The state of the training could not be written: {error}") from error
        finally:
            if not self._closing:
                await self._client.close()

    def pause(self) -> None:
        """See ``TrainingRun``. An upstream that cannot pause goes on, and is followed again later."""
        self._pausing = True
        self._wake.set()

    async def close(self) -> None:
        """Stop following it."""
        self._closing = True
        self._wake.set()
        await self._client.close()

    async def cancel(self) -> None:
        """Cancel it there."""
        self._closing = True
        self._wake.set()
        try:
            await self._restore()
            async with asyncio.timeout(_CANCEL_S), self._making:
                await self._cancel()
        except (TimeoutError, ApiError) as error:
            raise ModelAway(f"The upstream {self._client.host} could not be told to cancel: {error!r}") from error
        finally:
            await self._client.close()

    async def _cancel(self) -> None:
        state = self._state
        if self._ended or not state.training_file:
            return
        if not state.job:
            found = await self._client.job_of(state.training_file)
            state.job = found.id if found is not None else ""
        if not state.job:
            return
        try:
            await self._client.tell(state.job, "cancel")
        except ModelAway:
            raise
        except ApiError:  # it has ended already, or is gone
            if (await self._client.job(state.job)).status in _LIVE:
                raise

    async def _happens(self) -> AsyncIterator[TrainingEvent]:
        job = await self._find()
        if job is None:
            if not self._state.training_file:
                await self._upload()
                yield await self._save()
            job = await self._create()
        self._state.job = job.id
        if self._kept != job.id:
            yield await self._save()
        if job.status == "paused":
            job = await self._patiently(lambda: self._client.tell(self._state.job, "resume"))
        pause = min(FIRST_POLL_S, self._poll_s)
        while True:
            async for event in self._news(job):
                yield event
            if job.status not in _LIVE:
                yield self._end(job)
                return
            if self._pausing:
                async for event in self._pause():
                    yield event
                return
            await self._rest(pause)
            pause = min(_SLOWER * pause, self._poll_s)
            job = await self._patiently(lambda: self._client.job(self._state.job))

    async def _find(self) -> RemoteJob | None:
        """The job there, if it has been made."""
        state = self._state
        if state.job:
            return await self._patiently(lambda: self._client.job(state.job))
        if state.training_file:
            return await self._patiently(lambda: self._client.job_of(state.training_file))
        return None

    async def _upload(self) -> None:
        task, state = self._task, self._state
        name = f"{task.job_id}.jsonl"
        state.training_file = await self._patiently(lambda: self._client.upload(task.training, name))
        if (path := task.validation) is not None:
            name = f"{task.job_id}-validation.jsonl"
            state.validation_file = await self._patiently(lambda: self._client.upload(path, name))

    async def _create(self) -> RemoteJob:
        """Made once: where the answer is lost, the job is looked for before another one is made."""

        async def make() -> RemoteJob:
            async with self._making:
                if self._closing:
                    raise ModelAway("The training was ended.")
                found = await self._client.job_of(self._state.training_file)
                made = found or await self._client.create(self._body())
                self._state.job = made.id
                return made

        return await self._patiently(make)

    def _body(self) -> JsonObject:
        task = self._task
        body: JsonObject = {"model": self._model, "training_file": self._state.training_file, "seed": task.seed}
        if self._state.validation_file:
            body["validation_file"] = self._state.validation_file
        if task.suffix:
            body["suffix"] = task.suffix
        names = ("n_epochs", "batch_size", "learning_rate_multiplier")
        numbers = {name: value for name in names if (value := getattr(task, name)) is not None}
        if task.method == "dpo":
            if task.beta is not None:
                numbers["beta"] = task.beta
            body["method"] = {"type": "dpo", "dpo": {"hyperparameters": numbers}}
        elif numbers:
            body["hyperparameters"] = numbers
        return body

    async def _news(self, job: RemoteJob) -> AsyncIterator[TrainingEvent]:
        """What has happened there since the last look."""
        if job.status in ("running", "paused", "succeeded") and not self._began:
            self._began = True
            yield await self._beginning(job)
        left = max(0.0, job.estimated_finish - time.time()) if job.estimated_finish else 0.0
        for event in await self._patiently(lambda: self._client.events(self._state.job, self._state.event)):
            self._state.event = event.id
            if (told := self._told(event, job.trained_tokens or 0, left)) is not None:
                yield told
        if job.status in ("running", "paused", "succeeded"):
            async for made in self._checkpoints(job.fine_tuned_model if job.status == "succeeded" else None):
                yield made
        if job.status == "succeeded" and job.fine_tuned_model and job.fine_tuned_model not in self._state.checkpoints:
            self._state.checkpoints.append(job.fine_tuned_model)
            artifact = Artifact(upstream_model=job.fine_tuned_model)
            yield base.CheckpointMade(metrics=self._metrics, artifact=artifact, last=True)

    async def _checkpoints(self, tuned: str | None) -> AsyncIterator[TrainingEvent]:
        try:
            listed = await self._patiently(lambda: self._client.checkpoints(self._state.job))
        except TrainingFailed:  # a server that has none
            return
        for checkpoint in listed:
            name = checkpoint.fine_tuned_model_checkpoint
            if name in self._state.checkpoints:
                continue
            self._state.checkpoints.append(name)
            self._metrics = read_metrics(checkpoint.step_number, checkpoint.metrics)
            last = name == tuned
            yield base.CheckpointMade(metrics=self._metrics, artifact=Artifact(upstream_model=name), last=last)
            if not last:  # That one is kept with the job's end, and told again to whoever comes before it.
                yield await self._save()

    def _told(self, event: RemoteEvent, trained: int, left: float) -> TrainingEvent | None:
        step = event.data.get("step") if isinstance(event.data, dict) else None
        if event.type == "metrics" and isinstance(step, int) and step >= 0:
            self._metrics = read_metrics(step, event.data)
            self._state.step = max(self._state.step, step)
            return base.Stepped(metrics=self._metrics, trained_tokens=trained, seconds=left)
        if event.level in ("warn", "warning"):
            return base.Warned(message=event.message[:_LONGEST_TEXT])
        return None

    async def _beginning(self, job: RemoteJob) -> TrainingEvent:
        chosen, task = job.hyperparameters, self._task
        epochs = _number(chosen and chosen.n_epochs) or task.n_epochs or 1
        batch = _number(chosen and chosen.batch_size) or task.batch_size or 1
        examples = await asyncio.to_thread(_lines, task.training)
        return base.Began(
            step=self._state.step,
            total_steps=math.ceil(examples / batch) * int(epochs),
            n_epochs=int(epochs),
            batch_size=int(batch),
            learning_rate_multiplier=_number(chosen and chosen.learning_rate_multiplier)
            or task.learning_rate_multiplier
            or 1.0,
            beta=(_number(chosen and chosen.beta) or task.beta) if task.method == "dpo" else None,
            examples=examples,
            tokens=0,
            device=self._client.host[:64],
            bytes=0,
            seconds=max(0.0, job.estimated_finish - time.time()) if job.estimated_finish else 0.0,
        )

    def _end(self, job: RemoteJob) -> TrainingEvent:
        self._ended = True
        if job.status == "succeeded" and job.fine_tuned_model:
            artifact = Artifact(upstream_model=job.fine_tuned_model)
            return base.Finished(trained_tokens=job.trained_tokens or 0, artifact=artifact)
        said = job.error if job.status == "failed" else None
        text = (said and said.message) or f"The job at the upstream {self._client.host} has ended: {job.status}."
        raise TrainingFailed(text[:_LONGEST_TEXT], code=(said and said.code) or "upstream_failed", param=None)

    async def _pause(self) -> AsyncIterator[TrainingEvent]:
        try:
            await self._patiently(lambda: self._client.tell(self._state.job, "pause"))
        except TrainingFailed:
            text = (
                f"The upstream {self._client.host} cannot pause: training goes on there, and is followed again later."
            )
            yield base.Warned(message=text)
        yield await self._save()
        yield base.Paused()

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer. Errors: ``TrainingFailed`` for what is refused; ``ModelAway`` in the end."""
        attempt, until = 0, time.monotonic() + self._patience_s
        while True:
            if self._closing:
                raise ModelAway("The training was ended.")
            try:
                return await ask()
            except ModelAway as error:
                if time.monotonic() >= until or (self._pausing and self._state.job):
                    raise
                wait = backoff(attempt, error.headers)
                await self._rest(self._poll_s if wait is None else wait, wakes=False)
                attempt += 1
            except ApiError as error:
                raise TrainingFailed(error.message[:_LONGEST_TEXT], code=error.code or "upstream_failed") from error

    async def _rest(self, seconds: float, *, wakes: bool = True) -> None:
        if not wakes:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _save(self) -> base.Saved:
        self._saves += 1
        self._kept = self._state.job
        path = self._task.folder / _STATE.format(f"{self._saves}-{time.time_ns()}")
        await asyncio.to_thread(write_state, path, self._state)
        return base.Saved(step=self._state.step, state=path)

    def _taken(self, state: Path) -> None:
        last, self._last = self._last, state
        if last is not None and last.parent == state.parent:
            last.unlink(missing_ok=True)

    async def _restore(self) -> None:
        path = self._task.state
        if path is None or self._state.training_file:
            return
        try:
            self._state = await asyncio.to_thread(read_state, path)
        except (FileNotFoundError, *NO_JSON) as error:
            raise TrainingFailed(f"The state of the job is damaged: {error}", code="state_damaged") from error
        self._last, self._kept = path, self._state.job


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None
