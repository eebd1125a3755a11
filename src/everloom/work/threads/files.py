"""How a file goes: by its owner, or at its time. With it go its attachments to assistants and its places in stores."""

import logging

from everloom.context import Context, Ports
from everloom.kit.clock import now
from everloom.kit.errors import NotFound, Unavailable
from everloom.objects.assistants import Assistant
from everloom.objects.files import AssistantFile, File, FileDeadline
from everloom.store.base import Change, Remove
from everloom.work.files.blobs import discard, doom
from everloom.work.vector_stores.stores import forget, withdrawal

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""How often it is looked for files whose time is over."""


async def remove_file(ctx: Context, file_id: str) -> None:
    """Delete a file. Errors: 404."""
    while True:
        await ctx.store.get(File, file_id)
        withdrawals, chunks = await withdrawal(ctx, file_id)
        holders = [holder.id for holder in await ctx.store.all(Assistant) if file_id in _code_files(holder)]
        try:
            await ctx.store.write(
                Remove(File, file_id),
                doom(file_id),
                Remove(AssistantFile, file_id=file_id),
                *(Change(Assistant, id, lambda assistant: _detach(assistant, file_id)) for id in holders),
                *withdrawals,
            )
            break
        except NotFound:
            continue  # The file has gone meanwhile, which the next look tells, or an assistant or a store has.
    await forget(ctx, *chunks)
    await discard(ctx, file_id)


def _code_files(assistant: Assistant) -> list[str]:
    resources = assistant.tool_resources.code_interpreter
    return resources.file_ids if resources else []


def _detach(assistant: Assistant, file_id: str) -> None:
    resources = assistant.tool_resources.code_interpreter
    if resources:
        resources.file_ids = [id for id in resources.file_ids if id != file_id]


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
