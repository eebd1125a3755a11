"""What ``everloom fine-tune`` and ``everloom fine-tuning`` do, by the paths that every client of the API asks."""

import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote

from msgspec import Struct

from everloom.cli import CommandError
from everloom.cli.client import Client, Json, project_client
from everloom.cli.fine_tuning_progress import JobFollower
from everloom.cli.tables import say, show
from everloom.config import Settings
from everloom.work.files.lines import LineSplitter
from everloom.work.fine_tuning.examples import FEWEST_EXAMPLES, LONGEST_LINE, ExampleChecker, ExampleFormat

T = TypeVar("T")

_COLUMNS = ("id", "status", "model", "fine_tuned_model", "trained_tokens", "created_at", "finished_at")
_CHECKPOINT_COLUMNS = ("fine_tuned_model_checkpoint", "step_number", "train_loss", "full_valid_loss")
_BLOCK = 1024 * 1024
_MOST_FAULTS = 20
_BYTES_A_TOKEN = 5
"""Of a file of examples, its JSON counted; the server counts tokens when it begins, and says how many."""


class TuningPlan(Struct, frozen=True, kw_only=True):
    """What is to be trained, as it was typed. ``numbers`` are None where the server is to choose."""

    file: Path
    validation: Path | None
    model: str
    method: Literal["supervised", "dpo"]
    suffix: str | None
    seed: int | None
    numbers: dict[str, float | None]


class FineTuningCommands:
    """The commands against one server, under one key. Errors of all: ``CommandError``."""

    def __init__(self, settings: Settings, url: str | None, key: str | None, *, as_json: bool) -> None:
        self._settings = settings
        self._url = url
        self._key = key
        self._as_json = as_json

    def check(self, plan: TuningPlan) -> int:
        """Look at a plan's files, on this machine; the exit status."""
        wanted: tuple[ExampleFormat, ...] = ("preference",) if plan.method == "dpo" else ("chat", "completion")
        right = True
        for path, fewest in ((plan.file, FEWEST_EXAMPLES), (plan.validation, 1)):
            if path is not None:
                checker = _checked(path, wanted)
                right = _tell_of(path, checker, fewest) and right
                wanted = wanted if checker.format is None else (checker.format,)
        return 0 if right else 1

    def create(self, plan: TuningPlan, *, watch: bool) -> int:
        """Make a job of a plan; the exit status."""
        if self.check(plan):
            raise CommandError("nothing was uploaded: the examples have faults")

        async def make(client: Client) -> Json:
            body = _request(plan)
            uploaded = []
            try:
                for name, path in (("training_file", plan.file), ("validation_file", plan.validation)):
                    if path is not None:
                        file = await client.upload("/files", path, purpose="fine-tune")
                        uploaded.append(file["id"])
                        body[name] = file["id"]
                return await client.post("/fine_tuning/jobs", body)
            except CommandError:
                for id in uploaded:
                    await client.delete(f"/files/{id}")  # Nobody will ask for it.
                raise

        return self._made(make, watch=watch)

    def watch(self, job_id: str) -> int:
        """Follow a job to its end; the exit status."""
        return self._made(lambda client: client.get(_path(job_id)), watch=True)

    def list_newest(self, limit: int) -> None:
        """Show the newest jobs."""
        found = asyncio.run(self._ask(lambda client: client.get("/fine_tuning/jobs", limit=str(limit))))["data"]
        show(found, _COLUMNS, as_json=self._as_json)

    def show(self, job_id: str) -> None:
        """Show a job, and its checkpoints."""

        async def find(client: Client) -> tuple[Json, list[Json]]:
            job = await client.get(_path(job_id))
            return job, (await client.get(f"{_path(job_id)}/checkpoints", limit="50"))["data"]

        job, checkpoints = asyncio.run(self._ask(find))
        self._tell(job)
        if checkpoints and not self._as_json:
            print()
            show([each | each["metrics"] for each in checkpoints], _CHECKPOINT_COLUMNS, as_json=False)

    def move(self, job_id: str, verb: str) -> None:
        """Cancel, pause or resume a job, and show it."""
        self._tell(asyncio.run(self._ask(lambda client: client.post(f"{_path(job_id)}/{verb}"))))

    async def _ask(self, what: Callable[[Client], Awaitable[T]]) -> T:
        async with project_client(self._settings, self._url, self._key) as client:
            return await what(client)

    def _made(self, make: Callable[[Client], Awaitable[Json]], *, watch: bool) -> int:
        follower = JobFollower()

        async def go(client: Client) -> Json:
            job = await make(client)
            return await follower.follow(client, job) if watch else job

        try:
            job = asyncio.run(self._ask(go))
        except KeyboardInterrupt:
            if not follower.job_id:
                raise CommandError("interrupted before there was a job", status=130) from None
            text = f"{follower.job_id} goes on by itself; to watch it again: {self._command(follower.job_id)}"
            raise CommandError(text, status=130) from None
        self._tell(job)
        if not watch:
            if not self._as_json:
                print(f"To watch it: {self._command(job['id'])}")
            return 0
        return self._conclude(job)

    def _conclude(self, job: Json) -> int:
        if job["status"] == "succeeded":
            if not self._as_json:
                print(f"Ask it by its name: {job['fine_tuned_model']}")
            return 0
        print(f"everloom: the job is {job['status']}", file=sys.stderr)
        return 1

    def _command(self, job_id: str) -> str:
        words = ["everloom", "fine-tuning", "watch", job_id, *(["--url", self._url] if self._url else [])]
        return shlex.join(words)

    def _tell(self, job: Json) -> None:
        if self._as_json:
            say(job)
            return
        show([job], _COLUMNS, as_json=False)
        if job["error"]:
            print(f"\n{job['error']['code']}: {job['error']['message']}")


def _checked(path: Path, wanted: tuple[ExampleFormat, ...]) -> ExampleChecker:
    checker, splitter = ExampleChecker(wanted), LineSplitter(LONGEST_LINE)
    try:
        with path.open("rb") as file:
            while not checker.is_full and (block := file.read(_BLOCK)):
                checker.take(splitter.feed(block))
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}") from error
    checker.take(splitter.finish())
    return checker


def _tell_of(path: Path, checker: ExampleChecker, fewest: int) -> bool:
    """Say what is in a file; whether it is right."""
    tokens = path.stat().st_size // _BYTES_A_TOKEN
    kind = f"{checker.format} " if checker.format else ""
    print(f"{path}: {checker.count} {kind}examples, about {tokens:,} tokens", file=sys.stderr)
    for fault in checker.faults[:_MOST_FAULTS]:
        print(f"  {fault}", file=sys.stderr)
    if (more := len(checker.faults) - _MOST_FAULTS) > 0:
        print(f"  and {more} more", file=sys.stderr)
    if checker.faults:
        return False
    if checker.count < fewest:
        print(f"  at least {fewest} examples are needed", file=sys.stderr)
    return checker.count >= fewest


def _request(plan: TuningPlan) -> Json:
    numbers = {name: value for name, value in plan.numbers.items() if value is not None}
    body: Json = {"model": plan.model, "method": {"type": plan.method, plan.method: {"hyperparameters": numbers}}}
    for name in ("suffix", "seed"):
        if (value := getattr(plan, name)) is not None:
            body[name] = value
    return body


def _path(job_id: str) -> str:
    if not job_id.strip():
        raise CommandError("the id of a job is missing; 'everloom fine-tuning list' shows them")
    return f"/fine_tuning/jobs/{quote(job_id, safe='')}"
