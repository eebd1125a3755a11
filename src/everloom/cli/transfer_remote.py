"""``everloom import --from``: objects fetched from a server that is alive, a few at a time.

Each is written as soon as it came with what belongs to it, so a source that breaks off costs what was under way. What
stands is not fetched again: of a file that stands its bytes, of a thread whose newest message and newest run stand all
of it, since messages are written last and in their order.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from everloom.cli import CommandError
from everloom.cli.client import Json
from everloom.cli.telling import in_project
from everloom.cli.transfer import ImportOutcome, interruptible, tell_outcome
from everloom.cli.transfer_progress import Bars, progress
from everloom.cli.transfer_source import RemoteSource, SourceRefused, path_of, source_at
from everloom.config import Settings, named_variable
from everloom.context import Context
from everloom.kit.temporary_folders import temporary_folder
from everloom.objects.assistants import Assistant
from everloom.objects.base import Object
from everloom.objects.files import File
from everloom.objects.fine_tuning import FineTuningJob
from everloom.objects.messages import Message
from everloom.objects.runs import Run
from everloom.objects.vector_stores import VectorStore
from everloom.work.transfer.documents import FoundRecord, NoRecord
from everloom.work.transfer.reading import Reading
from everloom.work.transfer.shapes import check_id, fits_file
from everloom.work.transfer.stage import Stage
from everloom.work.transfer.taking import Taking

STEPS_AT_ONCE = 4
"""Runs whose steps are asked for at the same time."""

MOST_FILE_BYTES = 8 * 1024**3
_NOWHERE = 0
"""The number of no file: where objects come from that a server sent."""


def run_remote_import(
    settings: Settings,
    url: str,
    key_env: str,
    project: str | None,
    threads: Path | None,
    api_version: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Import from a server; the exit status."""
    if not (key := named_variable(key_env)):
        raise CommandError(f"the environment variable {key_env} has no key for {url}; --key-env names another")
    if not url.startswith(("https://", "http://")):
        raise CommandError(f"{url!r} is no base URL, such as https://example.org/v1")
    ids = None if threads is None else _ids_in(threads)

    async def work() -> int:
        async with temporary_folder() as folder, in_project(settings, project) as ctx:
            stage = Stage(folder / "stage.db")
            try:
                with progress() as bars:
                    async with source_at(url, key, api_version, bars.note) as source:
                        fetching = Fetching(ctx, stage, source, folder, dry=dry_run)
                        await fetching.fetch(ids, bars)
                return tell_outcome(stage, fetching.outcome, as_json=as_json)
            finally:
                stage.close()

    return interruptible(work(), "import")


