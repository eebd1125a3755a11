"""Events of the audit log, as part of the write that they tell of: ``ctx.store.write(change, recorded(ctx, …))``."""

from msgspec import Struct, to_builtins

from everloom.context import Context
from everloom.context.caller import Caller
from everloom.objects.audit import BY_OPERATOR, AuditActor, AuditEvent, AuditEventType, Origin
from everloom.objects.base import JsonObject
from everloom.objects.keys import Key
from everloom.store.base import Audit


def recorded(ctx: Context, type: AuditEventType, details: JsonObject, *, project: str = "") -> Audit:
    """Part of a write that tells who did it: ``recorded(ctx, "project.updated", {"id": …}, project=…)``.

    ``details`` are what the reference has for the type; ``project`` is the id of the project that it is scoped to.
    """
    return Audit((event(ctx, type, details, project=project),))


def event(ctx: Context, type: AuditEventType, details: JsonObject, *, project: str = "") -> AuditEvent:
    """The event itself, for an ``Audit`` of several and for ``Remove(…, audit=…)``."""
    return AuditEvent(type=type, details=details, actor=actor_of(ctx.caller), origin=ctx.origin, project_id=project)


def by_operator(type: AuditEventType, details: JsonObject, origin: Origin, *, project: str = "") -> Audit:
    """As ``recorded``, for what the operator does by the command line, or by the settings of a server that starts."""
    return Audit((operator_event(type, details, origin, project=project),))


def operator_event(type: AuditEventType, details: JsonObject, origin: Origin, *, project: str = "") -> AuditEvent:
    """The event of ``by_operator``."""
    return AuditEvent(type=type, details=details, actor=BY_OPERATOR, origin=origin, project_id=project)


def requested(asked: Struct) -> JsonObject:
    """The ``changes_requested`` of an event: what a request gives, and not what it leaves as it is."""
    return {name: value for name, value in to_builtins(asked).items() if value is not None}


def key_details(key: Key) -> JsonObject:
    """Those of ``api_key.created``: whose it is and what it may do, and nothing that helps to guess it."""
    data: JsonObject = {"name": key.name, "owner_id": key.owner_id, "permissions": key.permissions}
    if key.permissions == "restricted":
        data["scopes"] = key.scopes
    return {"id": key.id, "data": data}


def actor_of(caller: Caller) -> AuditActor:
    """Who acts: whose key it is or, where there is no key, the operator."""
    if not caller.key_id:
        return BY_OPERATOR
    return AuditActor(type="api_key", id=caller.user, key_id=caller.key_id, email=caller.email)
