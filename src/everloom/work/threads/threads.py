"""Threads with their first messages, and the end of a thread with all that hangs on it."""

from collections.abc import Sequence

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.messages import Message
from everloom.objects.runs import CodeSession, EndedLog, Generation, Run, RunLease, ToolWork
from everloom.objects.steps import RunStep
from everloom.objects.threads import NewThread, Thread
from everloom.objects.tools import GivenToolResources
from everloom.store.base import Absent, Change, DropLog, Operation, Remove
from everloom.work.threads.messages import compose
from everloom.work.threads.resources import attach_new, gather, settle_resources
from everloom.work.vector_stores.stores import THREAD_STORE

_AT_ONCE = 1000
"""Runs that one statement names: a database takes some ten thousands of parameters at the most."""


async def compose_thread(
    ctx: Context, new: NewThread, resources: GivenToolResources | None = None
) -> tuple[Thread, list[Message]]:
    """The thread and the messages to keep, in order. ``resources`` stand in place of the thread's own.

    Errors: 404 for a file or a vector store that is not there.
    """
    thread = Thread(
        id=new_id("thread_"),
        created_at=now(),
        metadata=new.metadata or {},
        tool_resources=await settle_resources(ctx, resources or new.tool_resources, lives=THREAD_STORE),
    )
    messages = [await compose(ctx, thread.id, message) for message in new.messages]
    gather(thread.tool_resources, [attachment for message in messages for attachment in message.attachments])
    await attach_new(ctx, thread.tool_resources, messages)
    return thread, messages


async def remove_thread(ctx: Context, thread_id: str) -> None:
    """Take away a thread, its messages, runs, steps and events. A run in hand finds nothing left and ends."""
    while True:
        runs = await ctx.store.all(Run, thread_id=thread_id)
        ids = [run.id for run in runs]
        try:
            await ctx.store.write(
                Change(Thread, thread_id),
                *_no_other(thread_id, runs),
                Remove(Thread, thread_id),
                Remove(Message, thread_id=thread_id),
                Remove(Run, thread_id=thread_id),
                Remove(CodeSession, [thread_id]),
                *_of_runs(ids),
            )
            break
        except _Begun:
            continue
    for id in ids:
        ctx.ports.bus.wake(f"cancel:{id}")
        ctx.ports.bus.wake(id)


def _of_runs(ids: Sequence[str]) -> list[Operation]:
    """The end of what hangs on runs."""
    operations: list[Operation] = []
    for first in range(0, len(ids), _AT_ONCE):
        some = ids[first : first + _AT_ONCE]
        operations += [Remove(RunStep, run_id=some), Remove(Generation, run_id=some), Remove(ToolWork, run_id=some)]
        # Before the logs: one that is being compacted is waited for, and dropped as it stands then.
        operations += [Remove(RunLease, some), Remove(EndedLog, some)]
    return [*operations, *(DropLog(id) for id in ids)]


def _no_other(thread_id: str, runs: Sequence[Run]) -> list[Operation]:
    """Ask that no run has begun since these were found: what hangs on it would stay behind. Errors: ``_Begun``.

    A thread has one active run at most, so none can begin while that one is active.
    """

    def check(run: Run) -> None:
        if not run.active:
            raise _Begun

    if active := [run for run in runs if run.active]:
        return [Change(Run, active[0].id, check)]
    return [Absent(Run, lambda run: _Begun(), thread_id=thread_id, active=True)]


class _Begun(Exception):
    """A run may have begun meanwhile: look again."""
