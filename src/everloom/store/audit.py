"""The audit log's SQL and procedures, for both databases (``AuditLog`` in ``registers.py`` says what they mean)."""

import time
from collections.abc import Sequence

from msgspec.structs import astuple

from everloom.objects.audit import (
    AUDIT_COLUMNS,
    GENESIS,
    AuditedProject,
    AuditEvent,
    AuditHead,
    AuditRecord,
    AuditRow,
    Checkpoint,
    chained,
    row_of,
)
from everloom.objects.base import encode
from everloom.store.sql import Dialect, Procedure, Statement, numbered

_COLUMNS = ", ".join(AUDIT_COLUMNS)


def append(dialect: Dialect, events: Sequence[AuditEvent]) -> Procedure[None]:
    """``Audit``, inside a transaction and last of all in it: who holds the chain's head waits for nobody.

    Projects are named as they are called by then, in the write's own eyes.
    """
    names = yield from _names(dialect, {event.project_id for event in events if event.project_id})
    head = yield from _head(dialect, lock=True)
    seq, hash = head.seq, head.hash
    now = int(time.time())
    for event in events:
        seq += 1
        record = AuditRecord(
            seq=seq,
            id=event.id,
            type=event.type,
            effective_at=now,
            project=AuditedProject(event.project_id, names.get(event.project_id, "")) if event.project_id else None,
            actor=event.actor,
            origin=event.origin,
            details=event.details,
        )
        body = encode(record)
        hash = chained(hash, body)
        yield Statement(numbered(dialect, _INSERT), astuple(row_of(record, body, hash)), True)
    yield Statement(numbered(dialect, "UPDATE audit_heads SET seq = ?, hash = ? WHERE id = 1"), [seq, hash], True)


_INSERT = f"INSERT INTO audit_events ({_COLUMNS}) VALUES ({', '.join('?' * len(AUDIT_COLUMNS))})"


def _names(dialect: Dialect, ids: set[str]) -> Procedure[dict[str, str]]:
    """What projects are called."""
    names: dict[str, str] = {}
    text = numbered(dialect, "SELECT name FROM organization_projects WHERE project = '' AND id = ?")
    for id in sorted(ids):
        for (name,) in (yield Statement(text, [id])):
            names[id] = name
    return names


def head(dialect: Dialect) -> Procedure[AuditHead]:
    """``AuditLog.head``."""
    return (yield from _head(dialect))


def _head(dialect: Dialect, *, lock: bool = False) -> Procedure[AuditHead]:
    text = "SELECT seq, hash FROM audit_heads WHERE id = 1"
    rows = yield Statement(f"{text} FOR UPDATE" if lock and dialect == "postgresql" else text, [])
    if not rows and lock:
        raise RuntimeError("the audit log's end is gone from audit_heads: 'everloom audit verify' tells more")
    return AuditHead(*rows[0]) if rows else AuditHead(0, GENESIS)


def rows(dialect: Dialect, after: int, limit: int) -> Procedure[list[AuditRow]]:
    """``AuditLog.rows``."""
    text = f"SELECT {_COLUMNS} FROM audit_events WHERE seq > ? ORDER BY seq LIMIT ?"
    found = yield Statement(numbered(dialect, text), [after, limit])
    return [AuditRow(*row) for row in found]


# --- checkpoints ---------------------------------------------------------------------------------------------------

_CHECKPOINT = ", ".join(Checkpoint.__struct_fields__)


def checkpoints(dialect: Dialect, after: int) -> Procedure[list[Checkpoint]]:
    """``AuditLog.checkpoints``."""
    text = f"SELECT {_CHECKPOINT} FROM audit_checkpoints WHERE seq > ? ORDER BY seq, at"
    found = yield Statement(numbered(dialect, text), [after])
    return [Checkpoint(seq=seq, hash=hash, at=at, key=key, signature=sign) for seq, hash, at, key, sign in found]


def keep_checkpoint(dialect: Dialect, checkpoint: Checkpoint) -> Procedure[bool]:
    """``AuditLog.keep_checkpoint``, inside a transaction: one at a time, by the chain's head."""
    yield from _head(dialect, lock=True)
    text = numbered(dialect, "SELECT COALESCE(MAX(seq), 0) FROM audit_checkpoints WHERE key = ?")
    ((last,),) = yield Statement(text, [checkpoint.key])
    if last >= checkpoint.seq:
        return False
    text = f"INSERT INTO audit_checkpoints ({_CHECKPOINT}) VALUES (?, ?, ?, ?, ?)"
    yield Statement(numbered(dialect, text), astuple(checkpoint), True)
    return True


# --- sinks ---------------------------------------------------------------------------------------------------------


def is_behind(dialect: Dialect, sink: str) -> Procedure[bool]:
    """``AuditLog.is_behind``."""
    sent = "COALESCE((SELECT seq FROM audit_sinks WHERE name = ?), 0)"
    rows = yield Statement(numbered(dialect, f"SELECT seq > {sent} FROM audit_heads WHERE id = 1"), [sink])
    return bool(rows[0][0])


def claim(dialect: Dialect, sink: str, holder: str, seconds: int) -> Procedure[int | None]:
    """``AuditLog.claim``, inside a transaction."""
    now = int(time.time())
    text = "INSERT INTO audit_sinks (name, seq, holder, until) VALUES (?, 0, '', 0) ON CONFLICT (name) DO NOTHING"
    yield Statement(numbered(dialect, text), [sink], True)
    # Nobody holds it for longer than this: what seems to was written before the clock was set back.
    text = "UPDATE audit_sinks SET holder = ?, until = ? WHERE name = ? AND (holder = ? OR until < ? OR until > ?)"
    values = [holder, now + seconds, sink, holder, now, now + seconds]
    if not (yield Statement(numbered(dialect, text), values, True)):
        return None
    ((seq,),) = yield Statement(numbered(dialect, "SELECT seq FROM audit_sinks WHERE name = ?"), [sink])
    found: int = seq
    return found


def delivered(dialect: Dialect, sink: str, holder: str, seq: int) -> Procedure[bool]:
    """``AuditLog.delivered``, inside a transaction."""
    text = "UPDATE audit_sinks SET seq = ? WHERE name = ? AND holder = ? AND seq <= ?"
    count: int = yield Statement(numbered(dialect, text), [seq, sink, holder, seq], True)
    return bool(count)


def release(dialect: Dialect, sink: str, holder: str) -> Procedure[None]:
    """``AuditLog.release``."""
    text = "UPDATE audit_sinks SET until = 0 WHERE name = ? AND holder = ?"
    yield Statement(numbered(dialect, text), [sink, holder], True)
