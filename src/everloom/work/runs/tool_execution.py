"""What a run lends to its tools (``ToolHost``), and to one call while a tool answers it (``ToolExecution``)."""

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.files import File
from everloom.objects.runs import Run, ToolWork
from everloom.objects.steps import CallDelta, RunStep, StepCall, ToolCalls
from everloom.objects.threads import Thread
from everloom.objects.vector_stores import SearchResult
from everloom.sandbox.base import Session
from everloom.store.base import Add
from everloom.work.files.blobs import NewBlob, read_file
from everloom.work.runs.deadline import seconds_left
from everloom.work.runs.requested_calls import step_delta
from everloom.work.runs.writer import RunWriter
from everloom.work.vector_stores.search import SearchOptions, search
from everloom.work.vector_stores.stores import check_alive
from everloom.work.vector_stores.waiting import wait_for_files

_WITHOUT_DEADLINE = 600.0


class RunToolHost:
    """The ``ToolHost`` of a run."""

    def __init__(self, ctx: Context, run: Run) -> None:
        self.ctx = ctx
        self.run = run
        self.searched: Sequence[str] = ()
        """The vector stores that were searched last."""

    async def thread(self) -> Thread:
        """See ``ToolHost.thread``."""
        return await self.ctx.store.get(Thread, self.run.thread_id)

    async def wait_for_stores(self, thread: Thread, store_ids: Sequence[str]) -> None:
        """See ``ToolHost.wait_for_stores``."""
        await wait_for_files(self.ctx, self.run, thread)
        await check_alive(self.ctx, store_ids)

    async def search(
        self, store_ids: Sequence[str], query: str, *, limit: int, score_threshold: float
    ) -> list[SearchResult]:
        """See ``ToolHost.search``."""
        self.searched = store_ids
        return await search(self.ctx, store_ids, query, SearchOptions(limit=limit, score_threshold=score_threshold))

    async def keep_file(self, name: str, blocks: AsyncIterator[bytes]) -> File:
        """See ``ToolHost.keep_file``."""
        async with NewBlob(self.ctx, new_id("file-"), digest=True) as blob:
            size = await blob.put(blocks)
            file = File(id=blob.id, created_at=now(), bytes=size, filename=name, purpose="assistants_output")
            await blob.keep(Add(file))
        return file

    def read_file(self, file: File) -> AsyncIterator[bytes]:
        """See ``ToolHost.read_file``."""
        return read_file(self.ctx, file)

    def sandbox(self) -> AbstractAsyncContextManager[Session]:
        """See ``ToolHost.sandbox``."""
        return self.ctx.ports.sandboxes.session((self.ctx.project, self.run.thread_id))

    def seconds_left(self) -> float:
        """See ``ToolHost.seconds_left``."""
        left = seconds_left(self.ctx.ports, self.ctx.project, self.run)
        return _WITHOUT_DEADLINE if left == math.inf else max(1.0, left)


class RunToolExecution(RunToolHost):
    """The ``ToolExecution`` of the call at ``index`` of a step, which ``work`` keeps."""

    def __init__(
        self, ctx: Context, run: Run, step: RunStep, index: int, work: ToolWork, ordinal: int, writer: RunWriter
    ) -> None:
        super().__init__(ctx, run)
        assert isinstance(step.step_details, ToolCalls)
        self.step = step
        self.index = index
        self.work = work
        self.arguments = work.arguments
        self.ordinal = ordinal
        self.call: StepCall = step.step_details.tool_calls[index]
        self.again = work.started_at is not None
        self._writer = writer

    def tell(self, delta: CallDelta) -> None:
        """See ``ToolExecution.tell``."""
        self._writer.enqueue(step_delta(self.step.id, delta))
