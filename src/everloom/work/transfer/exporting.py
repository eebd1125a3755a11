"""Writing a project's objects to a folder as they stand: a file of lines for each kind, the bytes of files beside them.

What is being changed meanwhile is written as it is when it is read: an object whole, a thread before what hangs on it,
and files last, so that those stand there which anything else names. Nothing is held but a page.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from everloom.blobs.base import DamagedBlob
from everloom.context import Context
from everloom.kit.temporary_folders import write_file
from everloom.objects.assistants import Assistant
from everloom.objects.base import Object, PageQuery, encode
from everloom.objects.batches import Batch
from everloom.objects.files import AssistantFile, File
from everloom.objects.fine_tuning import FineTuningJob, FineTuningJobCheckpoint, FineTuningJobEvent
from everloom.objects.messages import Message
from everloom.objects.runs import Run
from everloom.objects.steps import RunStep
from everloom.objects.threads import Thread
from everloom.objects.vector_stores import VectorStore, VectorStoreFile
from everloom.work.files.blobs import read_file
from everloom.work.transfer.shapes import NOUNS, OBJECTS, fits_file
from everloom.work.walking import pages

T = TypeVar("T", bound=Object)

CONTENTS = "contents"
"""The folder of the bytes of files, each named by its id."""

PART = ".part"
"""Behind the names of files that are still being written."""

_PAGE = 500


def file_name(cls: type[Object]) -> str:
    """The file of a kind of objects."""
    return f"{OBJECTS[cls].replace('.', '-')}{'es' if cls is Batch else 's'}.jsonl"


class Exporting:
    """One export to an empty folder. ``told`` hears how many objects have been written."""

    def __init__(self, ctx: Context, folder: Path) -> None:
        self._ctx = ctx
        self._folder = folder
        self._open: dict[type[Object], IO[bytes]] = {}
        self.written: Counter[str] = Counter()
        self.faults: list[dict[str, str]] = []
        self.told: Callable[[int], None] = lambda done: None

    async def export(self) -> None:
        """Write all. Errors: ``OSError``. What was not written to its end has ``.part`` behind its name."""
        (self._folder / CONTENTS).mkdir(mode=0o700)
        try:
            for cls in NOUNS.values():
                self._open[cls] = (self._folder / (file_name(cls) + PART)).open("xb")
            await self._assistants()
            await self._threads()
            await self._vector_stores()
            await self._long_works()
            await self._files()
        finally:
            for file in self._open.values():
                file.close()
        for cls in NOUNS.values():
            path = self._folder / file_name(cls)
            path.with_name(path.name + PART).rename(path)

    def _write(self, cls: type[Object], body: bytes) -> None:
        self._open[cls].write(body + b"\n")
        self.written[OBJECTS[cls]] += 1

    async def _all(self, cls: type[T], **where: Any) -> AsyncIterator[T]:
        """Write a list, and give what was written page by page."""
        query = PageQuery(limit=_PAGE, order="asc")
        async for page in pages(self._ctx.store, cls, query, **where):
            for body in page.bodies:
                self._write(cls, body)
            self.told(self.written.total())
            for thing in page.decode():
                yield thing

    async def _assistants(self) -> None:
        async for assistant in self._all(Assistant):
            for row in await self._ctx.store.all(AssistantFile, assistant_id=assistant.id):
                shown = {"id": row.file_id, "object": OBJECTS[AssistantFile], "created_at": row.created_at}
                self._write(AssistantFile, encode(shown | {"assistant_id": row.assistant_id}))

    async def _threads(self) -> None:
        async for thread in self._all(Thread):
            async for _ in self._all(Message, thread_id=thread.id):
                pass
            async for run in self._all(Run, thread_id=thread.id):
                async for _ in self._all(RunStep, run_id=run.id):
                    pass

    async def _long_works(self) -> None:
        """Batches and jobs of fine-tuning, as history."""
        async for _ in self._all(Batch):
            pass
        async for job in self._all(FineTuningJob):
            for cls in (FineTuningJobEvent, FineTuningJobCheckpoint):
                async for _ in self._all(cls, fine_tuning_job_id=job.id):
                    pass

    async def _vector_stores(self) -> None:
        async for store in self._all(VectorStore):
            async for _ in self._all(VectorStoreFile, vector_store_id=store.id):
                pass

    async def _files(self) -> None:
        """Files, each behind its bytes: one of which they cannot be had is not written."""
        query = PageQuery(limit=_PAGE, order="asc")
        async for page in pages(self._ctx.store, File, query):
            for body, file in zip(page.bodies, page.decode(), strict=True):
                if await self._content(file):
                    self._write(File, body)
                    self.told(self.written.total())

    async def _content(self, file: File) -> bool:
        if not fits_file(file.id):
            return self._fault(file, "its id cannot be the name of a file")
        path = self._folder / CONTENTS / file.id
        part = path.with_name(path.name + PART)
        try:
            await write_file(part, read_file(self._ctx, file))
        except (FileNotFoundError, DamagedBlob) as error:
            part.unlink(missing_ok=True)
            return self._fault(file, str(error) if isinstance(error, DamagedBlob) else "it has no content any more")
        part.rename(path)
        return True

    def _fault(self, file: File, why: str) -> bool:
        self.faults.append({"object": OBJECTS[File], "id": file.id, "why": why})
        return False
