"""How a file goes: by its owner, or at its time. With it go its attachments to assistants and its places in stores."""

import logging
from typing import Any

from everloom.context import Context, Ports
from everloom.kit.clock import now
from everloom.kit.errors import NotFound, Unavailable
from everloom.objects.assistants import Assistant
from everloom.objects.batches import Batch
from everloom.objects.files import AssistantFile, File, FileDeadline
from everloom.objects.fine_tuning import FineTuningWork
from everloom.store.base import Absent, Change, Each, Remove
from everloom.work.files.blobs import discard, doom
from everloom.work.vector_stores.stores import forget, withdrawal

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""How often it is looked for files whose time is over."""


async def remove_file(ctx: Context, file_id: str) -> None:
    """Delete a file. Errors: 404."""
    readers = _readers(file_id)
    while True:
        await ctx.store.get(File, file_id)
        is_read = await _is_read(ctx, file_id)
        withdrawals, chunks = await withdrawal(ctx, file_id)
        try:
            await ctx.store.write(
                Remove(File, file_id),
                *([] if is_read else [*(Absent(cls, _IsRead, **where) for cls, where in readers), doom(file_id)]),
                Remove(AssistantFile, file_id=file_id),
                Each(Assistant, lambda holder: [_detached(holder.id, file_id)], code_file_ids=file_id),
                *withdrawals,
            )
            break
        except _IsRead:
            continue
        except NotFound:
            continue  # The file has gone meanwhile, which the next look tells, or a store has.
    await forget(ctx, *chunks)
    if not is_read or not await _is_read(ctx, file_id):  # Else whoever reads it takes the bytes away at its end.
        await discard(ctx, file_id)


def _readers(file_id: str) -> list[tuple[type[Batch] | type[FineTuningWork], dict[str, Any]]]:
    """What may work on a file for long, as it is looked for: its bytes stay until that has ended."""
    return [
        (Batch, {"input_file_id": file_id, "open": True}),
        (FineTuningWork, {"training_file": file_id, "open": True}),
        (FineTuningWork, {"validation_file": file_id, "open": True}),
    ]


async def _is_read(ctx: Context, file_id: str) -> bool:
    """Whether a batch or a fine-tuning job works on a file."""
    for cls, where in _readers(file_id):
        if await ctx.store.all(cls, **where):
            return True
    return False


class _IsRead(Exception):
    """A batch or a job has been made of the file meanwhile."""


def _detached(assistant_id: str, file_id: str) -> Change[Assistant]:
    def edit(assistant: Assistant) -> None:
        resources = assistant.tool_resources.code_interpreter
        if resources:
            resources.file_ids = [id for id in resources.file_ids if id != file_id]

    return Change(Assistant, assistant_id, edit)


async def sweep(ports: Ports) -> None:
    """Delete the files whose time is over, of all projects, the longest overdue first.

    One whose deletion fails stays for the next round, and is not in the way of the others of this one.
    """
    for project, deadline in await ports.database.across(FileDeadline, pending=True):
        if deadline.expires_at > now():
            return
        ctx = Context.of(ports, project)
        try:
            await _expire(ctx, deadline)
        except Unavailable:
            raise
        except Exception:
            log.exception("deleting %s at its time failed; it will be tried again", deadline.id)


async def _expire(ctx: Context, deadline: FileDeadline) -> None:
    try:
        await remove_file(ctx, deadline.id)
    except NotFound:
        log.debug("%s went before its time", deadline.id)
    try:
        await ctx.store.write(Remove(FileDeadline, deadline.id))
    except NotFound:
        return  # Somebody else was faster.
