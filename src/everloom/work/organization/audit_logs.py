"""The audit log as it is read: pages of events in the shapes of the reference, and records as they are exported."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from everloom.objects.audit import (
    EVENT_TYPES,
    LATER_EVENT_TYPES,
    AuditActor,
    AuditPage,
    AuditQuery,
    AuditRow,
    Origin,
    legible,
)
from everloom.objects.base import JsonObject, Page, encode
from everloom.requests.validation import unsupported_value
from everloom.store.registers import AuditLog

ROWS_AT_ONCE = 2000
"""Rows that are in memory while all of them are read."""

_KNOWN = frozenset((*EVENT_TYPES, *LATER_EVENT_TYPES))
_objects = msgspec.json.Decoder(dict[str, Any])


async def list_audit_logs(log: AuditLog, query: AuditQuery, *, tenant_only: bool = False) -> Page[Any]:
    """A page of events, the newest first. Errors: 400 for a type that there is not, and for another list's cursor."""
    for place, type in enumerate(query.types):
        if type not in _KNOWN and not type.startswith("tenant."):
            raise unsupported_value(f"event_types[{place}]", type, (*EVENT_TYPES, *LATER_EVENT_TYPES))
    found = AuditPage([], False) if tenant_only else await log.find(query)
    shown = [wire_form(row) for row in found.rows]
    return Page(
        [encode(each) for each in shown],
        _objects,
        first_id=shown[0]["id"] if shown else None,
        last_id=shown[-1]["id"] if shown else None,
        has_more=found.has_more,
    )


def wire_form(row: AuditRow) -> JsonObject:
    """A row as the API shows it (AuditLog): its details are under the name of its type.

    One that nobody can read any more is shown by its columns, and as ``illegible``.
    """
    record = legible(row)
    if record is None:
        return _illegible(row)
    shown: JsonObject = {"id": record.id, "type": record.type, "effective_at": record.effective_at}
    if record.project is not None:
        shown["project"] = {"id": record.project.id, "name": record.project.name}
    return shown | {"actor": _actor(record.actor, record.origin), record.type: record.details}


def _illegible(row: AuditRow) -> JsonObject:
    type = _printable(row.type) or "unknown"
    at = row.effective_at if isinstance(row.effective_at, int) else 0
    shown: JsonObject = {"id": _printable(row.id), "type": type, "effective_at": at}
    return shown | {"actor": {"type": "session", "session": {}}, type: {"id": _printable(row.resource_id)}} | _ILLEGIBLE


_ILLEGIBLE = {"illegible": True}


def _printable(text: str | None) -> str:
    return (text or "").encode(errors="surrogateescape").decode(errors="replace")


def _actor(actor: AuditActor, origin: Origin) -> JsonObject:
    """Where a request came from has its place with sessions alone; the export tells it of all."""
    who = {"id": actor.id} | ({"email": actor.email} if actor.email else {})
    if actor.type == "api_key":
        kind = "service_account" if actor.id.startswith("svc_acct_") else "user"
        return {"type": "api_key", "api_key": {"id": actor.key_id, "type": kind, kind: who}}
    session: JsonObject = {"user": who} if actor.id else {}
    session |= {name: text for name in ("ip_address", "user_agent") if (text := getattr(origin, name))}
    return {"type": "session", "session": session}


def export_form(row: AuditRow) -> JsonObject:
    """A row as it is exported and sent to a sink: what the API shows, its origin, and its place in the chain."""
    record = legible(row)
    origin = {} if record is None else msgspec.to_builtins(record.origin)
    chain = {"seq": row.seq, "hash": row.hash.hex() if isinstance(row.hash, bytes) else ""}
    return wire_form(row) | {"origin": origin, "chain": chain}


async def all_rows(log: AuditLog, after: int = 0) -> AsyncIterator[AuditRow]:
    """Every row behind a seq, in order; few of them are in memory."""
    while rows := await log.rows(after, ROWS_AT_ONCE):
        for row in rows:
            yield row
        after = rows[-1].seq
