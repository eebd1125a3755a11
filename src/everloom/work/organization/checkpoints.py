"""Checkpoints of the audit log: its end, signed every hour, kept in the database and with the witness.

Every worker looks whether one is due: the first to keep it has made it, and the others, where they sign with the same
key, copy it to their own witness. Nothing is signed that does not go on from what the witness has seen, so a chain that
somebody has rewritten gets no blessing.
"""

import asyncio
from collections.abc import Sequence

from everloom.context import Ports
from everloom.evidence.base import Evidence
from everloom.kit.clock import now
from everloom.objects.audit import GENESIS, AuditHead, Checkpoint, chained, legible
from everloom.store.registers import AuditLog
from everloom.work.organization.audit_logs import all_rows

LOOK_SECONDS = 60.0
CHECKPOINT_SECONDS = 3600
"""Between two checkpoints, where there is something new."""


class ChainBroken(Exception):
    """The audit log is not what the witness has seen: ``everloom audit verify`` tells more."""


async def sweep(ports: Ports) -> None:
    """Have a checkpoint made if its time has come. Errors: ``ChainBroken``."""
    if ports.evidence is not None:
        await _look(ports.database.audit, ports.evidence, CHECKPOINT_SECONDS)


async def at_stop(ports: Ports) -> None:
    """Have what came since the last checkpoint in one of its own. Errors: ``ChainBroken``."""
    if ports.evidence is not None:
        await _look(ports.database.audit, ports.evidence, 0)


async def _look(log: AuditLog, evidence: Evidence, seconds: int) -> None:
    seen = await asyncio.to_thread(evidence.witness.last)
    head = await log.head()
    made = await log.checkpoints(after=seen.seq if seen else 0)
    if head.seq == 0 and seen is None:
        return
    mine = await asyncio.to_thread(_signed_by, evidence, made)
    if mine:
        await asyncio.to_thread(evidence.witness.append, mine)
    last = mine[-1] if mine else seen
    if last is not None:
        if (head.seq, head.hash.hex()) == (last.seq, last.hash):
            return
        if head.seq > last.seq and 0 <= now() - last.at < seconds:
            return
    await _go_on(log, head, last)
    checkpoint = await asyncio.to_thread(evidence.signer.sign, head, now())
    if await log.keep_checkpoint(checkpoint):
        await asyncio.to_thread(evidence.witness.append, [checkpoint])


def _signed_by(evidence: Evidence, checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    return [each for each in checkpoints if evidence.signer.has_signed(each)]


async def _go_on(log: AuditLog, head: AuditHead, last: Checkpoint | None) -> None:
    """Ask that the chain leads from what was signed last to its end. Errors: ``ChainBroken``."""
    seq, hash = (0, GENESIS) if last is None else (last.seq, bytes.fromhex(last.hash))
    if seq:
        rows = await log.rows(seq - 1, 1)
        if not rows or (rows[0].seq, rows[0].hash) != (seq, hash):
            raise ChainBroken(f"row {seq} of the audit log is not the one that the witness has seen")
    async for row in all_rows(log, seq):
        if row.seq > head.seq:
            break
        if row.seq != seq + 1 or legible(row) is None or row.hash != chained(hash, row.body):
            raise ChainBroken(f"row {row.seq} of the audit log does not follow on row {seq}")
        seq, hash = row.seq, row.hash
    if (seq, hash) != (head.seq, head.hash):
        raise ChainBroken(f"the audit log ends at row {seq}, and its end says {head.seq}")
