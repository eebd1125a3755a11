"""What the tools of runs cost beside tokens: sessions of the code interpreter, and file searches."""

from collections.abc import Sequence

from everloom.context import Context
from everloom.kit.clock import now
from everloom.objects.ledger import LedgerRow, UsageKind
from everloom.objects.runs import CODE_SESSION_SECONDS, CodeSession, Run, ToolWork
from everloom.store.base import Add, Change, Enter, Missing, Operation


async def session_begun(ctx: Context, run: Run, work: ToolWork) -> list[Operation]:
    """What is kept with the start of a call that begins a session: one to the code interpreter, where its thread has
    had none for an hour. A thread has one run at a time, so none begins twice.
    """
    if work.type != "code_interpreter":
        return []
    begun = now()
    entered = _entered(ctx, "session", begun)
    try:
        last = await ctx.store.get(CodeSession, run.thread_id)
    except Missing:
        return [Add(CodeSession(id=run.thread_id, created_at=begun)), entered]
    if begun < last.created_at + CODE_SESSION_SECONDS:
        return []

    def renew(session: CodeSession) -> None:
        session.created_at = begun

    return [Change(CodeSession, run.thread_id, renew), entered]


def searched(ctx: Context, work: ToolWork, store_ids: Sequence[str]) -> list[Operation]:
    """What is kept with the end of a call, if it was a file search of these vector stores."""
    if work.type != "file_search":
        return []
    return [_entered(ctx, "search", now(), store_ids[0] if len(store_ids) == 1 else "")]


def _entered(ctx: Context, kind: UsageKind, at: int, source: str = "") -> Enter:
    caller = ctx.caller
    row = LedgerRow(
        at=at,
        project=caller.project,
        kind=kind,
        key_id=caller.key_id,
        user_id=caller.user,
        batch=caller.batch,
        source=source,
    )
    ctx.ports.gate.admission.charge(caller, row)
    return Enter((row,))
