"""What a run waits for before it searches: files that nobody but the server knows to be under way.

These are a thread's, whose store is made beside a message, and those that were attached to an assistant one by one,
whose store its owner never sees (``AssistantFile``). What somebody has put into an assistant's stores is not waited
for: the platform says that this is the caller's to do ("this fallback wait does not apply to the assistant's vector
store").
"""

import asyncio
from collections.abc import Sequence

from msgspec import UNSET

from everloom.context import Context
from everloom.objects.files import AssistantFile
from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.objects.vector_stores import VectorStore, VectorStoreFile, file_key

LONGEST_WAIT = 60.0
"""Seconds a run waits for all of them, as on the platform."""

_LOOK = 1.0
"""Seconds between two looks, should a store not say that it went on."""


async def wait_for_files(ctx: Context, run: Run, thread: Thread, timeout: float = LONGEST_WAIT) -> None:
    """Return once the thread's store and the assistant's own files have been read, or after ``timeout`` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    attached = await _attached(ctx, run)
    for store_id in dict.fromkeys((*_stores(thread), *_stores(run))):
        of_thread = store_id in _stores(thread)
        with ctx.ports.bus.watch(store_id) as watch:
            while (left := end - loop.time()) > 0:
                if not await (_is_reading(ctx, store_id) if of_thread else _reads_any(ctx, store_id, attached)):
                    break
                await watch.wait(min(left, _LOOK))


def _stores(holder: Run | Thread) -> list[str]:
    resources = holder.tool_resources.file_search
    return [] if resources is UNSET else resources.vector_store_ids


async def _attached(ctx: Context, run: Run) -> list[str]:
    """The files that hang on the run's assistant by themselves."""
    if not _stores(run):
        return []
    return [row.file_id for row in await ctx.store.all(AssistantFile, assistant_id=run.assistant_id)]


async def _is_reading(ctx: Context, store_id: str) -> bool:
    found = await ctx.store.all(VectorStore, id=[store_id])
    return bool(found) and found[0].status == "in_progress"


async def _reads_any(ctx: Context, store_id: str, file_ids: Sequence[str]) -> bool:
    """Whether any of these files is still being read into the store."""
    keys = [file_key(store_id, file_id) for file_id in file_ids]
    return bool(keys) and bool(await ctx.store.all(VectorStoreFile, id=keys, status="in_progress"))
