"""Events of every type, in the shapes of the reference, whoever acts: those too that are written elsewhere."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.context import Context
from everloom.context.caller import Caller
from everloom.objects.audit import EVENT_TYPES, LATER_EVENT_TYPES, AuditEventType, AuditQuery, Origin
from everloom.objects.projects import Project
from everloom.store.base import SYSTEM, Add, Database
from everloom.work.organization.audit import recorded
from everloom.work.organization.audit_logs import list_audit_logs
from tests.blobs import ports_of
from tests.spec.oracle import check_body
from tests.spec.spec import needs_spec
from tests.spec.test_newest import newest
from tests.store.databases import address, opened

pytestmark = needs_spec

LIMITS = {"max_requests_per_1_minute": 60, "max_tokens_per_1_minute": 1000, "batch_1_day_max_input_tokens": 5}
FAILURE = {"error_code": "invalid_api_key", "error_message": "It was refused."}
DETAILS: dict[AuditEventType, Any] = {
    "api_key.created": {"id": "key_1", "data": {"scopes": ["api.files.read"]}},
    "api_key.updated": {"id": "key_1", "changes_requested": {"scopes": ["api.files.write"]}},
    "api_key.deleted": {"id": "key_1"},
    "invite.sent": {"id": "invite-1", "data": {"email": "a@example.org", "role": "reader"}},
    "invite.accepted": {"id": "invite-1"},
    "invite.deleted": {"id": "invite-1"},
    "login.succeeded": {},
    "login.failed": FAILURE,
    "logout.succeeded": {},
    "logout.failed": FAILURE,
    "organization.updated": {"id": "org-everloom", "changes_requested": {"name": "ours", "settings": {}}},
    "project.created": {"id": "proj_1", "data": {"name": "A project", "title": "A project"}},
    "project.updated": {"id": "proj_1", "changes_requested": {"title": "Another"}},
    "project.archived": {"id": "proj_1"},
    "service_account.created": {"id": "svc_acct_1", "data": {"role": "member"}},
    "service_account.updated": {"id": "svc_acct_1", "changes_requested": {"role": "owner"}},
    "service_account.deleted": {"id": "svc_acct_1"},
    "rate_limit.updated": {"id": "rl-gpt-4o", "changes_requested": LIMITS},
    "rate_limit.deleted": {"id": "rl-gpt-4o"},
    "user.added": {"id": "user-1", "data": {"role": "member"}},
    "user.updated": {"id": "user-1", "changes_requested": {"role": "owner"}},
    "user.deleted": {"id": "user-1"},
}

CALLERS = {
    "a user's key": Caller(project=SYSTEM, key_id="key_1", user="user-1", email="a@example.org"),
    "an account's key": Caller(project=SYSTEM, key_id="key_2", user="svc_acct_1"),
    "nobody": Caller(project=SYSTEM),
}
ACTORS = {
    "a user's key": {
        "type": "api_key",
        "api_key": {"id": "key_1", "type": "user", "user": {"id": "user-1", "email": "a@example.org"}},
    },
    "an account's key": {
        "type": "api_key",
        "api_key": {"id": "key_2", "type": "service_account", "service_account": {"id": "svc_acct_1"}},
    },
    "nobody": {
        "type": "session",
        "session": {"user": {"id": "operator"}, "ip_address": "192.0.2.1", "user_agent": "everloom"},
    },
}


def test_there_is_an_example_of_each() -> None:
    assert tuple(DETAILS) == EVENT_TYPES


def test_every_type_of_the_newest_reference_can_be_asked_for() -> None:
    types = newest()["components"]["schemas"]["AuditLogEventType"]["enum"]
    unknown = {type for type in types if not type.startswith("tenant.")} - {*EVENT_TYPES, *LATER_EVENT_TYPES}
    assert unknown == set()


@pytest.mark.parametrize("who", CALLERS)
def test_events_have_the_shapes_of_the_reference(who: str, tmp_path: Path) -> None:
    async def main(database: Database) -> None:
        origin = Origin(ip_address="192.0.2.1", user_agent="everloom")
        ctx = Context.for_caller(ports_of(database, tmp_path), CALLERS[who], origin)
        await ctx.store.write(Add(Project(id="proj_1", created_at=1, name="A project")))
        for type, details in DETAILS.items():
            await ctx.store.write(recorded(ctx, type, details, project="proj_1"))
        page = await list_audit_logs(database.audit, AuditQuery(limit=100))
        check_body("assistants=v2", "list-audit-logs", 200, "application/json", page.encode(), "the log")
        for event, type in zip(page.decode(), reversed(EVENT_TYPES), strict=True):
            assert event == {
                "id": event["id"],
                "type": type,
                "effective_at": event["effective_at"],
                "project": {"id": "proj_1", "name": "A project"},
                "actor": ACTORS[who],
                type: DETAILS[type],
            }
        assert msgspec.json.decode(page.encode())["has_more"] is False

    asyncio.run(opened(address("sqlite", tmp_path), main))
