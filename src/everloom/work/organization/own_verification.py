"""The audit log verified by its own server, for whoever has nothing but an admin key.

It is a convenience: whoever could change the log could change this server, too. ``everloom audit verify``, elsewhere
and with a public key and a witness kept there, is what proves something.
"""

import asyncio
from functools import partial

from everloom.context import Ports
from everloom.evidence.base import Evidence
from everloom.kit.clock import now
from everloom.kit.errors import NotFound
from everloom.objects.audit import AuditFault, AuditSignature, AuditVerification, Checkpoint
from everloom.store.registers import AuditLog
from everloom.work.organization.audit_verification import verify

MOST_FAULTS = 100
"""That are told; ``faults_total`` counts them all."""


async def verify_own_log(ports: Ports) -> AuditVerification:
    """What was found when the log was read last: one reading at a time, a tenth of the time at most. A reading that
    takes longer than a request should is told as ``in_progress``, and goes on. Errors: 404 where nothing signs here.
    """
    if ports.evidence is None:
        raise NotFound("This server has no key that signs the audit log.")
    try:
        return await ports.verified.ask(partial(_verify, ports.database.audit, ports.evidence))
    except TimeoutError:
        return AuditVerification(status="in_progress")


async def _verify(log: AuditLog, evidence: Evidence) -> AuditVerification:
    witness = await asyncio.to_thread(evidence.witness.all)
    illegible = await asyncio.to_thread(evidence.witness.illegible)
    has_signed = await asyncio.to_thread(evidence.signer.has_signed_before)
    found = await verify(log, witness, evidence.signer.has_signed, illegible=illegible, has_signed=bool(has_signed))
    return AuditVerification(
        status="completed",
        verified_at=now(),
        rows=found.rows,
        hash=found.hash.hex(),
        signed=_signature(found.signed),
        faults=tuple(AuditFault(seq=fault.seq, text=fault.text) for fault in found.faults[:MOST_FAULTS]),
        faults_total=len(found.faults),
    )


def _signature(signed: Checkpoint | None) -> AuditSignature | None:
    return None if signed is None else AuditSignature(seq=signed.seq, at=signed.at, key=signed.key)
