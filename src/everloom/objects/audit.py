"""The audit log: what somebody did to the organization, each event a row of a hash chain that is never changed."""

import hashlib
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct, field

from everloom.kit.errors import NO_JSON
from everloom.kit.ids import new_id
from everloom.objects.base import JsonObject, encode

PREFIX = "audit_log-"

AuditEventType = Literal[
    "api_key.created",
    "api_key.updated",
    "api_key.deleted",
    "invite.sent",
    "invite.accepted",
    "invite.deleted",
    "login.succeeded",
    "login.failed",
    "logout.succeeded",
    "logout.failed",
    "organization.updated",
    "project.created",
    "project.updated",
    "project.archived",
    "service_account.created",
    "service_account.updated",
    "service_account.deleted",
    "rate_limit.updated",
    "rate_limit.deleted",
    "user.added",
    "user.updated",
    "user.deleted",
]
"""AuditLogEventType. Of these ``login.succeeded`` and ``logout.*`` never happen here (docs/decisions/audit.md)."""

EVENT_TYPES: tuple[AuditEventType, ...] = get_args(AuditEventType)

_MADE, _CHANGED = ("created", "deleted"), ("created", "updated", "deleted")
_LATER: dict[str, tuple[str, ...]] = {
    "certificate": _CHANGED,
    "certificates": ("activated", "deactivated"),
    "checkpoint.permission": _MADE,
    "external_key": ("registered", "removed"),
    "external_storage": ("registered", "removed"),
    "group": _CHANGED,
    "ip_allowlist": _CHANGED,
    "ip_allowlist.config": ("activated", "deactivated"),
    "project": ("deleted",),
    "resource": ("deleted",),
    "role": (*_CHANGED, "bound_to_resource", "unbound_from_resource"),
    "role.assignment": _MADE,
    "scim": ("enabled", "disabled"),
    "tunnel": _CHANGED,
    "workload_identity_provider": _CHANGED,
    "workload_identity_provider_mapping": _CHANGED,
}
LATER_EVENT_TYPES = tuple(f"{noun}.{verb}" for noun, verbs in _LATER.items() for verb in verbs)
"""What the newest reference can be asked for besides, and what never happens here. There is more, of tenants, all of
which begins with ``tenant.``.
"""

OPERATOR = "operator"
"""Who acts by the command line or the settings: whoever has the machine, known by no key."""

GENESIS = bytes(32)
"""What stands before the first row's hash."""


class Origin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a request came from; empty for jobs and upkeep. ``ip_address`` is that of the connection, a proxy's where
    one stands before the server; ``forwarded_for`` is what such a proxy, or anybody, has said in its header.
    """

    ip_address: str = ""
    user_agent: str = ""
    forwarded_for: str = ""


class AuditActor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who acted: a key and its owner, or a session without a key, which is the operator's or that of an invite's link.

    ``id`` is a user's or a service account's, or ``OPERATOR``; ``email`` a user's at that time.
    """

    type: Literal["api_key", "session"]
    id: str = ""
    key_id: str = ""
    email: str = ""


BY_OPERATOR = AuditActor(type="session", id=OPERATOR)


def _new_event_id() -> str:
    return new_id(PREFIX)


class AuditEvent(Struct, frozen=True, kw_only=True):
    """What has happened, before it has its place in the chain. ``details`` are those of the reference for the type;
    their ``id`` is what the event happened to. No secret is ever among them.
    """

    type: AuditEventType
    details: JsonObject
    actor: AuditActor
    origin: Origin = Origin()
    project_id: str = ""
    """The project that it is scoped to, if it is to one."""
    id: str = field(default_factory=_new_event_id)


class AuditedProject(Struct, frozen=True):
    """The project of an event, as it was called then."""

    id: str
    name: str


class AuditRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event in its place: what is stored, hashed, exported and sent to a sink. Its order is that of ``seq``, which
    counts from 1 without a gap; ``effective_at`` is the clock's, which may go back.
    """

    seq: int
    id: str
    type: str
    effective_at: int
    project: AuditedProject | None = None
    actor: AuditActor
    origin: Origin = Origin()
    details: JsonObject


class AuditRow(Struct, frozen=True):
    """A row of the chain as it is kept: the columns that it is found by, the record's JSON, and the hash.

    Where somebody has put something of another type into the database, it is None.
    """

    seq: int
    id: str
    type: str
    effective_at: int
    project_id: str
    key_id: str
    actor_id: str
    actor_email: str
    resource_id: str
    body: bytes
    hash: bytes


AUDIT_COLUMNS: tuple[str, ...] = AuditRow.__struct_fields__


ROW_BYTES = 8 * 1024 * 1024
PAGE_BYTES = 2 * 1024 * 1024
"""Bytes of rows that are read at once, and listed at once: an event of before there was a bound may have a megabyte."""


class AuditHead(Struct, frozen=True):
    """The end of the chain: the newest row's seq and hash; 0 and ``GENESIS`` where there is none."""

    seq: int
    hash: bytes


