"""Sending events to the sink of the settings: all of them, in order, at least once, beside everything else.

What a sink has is kept in the database. One process sends at a time; where another takes over from it too early, the
sink is sent something twice, and never anything new out of order.
"""

import asyncio

from everloom.context import Ports
from everloom.evidence.base import Sink, SinkAway
from everloom.kit.backoff import Backoff
from everloom.kit.errors import Unavailable
from everloom.kit.log import outage
from everloom.store.registers import AuditLog
from everloom.work.organization.audit_logs import export_form

LOOK_SECONDS = 1.0
CLAIM_SECONDS = 60
"""How long nobody takes over from a process that has died: longer than a sink may take over a batch."""

EVENTS_AT_ONCE = 100
BYTES_AT_ONCE = 1024 * 1024
LONGEST_PAUSE = 60.0


async def sweep(ports: Ports) -> None:
    """Send what the sink has not been sent, if there is a sink, and nobody else is at it."""
    evidence, log = ports.evidence, ports.database.audit
    if evidence is not None and evidence.sink is not None and await log.is_behind(evidence.sink.name):
        await send(log, evidence.sink, evidence.holder)


async def send(log: AuditLog, sink: Sink, holder: str) -> None:
    """Send all that there is, for as long as the sink is away. Returns at once where another process sends."""
    backoff = Backoff(longest=LONGEST_PAUSE)
    while (seq := await log.claim(sink.name, holder, CLAIM_SECONDS)) is not None:
        rows = await log.rows(seq, EVENTS_AT_ONCE, BYTES_AT_ONCE)
        if not rows:
            await log.release(sink.name, holder)
            return
        try:
            await sink.send([export_form(row) for row in rows])
        except SinkAway as away:
            outage("the audit log", Unavailable(f"the audit sink {sink.name}", away))
            await asyncio.sleep(backoff.pause())
            continue
        backoff.renew()
        if not await log.delivered(sink.name, holder, rows[-1].seq):
            return