def _ids_in(path: Path) -> list[str]:
    """The ids in a file, one a line. Errors: ``CommandError``."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    ids = (_id_in(line.strip()) for line in lines)
    return list(dict.fromkeys(id for id in ids if id))


def _id_in(line: str) -> str:
    """The id in a line; in a record of anything that hangs on a thread, such as a run, that of the thread."""
    if not line.startswith("{"):
        return line.partition("#")[0].strip().strip("\"',")
    try:
        record = json.loads(line.rstrip(","))
    except (ValueError, RecursionError):
        return ""
    id = record.get("thread_id") or (record.get("id") if record.get("object") == "thread" else None)
    return id if isinstance(id, str) else ""


class Fetching:
    """One import from one server."""

    def __init__(self, ctx: Context, stage: Stage, source: RemoteSource, folder: Path, *, dry: bool) -> None:
        self._ctx = ctx
        self._stage = stage
        self._source = source
        self._folder = folder
        self._reading = Reading(stage)
        self._taking = Taking(ctx, stage, dry=dry)
        self._dry = dry
        self._older = False

    @property
    def outcome(self) -> ImportOutcome:
        """What came of it so far."""
        reading = self._reading
        return ImportOutcome(self._taking.report, reading.left_out, reading.unfinished, self._dry)

    async def fetch(self, thread_ids: Sequence[str] | None, bars: Bars) -> None:
        """Fetch all, and the threads of these ids, or of the server's own list. Errors: ``CommandError``."""
        self._older = await self._source.is_older()
        listed = (
            *(("files", self._files), ("vector stores", self._stores), ("assistants", self._assistants)),
            *(("batches", self._batches), ("fine-tuning jobs", self._jobs)),
        )
        for name, fetch in listed:
            done = 0
            async for count in fetch():
                bars.tell(name, done := done + count)
        if thread_ids is None:
            await self._listed_threads(bars)
            return
        for done, id in enumerate(thread_ids, start=1):
            await self._thread(id)
            bars.tell("threads", done, len(thread_ids))

    def _lay_out(self, things: Sequence[Json]) -> None:
        for thing in things:
            self._reading.take(FoundRecord(0, thing), _NOWHERE)

    def _laid_out(self, cls: type[Object], things: Sequence[Json]) -> list[str]:
        """The ids of those that can be taken: of others nothing is fetched."""
        ids = [id for thing in things if isinstance(id := thing.get("id"), str)]
        return [id for id in ids if self._stage.get(cls, id) is not None]

    async def _take(self) -> None:
        await self._taking.take()
        self._stage.clear()

    async def _standing(self, cls: type[Object], things: Sequence[Json]) -> set[str]:
        ids = [id for thing in things if isinstance(id := thing.get("id"), str)]
        return {thing.id for thing in await self._ctx.store.all(cls, id=ids)} if ids else set()

    # --- what is listed ----------------------------------------------------------------------------------------------

    async def _assistants(self) -> AsyncIterator[int]:
        async for things in self._listed("/assistants"):
            self._lay_out(things)
            for id in self._laid_out(Assistant, things) if self._older else []:
                async for files in self._listed(path_of("assistants", id, "files")):
                    self._lay_out(files)
            await self._take()
            yield len(things)

    async def _batches(self) -> AsyncIterator[int]:
        async for things in self._listed("/batches", optional=True):
            self._lay_out(things)
            await self._take()
            yield len(things)

    async def _jobs(self) -> AsyncIterator[int]:
        async for things in self._listed("/fine_tuning/jobs", optional=True):
            for job in things:
                self._lay_out([job])
                for id in self._laid_out(FineTuningJob, [job]):
                    for noun in ("events", "checkpoints"):
                        async for told in self._listed(path_of("fine_tuning", "jobs", id, noun), optional=True):
                            self._lay_out([{"fine_tuning_job_id": id, **each} for each in told])
                await self._take()
                yield 1

    async def _stores(self) -> AsyncIterator[int]:
        async for things in self._listed("/vector_stores", optional=self._older):
            for store in things:
                self._lay_out([store])
                for id in self._laid_out(VectorStore, [store]):
                    async for files in self._listed(path_of("vector_stores", id, "files")):
                        self._lay_out(files)
                await self._take()
                yield 1

    async def _listed(self, path: str, *, optional: bool = False) -> AsyncIterator[list[Json]]:
        """A list, which a server may not have; nobody misses one that is ``optional``."""
        try:
            async for things in self._source.pages(path):
                yield things
        except SourceRefused as refused:
            if optional and refused.code in (404, 405):
                return
            self._stage.note(_NOWHERE, 0, "", path, f"not fetched: {refused}")

    async def _files(self) -> AsyncIterator[int]:
        async for things in self._listed("/files"):
            standing = await self._standing(File, things)
            for file in things:
                id, size = file.get("id"), file.get("bytes")
                if not isinstance(id, str) or not fits_file(id) or not isinstance(size, int):
                    self._lay_out([file])
                elif id in standing:
                    self._taking.report.unchanged["file"] += 1
                elif size > MOST_FILE_BYTES:
                    self._stage.note(_NOWHERE, 0, "file", id, f"it has {size} bytes")
                else:
                    await self._file(file, id, size)
                yield 1

    async def _file(self, file: Json, id: str, size: int) -> None:
        path = self._folder / id
        try:
            await self._source.download(path_of("files", id, "content"), path, size)
        except SourceRefused as refused:
            self._stage.note(_NOWHERE, 0, "file", id, f"its content is not to be had: {refused}")
        else:
            self._stage.add_file(path, path.stat().st_size)
            self._lay_out([file])
            await self._take()
        finally:
            path.unlink(missing_ok=True)

    # --- threads -----------------------------------------------------------------------------------------------------

    async def _listed_threads(self, bars: Bars) -> None:
        done = 0
        try:
            async for things in self._source.pages("/threads"):
                for thread in things:
                    if isinstance(id := thread.get("id"), str):
                        await self._thread(id, thread)
                    bars.tell("threads", done := done + 1)
        except SourceRefused as refused:
            if done or refused.code not in (400, 404, 405):
                raise
            text = "the server has no list of threads: --threads names a file of their ids, one a line"
            self._stage.note(_NOWHERE, 0, "thread", "", text)

    async def _thread(self, id: str, thread: Json | None = None) -> None:
        """A thread with all that hangs on it, unless it stands."""
        try:
            check_id(id)
            if await self._stands(id):
                self._taking.report.unchanged["thread"] += 1
                return
            self._lay_out([thread or await self._source.get(path_of("threads", id))])
            async for runs in self._source.pages(path_of("threads", id, "runs")):
                self._lay_out(runs)
                ids = self._laid_out(Run, runs)
                for first in range(0, len(ids), STEPS_AT_ONCE):
                    some = ids[first : first + STEPS_AT_ONCE]
                    fetched = await asyncio.gather(*(self._steps(id, each) for each in some), return_exceptions=True)
                    for error in filter(None, fetched):
                        raise error
            async for messages in self._source.pages(path_of("threads", id, "messages")):
                self._lay_out(messages)
        except (NoRecord, SourceRefused) as error:
            self._stage.clear()
            self._stage.note(_NOWHERE, 0, "thread", id, f"not fetched: {error}")
            return
        await self._take()

    async def _stands(self, id: str) -> bool:
        """Whether the newest message of a thread stands, and its newest run where it has any."""
        for cls, noun in ((Message, "messages"), (Run, "runs")):
            page = await self._source.get(path_of("threads", id, noun), limit="1", order="desc")
            things = page.get("data")
            newest = [thing for thing in things if isinstance(thing, dict)] if isinstance(things, list) else []
            if len(await self._standing(cls, newest)) < max(len(newest), cls is Message):
                return False
        return True

    async def _steps(self, thread_id: str, run_id: str) -> None:
        async for steps in self._source.pages(path_of("threads", thread_id, "runs", run_id, "steps")):
            self._lay_out(steps)
