"""The audit log's SQL and procedures, for both databases (``AuditLog`` in ``registers.py`` says what they mean)."""

import time
from collections.abc import Sequence
from typing import Any

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
    bounded,
    chained,
    row_of,
)
from everloom.objects.base import encode
from everloom.store.sql import Dialect, Procedure, Statement, numbered

_COLUMNS = ", ".join(AUDIT_COLUMNS)

_KINDS = ("seq", *(["text"] * 2), "integer", *(["text"] * 5), *(["blob"] * 2))
"""What each of them holds."""


def _as_told(dialect: Dialect, names: Sequence[str], kinds: Sequence[str]) -> str:
    """Columns to be read whatever somebody has put there: in SQLite a value of another type is none, and texts come as
    their bytes, since not every one is UTF-8.
    """
    if dialect == "postgresql":
        return ", ".join(names)
    shown = {"text": "CAST({0} AS BLOB)", "integer": "{0}", "blob": "{0}"}
    return ", ".join(
        name if kind == "seq" else f"CASE typeof({name}) WHEN '{kind}' THEN {shown[kind].format(name)} END"
        for name, kind in zip(names, kinds, strict=True)
    )


def row_columns(dialect: Dialect) -> str:
    """What ``row_from`` is made of."""
    return _as_told(dialect, AUDIT_COLUMNS, _KINDS)


def row_from(values: Sequence[Any]) -> AuditRow:
    """A row as it stands there."""
    return AuditRow(*_texts(values, _KINDS))


def _texts(values: Sequence[Any], kinds: Sequence[str]) -> list[Any]:
    return [
        value.decode(errors="surrogateescape") if kind == "text" and isinstance(value, bytes) else value
        for value, kind in zip(values, kinds, strict=True)
    ]


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
            details=bounded(event.details),
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
    columns = _as_told(dialect, ("seq", "hash"), ("integer", "blob"))
    text = f"SELECT {columns} FROM audit_heads WHERE id = 1"
    rows = yield Statement(f"{text} FOR UPDATE" if lock and dialect == "postgresql" else text, [])
    seq, hash = rows[0] if rows else (None, None)
    if lock and (seq is None or hash is None):
        raise RuntimeError("the audit log's end is gone from audit_heads: 'everloom audit verify' tells more")
    return AuditHead(seq or 0, hash or (b"" if rows else GENESIS))


def rows(dialect: Dialect, after: int, limit: int, size: int) -> Procedure[list[AuditRow]]:
    """``AuditLog.rows``."""
    sizes = "SELECT seq, LENGTH(body) FROM audit_events WHERE seq > ? ORDER BY seq LIMIT ?"
    standing = yield Statement(numbered(dialect, sizes), [after, limit])
    seqs = that_fit(standing, size)
    if not seqs:
        return []
    text = f"SELECT {row_columns(dialect)} FROM audit_events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    found = yield Statement(numbered(dialect, text), [after, seqs[-1], limit])
    return [row_from(row) for row in found]


def that_fit(sizes: Sequence[tuple[int, int | None]], most: int) -> list[int]:
    """The first of some rows, by seq and bytes, that are not more bytes than that together; one at least."""
    seqs: list[int] = []
    total = 0
    for seq, size in sizes:
        total += size or 0
        if seqs and total > most:
            break
        seqs.append(seq)
    return seqs


def count(dialect: Dialect, until: int) -> Procedure[int]:
    """``AuditLog.count``."""
    text = "SELECT COUNT(*) FROM audit_events WHERE seq <= ?"
    ((found,),) = yield Statement(numbered(dialect, text), [until])
    return int(found)


def index_faults(dialect: Dialect) -> Procedure[list[str]]:
    """``AuditLog.index_faults``. Who writes a schema by hand can have an index of SQLite's leave a row out."""
    if dialect == "postgresql":
        return []
    found = yield Statement("PRAGMA integrity_check(audit_events)", [])
    return [str(text) for (text,) in found if text != "ok"]


# --- checkpoints ---------------------------------------------------------------------------------------------------

_CHECKPOINT_COLUMNS = Checkpoint.__struct_fields__
_CHECKPOINT = ", ".join(_CHECKPOINT_COLUMNS)
_CHECKPOINT_KINDS = ("integer", "text", "integer", "text", "text")


def checkpoints(dialect: Dialect, after: int) -> Procedure[list[Checkpoint]]:
    """``AuditLog.checkpoints``. A part of another type than it was written is 0 or no text, which nobody signed."""
    columns = _as_told(dialect, _CHECKPOINT_COLUMNS, _CHECKPOINT_KINDS)
    text = f"SELECT {columns} FROM audit_checkpoints WHERE seq > ? ORDER BY audit_checkpoints.seq, audit_checkpoints.at"
    found = yield Statement(numbered(dialect, text), [after])
    checkpoints = []
    for row in found:
        seq, hash, at, key, signature = _texts(row, _CHECKPOINT_KINDS)
        made = Checkpoint(seq=seq or 0, hash=hash or "", at=at or 0, key=key or "", signature=signature or "")
        checkpoints.append(made)
    return checkpoints


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
