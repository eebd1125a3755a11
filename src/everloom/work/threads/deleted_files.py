"""Files that were deleted, left out where the tool resources of threads and assistants are shown.

A thread keeps the ids it has gathered. Which threads name a file no index tells, and to read them all for each file
that is deleted would take the longer the more there are; so whoever is shown a thread is shown the files that stand, at
the cost of one query where there are any to ask for. Nothing can come in between, either: a file that goes while it is
being attached is not shown.
"""

from typing import TypeVar

from everloom.context import Context
from everloom.objects.assistants import Assistant
from everloom.objects.base import Page, encode
from everloom.objects.files import File
from everloom.objects.threads import Thread

T = TypeVar("T", Assistant, Thread)

_NAMES_FILES = b'"code_interpreter":{"file_ids":["'
"""Where tool resources name files, in a stored body."""


async def without_deleted_files(ctx: Context, thing: T) -> T:
    """A thread or an assistant with those of its files that stand."""
    await _leave_out(ctx, [thing])
    return thing


async def page_without_deleted_files(ctx: Context, page: Page[T]) -> Page[T]:
    """A page of threads or assistants, each with those of its files that stand."""
    naming = [_NAMES_FILES in body for body in page.bodies]
    if not any(naming):
        return page
    things = page.decode()
    await _leave_out(ctx, things)
    shown = zip(page.bodies, things, naming, strict=True)
    return page.with_bodies([encode(thing) if names else body for body, thing, names in shown])


async def _leave_out(ctx: Context, things: list[T]) -> None:
    lists = [code for thing in things if (code := thing.tool_resources.code_interpreter)]
    named = {id for code in lists for id in code.file_ids}
    if not named:
        return
    standing = {file.id for file in await ctx.store.all(File, id=sorted(named))}
    for code in lists:
        code.file_ids = [id for id in code.file_ids if id in standing]
