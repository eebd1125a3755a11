"""What is done to the organization is told in its audit log, through HTTP, on both databases."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.builders import Json, fetched, posted
from tests.organization import (
    ADMIN_KEYS,
    INVITES,
    PROJECTS,
    USERS,
    a_name,
    a_project,
    a_user,
    accepted,
    admin_of,
    an_account,
    an_email,
    refused,
)
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of

AUDIT_LOGS = "/organization/audit_logs"
AGENT = "an auditor's test"


@pytest.fixture
def admin(each_server: Everloom) -> Iterator[httpx.Client]:
    with admin_of(each_server) as client:
        client.headers["user-agent"] = AGENT
        yield client


Query = Sequence[tuple[str, Any]]


def asked(admin: httpx.Client, query: Query = (), **more: Any) -> Json:
    """A page of the log."""
    answer = admin.get(AUDIT_LOGS, params=[*query, *more.items()])
    assert answer.status_code == 200, answer.text
    page: Json = answer.json()
    return page


def events(admin: httpx.Client, query: Query = (), **more: Any) -> list[Json]:
    """All that fit, the oldest first, page by page."""
    found: list[Json] = []
    page = asked(admin, query, limit=100, **more)
    while True:
        found += page["data"]
        if not page["has_more"]:
            return found[::-1]
        page = asked(admin, query, limit=100, after=page["last_id"], **more)


def since(admin: httpx.Client, event_id: str) -> list[Json]:
    """What came behind an event, the oldest first, but for what the tests of others were refused."""
    return [event for event in events(admin, before=event_id) if event["type"] != "login.failed"]


def newest(admin: httpx.Client) -> str:
    id: str = asked(admin, limit=1)["data"][0]["id"]
    return id


def told(admin: httpx.Client, *resource_ids: str) -> list[tuple[str, Json, str | None]]:
    """Type, details and project of the events of these objects, the oldest first."""
    found = events(admin, [("resource_ids[]", id) for id in resource_ids])
    return [(each["type"], each[each["type"]], each.get("project", {}).get("id")) for each in found]


# --- what is told --------------------------------------------------------------------------------------------------


def test_what_happens_to_a_project_is_told(admin: httpx.Client) -> None:
    project = a_project(admin)
    id, renamed = project["id"], a_name("renamed")
    posted(admin, f"{PROJECTS}/{id}", {"name": renamed})
    posted(admin, f"{PROJECTS}/{id}/archive")
    refused(admin.post(f"{PROJECTS}/{id}", json={"name": "late"}), 400)
    name = project["name"]
    assert told(admin, id) == [
        ("project.created", {"id": id, "data": {"name": name, "title": name}}, id),
        ("project.updated", {"id": id, "changes_requested": {"name": renamed, "title": renamed}}, id),
        ("project.archived", {"id": id}, id),
    ]
    names = [event["project"]["name"] for event in events(admin, project_ids=id)]
    assert names == [name, renamed, renamed], "as it was called then"


def test_an_event_says_who_and_when(admin: httpx.Client) -> None:
    before = int(time.time())
    (event,) = events(admin, resource_ids=a_project(admin)["id"])
    assert event["id"].startswith("audit_log-")
    assert before <= event["effective_at"] <= time.time()
    assert event["actor"] == {
        "type": "api_key",
        "api_key": {
            "id": "key_everloom_admin_key",
            "type": "user",
            "user": {"id": "user-owner", "email": "owner@localhost"},
        },
    }
    assert set(event) == {"id", "type", "effective_at", "project", "actor", "project.created"}


def test_an_invite_is_sent_and_accepted_by_whoever_has_its_link(admin: httpx.Client) -> None:
    project, email = a_project(admin), an_email()
    opened = {"id": project["id"], "role": "owner"}
    invite = posted(admin, INVITES, {"email": email, "role": "reader", "projects": [opened]})
    other = posted(admin, INVITES, {"email": email, "role": "owner"})
    mark = newest(admin)
    answer = httpx.post(invite["accept_url"], timeout=30, headers={"user-agent": "a browser"})
    user = answer.json()
    data = {"email": email, "role": "reader", "projects": [opened]}
    assert told(admin, invite["id"]) == [
        ("invite.sent", {"id": invite["id"], "data": data}, None),
        ("invite.accepted", {"id": invite["id"]}, None),
    ]
    assert told(admin, user["id"]) == [
        ("user.added", {"id": user["id"], "data": {"role": "reader", "email": email}}, None),
        ("user.added", {"id": user["id"], "data": {"role": "owner"}}, project["id"]),
    ]
    followed = since(admin, mark)
    types = ["invite.accepted", "user.added", "user.added", "invite.deleted"]
    assert [event["type"] for event in followed] == types
    assert followed[-1]["invite.deleted"] == {"id": other["id"]}
    session = {"user": {"id": user["id"], "email": email}, "ip_address": "127.0.0.1", "user_agent": "a browser"}
    assert all(event["actor"] == {"type": "session", "session": session} for event in followed)
    assert httpx.post(invite["accept_url"], timeout=30).status_code == 400
    assert since(admin, followed[-1]["id"]) == []


def test_changes_are_told_as_they_were_asked_for(admin: httpx.Client) -> None:
    project, user = a_project(admin), a_user(admin, projects=[])
    account = posted(admin, f"{PROJECTS}/{project['id']}/service_accounts", {"name": "robot"})
    path = f"{PROJECTS}/{project['id']}/users"
    posted(admin, path, {"user_id": user["id"], "role": "member"})
    said = {"technical_level": "expert", "developer_persona": "engineer"}
    asked: list[tuple[str, Json]] = [
        (f"{USERS}/{user['id']}", said),
        (f"{USERS}/{user['id']}", {"role": "reader", "technical_level": "novice", "developer_persona": None}),
        (f"{path}/{user['id']}", {}),
        (f"{PROJECTS}/{project['id']}", {}),
        (f"{PROJECTS}/{project['id']}/service_accounts/{account['id']}", {"role": "owner"}),
    ]
    mark = newest(admin)
    for where, body in asked:
        posted(admin, where, body)
    changes = [event[event["type"]]["changes_requested"] for event in since(admin, mark)]
    assert changes == [said, {"role": "reader", "technical_level": "novice"}, {}, {}, {"role": "owner"}]


def test_an_invite_is_taken_back(admin: httpx.Client) -> None:
    invite = posted(admin, INVITES, {"email": an_email(), "role": "owner"})
    assert admin.delete(f"{INVITES}/{invite['id']}").status_code == 200
    assert admin.delete(f"{INVITES}/{invite['id']}").status_code == 404
    assert [type for type, _, _ in told(admin, invite["id"])] == ["invite.sent", "invite.deleted"]


def test_a_user_goes_with_places_in_projects(admin: httpx.Client) -> None:
    project = a_project(admin)
    user = a_user(admin, "reader", projects=[{"id": project["id"], "role": "member"}])
    path = f"{PROJECTS}/{project['id']}/users/{user['id']}"
    posted(admin, path, {"role": "owner"})
    posted(admin, f"{USERS}/{user['id']}", {"role": "owner"})
    mark = newest(admin)
    assert admin.delete(f"{USERS}/{user['id']}").status_code == 200
    assert told(admin, user["id"])[2:] == [
        ("user.updated", {"id": user["id"], "changes_requested": {"role": "owner"}}, project["id"]),
        ("user.updated", {"id": user["id"], "changes_requested": {"role": "owner"}}, None),
        ("user.deleted", {"id": user["id"]}, None),
        ("user.deleted", {"id": user["id"]}, project["id"]),
    ]
    assert len(since(admin, mark)) == 2
    refused(admin.delete(f"{USERS}/{user['id']}"), 404)
    assert len(since(admin, mark)) == 2


def test_a_key_that_deletes_itself_is_the_actor(admin: httpx.Client, each_server: Everloom) -> None:
    key = posted(admin, ADMIN_KEYS, {"name": "short"})
    with client_of(each_server, key["value"], beta=None) as other:
        assert other.delete(f"{ADMIN_KEYS}/{key['id']}").status_code == 200
    (made, gone) = events(admin, resource_ids=key["id"])
    assert (made["type"], gone["type"]) == ("api_key.created", "api_key.deleted")
    assert gone["actor"]["api_key"]["id"] == key["id"]
    assert gone["actor"]["api_key"]["user"] == {"id": "user-owner", "email": "owner@localhost"}
    assert key["value"] not in str(made)


def test_members_come_and_go(admin: httpx.Client) -> None:
    project, user = a_project(admin), a_user(admin, projects=[])
    path = f"{PROJECTS}/{project['id']}/users"
    posted(admin, path, {"user_id": user["id"], "role": "member"})
    refused(admin.post(path, json={"user_id": user["id"], "role": "member"}), 400)
    refused(admin.post(path, json={"user_id": "user-nobody", "role": "member"}), 400)
    assert admin.delete(f"{path}/{user['id']}").status_code == 200
    found = events(admin, project_ids=project["id"], resource_ids=user["id"])
    assert [(event["type"], event[event["type"]]) for event in found] == [
        ("user.added", {"id": user["id"], "data": {"role": "member"}}),
        ("user.deleted", {"id": user["id"]}),
    ]


def test_service_accounts_and_their_keys(admin: httpx.Client) -> None:
    project = a_project(admin)
    account = an_account(admin, project)
    path = f"{PROJECTS}/{project['id']}/service_accounts/{account['id']}"
    posted(admin, path, {"name": "droid"})
    key = posted(admin, f"{path}/api_keys", {"name": "narrow", "scopes": ["api.files.read"]})
    first = account["api_key"]
    assert admin.delete(path).status_code == 200
    data = {"name": "Secret Key", "owner_id": account["id"], "permissions": "all"}
    narrow = {"name": "narrow", "owner_id": account["id"], "permissions": "restricted", "scopes": ["api.files.read"]}
    id = account["id"]
    assert told(admin, id, first["id"], key["id"]) == [
        ("service_account.created", {"id": id, "data": {"role": "member", "name": account["name"]}}, project["id"]),
        ("api_key.created", {"id": first["id"], "data": data}, project["id"]),
        ("service_account.updated", {"id": id, "changes_requested": {"name": "droid"}}, project["id"]),
        ("api_key.created", {"id": key["id"], "data": narrow}, project["id"]),
        ("service_account.deleted", {"id": id}, project["id"]),
        ("api_key.deleted", {"id": first["id"]}, project["id"]),
        ("api_key.deleted", {"id": key["id"]}, project["id"]),
    ]
    everything = str(events(admin, project_ids=project["id"]))
    for secret in (first["value"], key["value"]):
        assert secret not in everything
        assert secret[-20:] not in everything


def test_the_key_of_a_user_is_deleted(admin: httpx.Client, each_server: Everloom) -> None:
    project = a_project(admin)
    secret = each_server.command("keys", "create", "--project", project["name"]).strip()
    (key,) = fetched(admin, f"{PROJECTS}/{project['id']}/api_keys")["data"]
    assert admin.delete(f"{PROJECTS}/{project['id']}/api_keys/{key['id']}").status_code == 200
    made, gone = events(admin, resource_ids=key["id"])
    assert (made["type"], gone["type"]) == ("api_key.created", "api_key.deleted")
    assert made["project"] == gone["project"] == {"id": project["id"], "name": project["name"]}
    assert made["actor"]["session"]["user"] == {"id": "operator"}
    assert made["actor"]["session"]["user_agent"].startswith("everloom/")
    assert secret not in str(made)
    assert events(admin, actor_ids="operator", resource_ids=key["id"]) == [made]


def test_the_start_of_everything_is_told(admin: httpx.Client) -> None:
    first = events(admin)[:5]
    assert [(event["type"], event[event["type"]]["id"]) for event in first] == [
        ("project.created", "proj_default"),
        ("user.added", "user-owner"),
        ("user.added", "user-owner"),
        ("api_key.created", "key_everloom_api_key"),
        ("api_key.created", "key_everloom_admin_key"),
    ]
    assert all(event["actor"]["session"]["user"] == {"id": "operator"} for event in first)


# --- what is asked for ---------------------------------------------------------------------------------------------


def test_filters(admin: httpx.Client) -> None:
    first, second = a_project(admin), a_project(admin)
    account = an_account(admin, second)
    both = [("project_ids[]", first["id"]), ("project_ids[]", second["id"])]
    everything = ["project.created", "project.created", "service_account.created", "api_key.created"]
    assert [event["type"] for event in events(admin, both)] == everything
    plain = [("project_ids", first["id"]), ("project_ids", second["id"])]
    assert events(admin, plain) == events(admin, both)
    assert events(admin, project_ids=f"{first['id']},{second['id']}") == events(admin, both)
    types = [("event_types[]", "service_account.created"), ("event_types[]", "api_key.created")]
    assert [event["type"] for event in events(admin, [*both, *types])] == everything[2:]
    resources = [("resource_ids[]", account["id"]), ("resource_ids[]", first["id"])]
    assert [event["type"] for event in events(admin, resources)] == ["project.created", "service_account.created"]
    for name, value in (("actor_ids[]", "user-owner"), ("actor_ids[]", "key_everloom_admin_key")):
        assert len(events(admin, [*both, (name, value)])) == 4
    assert len(events(admin, [*both, ("actor_emails[]", "owner@localhost")])) == 4
    for name in ("actor_ids[]", "actor_emails[]", "resource_ids[]", "project_ids[]"):
        assert events(admin, [(name, "nobody")]) == []
    assert events(admin, [*both, ("tenant_only", "true")]) == []


def test_times(admin: httpx.Client) -> None:
    (event,) = events(admin, resource_ids=a_project(admin)["id"])
    at, same = event["effective_at"], [("resource_ids[]", event["project"]["id"])]
    for bounds, count in (
        ([("gte", at), ("lte", at)], 1),
        ([("gt", at - 1), ("lt", at + 1)], 1),
        ([("gt", at)], 0),
        ([("lt", at)], 0),
        ([("gte", at), ("gt", at)], 0),
        ([("gte", 10**29)], 0),
        ([("gt", -(10**29)), ("lt", 2**63)], 1),
    ):
        query = [*same, *((f"effective_at[{name}]", bound) for name, bound in bounds)]
        assert len(events(admin, query)) == count, bounds
    assert event in events(admin, [("effective_at[gte]", at)])


@pytest.mark.parametrize(
    ("name", "value", "param", "says"),
    [
        ("event_types[]", "project.exploded", "event_types[0]", "Invalid value: 'project.exploded'. Supported values"),
        ("limit", "0", "limit", "Invalid 'limit': integer below minimum value"),
        ("limit", "101", "limit", "Invalid 'limit': integer above maximum value"),
        ("limit", "many", "limit", "Invalid type for 'limit'"),
        ("effective_at[gt]", "yesterday", "effective_at.gt", "Invalid type for 'effective_at.gt'"),
        ("effective_at[foo]", "5", "effective_at[foo]", "Unknown parameter: 'effective_at[foo]'"),
        ("effective_at[]", "5", "effective_at[]", "Unknown parameter: 'effective_at[]'"),
        ("effective_at[gt][lt]", "5", "effective_at[gt][lt]", "Unknown parameter: 'effective_at[gt][lt]'"),
        ("event_types[][]", "x", "event_types[][]", "Unknown parameter: 'event_types[][]'"),
        ("project_ids[", "x", "project_ids[", "Unknown parameter: 'project_ids['"),
        ("effective_at", "5", "effective_at", "Invalid type for 'effective_at'"),
        ("after", "audit_log-0123456789", "after", "Invalid 'after': No audit log found with id"),
        ("before", "proj_default", "before", "Invalid 'before': No audit log found with id"),
        ("resource_ids[]", "a\0b", "resource_ids[]", "null character"),
    ],
)
def test_what_nobody_can_ask(admin: httpx.Client, name: str, value: str, param: str, says: str) -> None:
    answer = admin.get(AUDIT_LOGS, params=[(name, value)])
    assert says in refused(answer, 400)
    assert answer.json()["error"]["param"] == param


def test_an_address_is_found_however_it_is_written(admin: httpx.Client) -> None:
    project = a_project(admin)
    query = [("actor_emails[]", "OWNER@LocalHost"), ("project_ids[]", project["id"])]
    assert len(events(admin, query)) == 1


def test_types_that_never_happen_here_can_be_asked_for(admin: httpx.Client) -> None:
    for type in ("login.succeeded", "role.assignment.created", "tenant.user.added"):
        assert events(admin, [("event_types[]", type)]) == []


def test_pages_in_both_directions(admin: httpx.Client) -> None:
    project = a_project(admin)
    path = f"{PROJECTS}/{project['id']}"
    for number in range(6):
        posted(admin, path, {"name": f"name {number}"})
    mine = [("project_ids[]", project["id"])]
    whole = [event["id"] for event in asked(admin, mine)["data"]]
    assert len(whole) == 7
    first = asked(admin, mine, limit=3)
    assert (first["first_id"], first["last_id"], first["has_more"]) == (whole[0], whole[2], True)
    second = asked(admin, mine, limit=3, after=first["last_id"])
    third = asked(admin, mine, limit=3, after=second["last_id"])
    assert [event["id"] for page in (first, second, third) for event in page["data"]] == whole
    assert (second["has_more"], third["has_more"]) == (True, False)
    back = asked(admin, mine, limit=2, before=whole[4])
    assert ([event["id"] for event in back["data"]], back["has_more"]) == (whole[2:4], True)
    assert asked(admin, mine, limit=4, before=whole[4])["has_more"] is False
    between = asked(admin, mine, after=whole[1], before=whole[5])
    assert [event["id"] for event in between["data"]] == whole[2:5]
    assert asked(admin, mine, after=whole[-1])["data"] == []
    posted(admin, path, {"name": "while somebody pages"})
    assert [event["id"] for event in asked(admin, mine, limit=3, after=whole[2])["data"]] == whole[3:6]


def test_nothing_changes_an_event_and_no_project_reads_one(admin: httpx.Client, each_server: Everloom) -> None:
    event = newest(admin)
    for method in ("POST", "DELETE", "PUT", "PATCH"):
        assert admin.request(method, AUDIT_LOGS).status_code in (404, 405)
        assert admin.request(method, f"{AUDIT_LOGS}/{event}").status_code in (404, 405)
    with client_of(each_server, API_KEY, beta=None) as project:
        refused(project.get(AUDIT_LOGS), 403, "missing_scope")
    with httpx.Client(base_url=each_server.url) as nobody:
        assert nobody.get(AUDIT_LOGS).status_code == 401


def test_no_event_has_a_secret(admin: httpx.Client) -> None:
    invite = posted(admin, INVITES, {"email": an_email(), "role": "reader"})
    accepted(invite)
    text = str(events(admin))
    assert API_KEY not in text
    assert invite["accept_url"].partition("signature=")[2] not in text


# --- keys that are refused -----------------------------------------------------------------------------------------


def test_refused_admin_keys_are_told_once_and_then_counted(tmp_path: Path) -> None:
    with Everloom(tmp_path) as server, admin_of(server) as admin:
        wrong = "sk-admin-a-key-that-somebody-has-guessed"
        with client_of(server, wrong, beta=None) as guesser:
            for _ in range(20):
                refused(guesser.get(USERS), 401, "invalid_api_key")
        with httpx.Client(base_url=server.url) as nobody:
            assert nobody.get(USERS).status_code == 401
        with client_of(server, wrong) as elsewhere:
            refused(elsewhere.get("/models"), 401, "invalid_api_key")
        found: list[Json] = []
        deadline = time.monotonic() + 20
        while not found and time.monotonic() < deadline:
            found = events(admin, event_types="login.failed")
        (event,) = found
        assert event["login.failed"]["error_code"] == "invalid_api_key"
        assert event["login.failed"]["error_message"].startswith("A request to the organization's API came with a key")
        assert event["actor"]["session"]["ip_address"] == "127.0.0.1"
        assert "user" not in event["actor"]["session"]
        assert "guessed" not in str(event)


def test_refused_keys_that_were_counted_are_told_at_a_stop(tmp_path: Path) -> None:
    with Everloom(tmp_path) as server:
        with client_of(server, "sk-admin-wrong", beta=None) as guesser:
            for _ in range(50):
                refused(guesser.get(USERS), 401, "invalid_api_key")
        assert server.stop() == 0
    assert Everloom(tmp_path).command("audit", "verify").splitlines()[-1].startswith("Signed up to row ")
    with Everloom(tmp_path) as server, admin_of(server) as admin:
        texts = [event["login.failed"]["error_message"] for event in events(admin, event_types="login.failed")]
    assert sum(int(text.split()[0].replace("A", "1")) for text in texts) == 50
