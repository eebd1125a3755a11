"""Checkpoints of the audit log: its end, signed every hour, kept in the database and with the witness.

Every worker looks whether one is due: the first to keep it has made it, and the others, where they sign with the same
key, copy it to their own witness. Nothing is signed that does not go on from what the witness has seen, so a chain that
somebody has rewritten gets no blessing. Where witness and database do not remember the same, or one of them nothing
that has been signed before, nothing is signed until the operator accepts what is there.
"""

import asyncio
import logging
from collections.abc import Sequence

from everloom.context import Ports
from everloom.evidence.base import Evidence
from everloom.kit.clock import now
from everloom.objects.audit import GENESIS, AuditHead, Checkpoint, chained, legible
from everloom.store.registers import AuditLog
from everloom.work.organization.audit_logs import all_rows

logger = logging.getLogger(__name__)

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


async def accept(log: AuditLog, evidence: Evidence) -> Checkpoint:
    """Begin a witness anew with what the database has, on the operator's word; the one there is is put aside.

    Errors: ``ChainBroken`` where the database contradicts itself, ``OSError``.
    """
    head = await log.head()
    if head.seq == 0:
        raise ChainBroken("the audit log has no rows: there is nothing to sign")
    kept = await log.checkpoints()
    mine = await asyncio.to_thread(_signed_by, evidence, kept)
    for each in mine:
        await _stands(log, each.seq, bytes.fromhex(each.hash))
    await _go_on(log, head, None)
    remembered = set(await asyncio.to_thread(evidence.witness.all))
    if not mine or mine[-1].seq < head.seq:
        await log.keep_checkpoint(await asyncio.to_thread(evidence.signer.sign, head, now()))
    kept = await log.checkpoints()
    mine = await asyncio.to_thread(_signed_by, evidence, kept)
    await asyncio.to_thread(evidence.witness.begin)
    news = [each for each in kept if each in remembered or each in mine]
    await _remember(evidence, news)
    return mine[-1]


async def _look(log: AuditLog, evidence: Evidence, seconds: int) -> None:
    seen = await asyncio.to_thread(evidence.witness.last)
    head = await log.head()
    if seen is None:
        if head.seq == 0:
            return
        await _begin(log, evidence)
    elif await asyncio.to_thread(evidence.signer.has_signed, seen):  # Who remembered it may not have come to say so.
        await asyncio.to_thread(evidence.signer.has_begun)
    behind = seen.seq if seen else 0
    mine = await asyncio.to_thread(_signed_by, evidence, await log.checkpoints(after=behind))
    if mine:
        await _remember(evidence, mine)
    last = mine[-1] if mine else seen
    if last is not None:
        if (head.seq, head.hash.hex()) == (last.seq, last.hash):
            return
        if head.seq > last.seq and 0 <= now() - last.at < seconds:
            return
    await _compare(log, evidence)
    await _go_on(log, head, last)
    checkpoint = await asyncio.to_thread(evidence.signer.sign, head, now())
    if await log.keep_checkpoint(checkpoint):
        # With those that others have kept meanwhile, which stand before it.
        mine = await asyncio.to_thread(_signed_by, evidence, await log.checkpoints(after=behind))
        await _remember(evidence, mine)


async def _remember(evidence: Evidence, checkpoints: Sequence[Checkpoint]) -> None:
    await asyncio.to_thread(evidence.witness.append, checkpoints)
    await asyncio.to_thread(evidence.signer.has_begun)


async def _begin(log: AuditLog, evidence: Evidence) -> None:
    """Ask that a witness that remembers nothing never has. Errors: ``ChainBroken``.

    Where nobody knows whether the key has signed before, a log of less than an hour is believed, and with it the one
    checkpoint that whoever began has kept before the end came.
    """
    empty = "the witness of the audit log remembers nothing, and"
    before = await asyncio.to_thread(evidence.signer.has_signed_before)
    kept = [] if before is False else await log.checkpoints()  # Who died while it began may have kept one.
    mine = await asyncio.to_thread(_signed_by, evidence, kept)
    rows = await log.rows(0, 1)
    record = legible(rows[0]) if rows else None
    is_old = record is not None and now() - record.effective_at > CHECKPOINT_SECONDS + LOOK_SECONDS
    if mine and (before or is_old or record is None or len(mine) > 1):
        raise ChainBroken(f"{empty} the database has checkpoints of this key; {_ACCEPT}")
    if before:
        raise ChainBroken(f"{empty} its key has signed before; {_ACCEPT}")
    if is_old and before is None:
        raise ChainBroken(f"{empty} the first row is older than an hour; {_ACCEPT}")
    if is_old and record is not None:
        logger.warning(
            "the audit log is signed for the first time, and its first row is %d s old", now() - record.effective_at
        )


_ACCEPT = "nothing is signed until 'everloom audit accept' says that all is well ('everloom audit verify' tells more)"


async def _compare(log: AuditLog, evidence: Evidence) -> None:
    """Ask that the witness and the database remember the same, but for the newest. Errors: ``ChainBroken``."""
    remembered = await asyncio.to_thread(evidence.witness.all)  # First: the database has each before it.
    kept = await log.checkpoints()
    seen, known = set(remembered), set(kept)
    for each in remembered:
        if each not in known:
            raise ChainBroken(f"the checkpoint of row {each.seq}, which the witness has, is gone from the database")
    newest = max((each.seq for each in remembered), default=0)
    gone = [each for each in kept if each not in seen and each.seq < newest]
    if lost := await asyncio.to_thread(_signed_by, evidence, gone):
        raise ChainBroken(f"the checkpoint of row {lost[0].seq}, which the database has, is gone from the witness")


def _signed_by(evidence: Evidence, checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    return [each for each in checkpoints if evidence.signer.has_signed(each)]


async def _go_on(log: AuditLog, head: AuditHead, last: Checkpoint | None) -> None:
    """Ask that the chain leads from what was signed last to its end. Errors: ``ChainBroken``."""
    seq, hash = (0, GENESIS) if last is None else (last.seq, bytes.fromhex(last.hash))
    if seq:
        await _stands(log, seq, hash)
    async for row in all_rows(log, seq):
        if row.seq > head.seq:
            break
        if row.seq != seq + 1 or legible(row) is None or row.hash != chained(hash, row.body):
            raise ChainBroken(f"row {row.seq} of the audit log does not follow on row {seq}")
        seq, hash = row.seq, row.hash
    if (seq, hash) != (head.seq, head.hash):
        raise ChainBroken(f"the audit log ends at row {seq}, and its end says {head.seq}")


async def _stands(log: AuditLog, seq: int, hash: bytes) -> None:
    rows = await log.rows(seq - 1, 1)
    if not rows or (rows[0].seq, rows[0].hash) != (seq, hash):
        raise ChainBroken(f"row {seq} of the audit log is not the one that was signed, and that the witness has seen")
