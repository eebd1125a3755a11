"""What the tools of runs cost beside tokens: sessions of the code interpreter, and file searches."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from everloom.context import Context
from everloom.context.admission import Need, Ticket
from everloom.kit.clock import now
from everloom.objects.ledger import LedgerRow, UsageKind
from everloom.objects.runs import CODE_SESSION_SECONDS, CodeSession, Run, ToolWork
from everloom.store.base import Add, Change, Enter, Missing, Operation


class ToolCost:
    """What one call costs, which is reserved when it is about to start.

    ``begun`` are operations to be kept with its start, ``ended`` those with its end; ``settle`` it when they are kept.
    """

    def __init__(self, ctx: Context, ticket: Ticket | None, begun: Sequence[Operation], kind: UsageKind | None) -> None:
        self.ticket = ticket
        self._ctx = ctx
        self._kind = kind
        self._begun = begun
        self._entered: LedgerRow | None = None

    def begun(self) -> list[Operation]:
        """A session is paid for when it begins."""
        return [*self._begun, self._enter("session")] if self._kind == "session" else []

    def ended(self, store_ids: Sequence[str]) -> list[Operation]:
        """A search, of these vector stores, is paid for when it has found something out."""
        if self._kind != "search":
            return []
        return [self._enter("search", store_ids[0] if len(store_ids) == 1 else "")]

    def _enter(self, kind: UsageKind, source: str = "") -> Enter:
        caller = self._ctx.caller
        row = LedgerRow(
            at=now(),
            project=caller.project,
            kind=kind,
            key_id=caller.key_id,
            user_id=caller.user,
            batch=caller.batch,
            source=source,
        )
        self._entered = row
        return Enter((row,))

    def settle(self) -> None:
        """What was to be entered stands in the ledger."""
        if self.ticket is not None and self._entered is not None:
            self.ticket.settle(self._entered)


@asynccontextmanager
async def cost_of_call(ctx: Context, run: Run, work: ToolWork) -> AsyncIterator[ToolCost]:
    """What a call costs, reserved until it has ended; what was not entered by then costs nothing.

    Errors: 429, where a budget has no room for it.
    """
    kind, begun = await _kind_of(ctx, run, work)
    ticket = None
    if kind is not None:
        ticket = await ctx.ports.gate.admission.admit(ctx.caller, kind, None, "", Need())
    cost = ToolCost(ctx, ticket, begun, kind)
    try:
        yield cost
    except asyncio.CancelledError:
        cost.settle()  # A write that has begun is not broken off.
        raise
    finally:
        if ticket is not None:
            ticket.cancel()


async def _kind_of(ctx: Context, run: Run, work: ToolWork) -> tuple[UsageKind | None, list[Operation]]:
    """What is to be paid, and what says from then on that a session has begun: the first call to the code interpreter
    begins one, where its thread has had none for an hour. A thread has one run at a time, so none begins twice.
    """
    if work.type == "file_search":
        return "search", []
    if work.type != "code_interpreter":
        return None, []
    begun = now()
    try:
        last = await ctx.store.get(CodeSession, run.thread_id)
    except Missing:
        return "session", [Add(CodeSession(id=run.thread_id, created_at=begun))]
    if begun < last.created_at + CODE_SESSION_SECONDS:
        return None, []

    def renew(session: CodeSession) -> None:
        session.created_at = begun

    return "session", [Change(CodeSession, run.thread_id, renew)]