class Checkpoint(Struct, frozen=True, kw_only=True):
    """That the chain had this row at its end at this time, said by a key (``key``: its fingerprint, in hex).

    ``hash`` and ``signature`` (Ed25519 over ``signed``) are hex.
    """

    seq: int
    hash: str
    at: int
    key: str
    signature: str

    @property
    def signed(self) -> bytes:
        """What the signature is over."""
        return f"everloom audit checkpoint\n{self.seq}\n{self.hash}\n{self.at}\n{self.key}\n".encode()


class AuditQuery(Struct, frozen=True, kw_only=True):
    """Events that fit all that is given, of each list any. Times are Unix seconds, ``since`` and ``until`` included.

    ``after`` and ``before`` are ids of events: pages as ``Store.find`` has them.
    """

    limit: int = 20
    after: str | None = None
    before: str | None = None
    since: int | None = None
    until: int | None = None
    types: tuple[str, ...] = ()
    project_ids: tuple[str, ...] = ()
    actor_ids: tuple[str, ...] = ()
    actor_emails: tuple[str, ...] = ()
    resource_ids: tuple[str, ...] = ()


class AuditPage(Struct, frozen=True):
    """Rows, the newest first, and whether there are more in the direction walked."""

    rows: list[AuditRow]
    has_more: bool


def row_of(record: AuditRecord, body: bytes, hash: bytes) -> AuditRow:
    """The row of a record. ``body`` is its JSON."""
    resource = record.details.get("id", "")
    return AuditRow(
        record.seq,
        record.id,
        record.type,
        record.effective_at,
        record.project.id if record.project else "",
        record.actor.key_id,
        record.actor.id,
        record.actor.email,
        resource if isinstance(resource, str) else "",
        body,
        hash,
    )


def legible(row: AuditRow) -> AuditRecord | None:
    """What a row says; None where somebody has made something of it that nobody can read."""
    if not isinstance(row.body, bytes) or not isinstance(row.hash, bytes):
        return None
    try:
        record = _decode(row.body)
    except NO_JSON:
        return None
    return record if 0 <= record.effective_at <= _LATEST else None


_decode = msgspec.json.Decoder(AuditRecord).decode

_LATEST = 253_402_300_799
"""The last second of the year 9999, behind which nobody has a calendar."""


def chained(before: bytes, body: bytes) -> bytes:
    """The hash of a row: SHA-256 over the hash before (32 bytes) and the row's body."""
    return hashlib.sha256(before + body).digest()


DETAIL_BYTES = 16_384
"""What the details of an event have room for."""

_PART_BYTES = 1024
_FIRST = 3


def bounded(details: JsonObject) -> JsonObject:
    """Details as they are kept: where they are too many, what is large in them is its beginning, size and SHA-256."""
    if len(encode(details)) <= DETAIL_BYTES:
        return details
    cut: JsonObject = _cut(details)
    if len(encode(cut)) <= DETAIL_BYTES:
        return cut
    kept: JsonObject = {"id": details["id"]} if isinstance(details.get("id"), str) else {}
    return kept | {"bytes": len(encode(details)), "sha256": _sha256(details)}


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cut(part) for name, part in value.items()}
    if isinstance(value, str) and len(value) > _PART_BYTES:
        return {"characters": len(value), "sha256": _sha256(value), "first": value[: _PART_BYTES // 4]}
    if isinstance(value, list) and len(encode(value)) > _PART_BYTES:
        return {"count": len(value), "sha256": _sha256(value), "first": [_cut(part) for part in value[:_FIRST]]}
    return value


def _sha256(value: Any) -> str:
    """That of its JSON."""
    return hashlib.sha256(encode(value)).hexdigest()


class AuditFault(Struct, frozen=True, kw_only=True):
    """Something in the log that is not as it was written; ``seq`` is the first row that it concerns, if it is one."""

    seq: int | None
    text: str


class AuditSignature(Struct, frozen=True, kw_only=True):
    """The last checkpoint that vouches for rows: up to which, when it was signed, and by which key."""

    seq: int
    at: int
    key: str


class AuditVerification(Struct, frozen=True, kw_only=True):
    """Whether the log is what was written. While it is read, only ``status`` says anything."""

    object: Literal["organization.audit_log.verification"] = "organization.audit_log.verification"
    status: Literal["in_progress", "completed"]
    verified_at: int | None = None
    rows: int | None = None
    hash: str | None = None
    signed: AuditSignature | None = None
    faults: tuple[AuditFault, ...] = ()
    faults_total: int = 0
