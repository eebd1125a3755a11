"""Projects, their users, service accounts and keys, through HTTP."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.builders import Json, fetched, posted
from tests.organization import (
    ADMIN_KEYS,
    PROJECTS,
    USERS,
    a_name,
    a_project,
    a_user,
    admin_of,
    all_projects,
    an_account,
    refused,
)
from tests.postgres import fresh_database
from tests.servers import ADMIN_KEY, API_KEY, Everloom
from tests.servers import http as client_of


@pytest.fixture
def admin(each_server: Everloom) -> Iterator[httpx.Client]:
    with admin_of(each_server) as client:
        yield client


def asks(server: Everloom, key: str) -> httpx.Response:
    """What a key's smallest request is answered."""
    with client_of(server, key) as client:
        return client.get("/assistants", params={"limit": 1})


def deleted(client: httpx.Client, path: str) -> Json:
    answer = client.delete(path)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


# --- projects ------------------------------------------------------------------------------------------------------


def test_a_project_is_made_renamed_and_archived_for_good(admin: httpx.Client) -> None:
    project = a_project(admin)
    path = f"{PROJECTS}/{project['id']}"
    assert project["id"].startswith("proj_")
    assert (project["object"], project["status"], project["archived_at"]) == ("organization.project", "active", None)
    assert fetched(admin, path) == project
    name = a_name("renamed")
    assert posted(admin, path, {"name": name}) == project | {"name": name}
    closed = posted(admin, f"{path}/archive")
    assert (closed["status"], closed["name"]) == ("archived", name)
    assert closed["archived_at"] >= closed["created_at"]
    assert fetched(admin, path) == closed
    for again in (admin.post(f"{path}/archive"), admin.post(path, json={"name": "other"})):
        assert refused(again, 400, "project_archived") == f"Project {name} is archived"


def test_archived_projects_are_listed_where_they_are_asked_for(admin: httpx.Client) -> None:
    first, second = a_project(admin), a_project(admin)
    posted(admin, f"{PROJECTS}/{first['id']}/archive")
    shown = everything(admin, PROJECTS)
    assert second["id"] in shown
    assert first["id"] not in shown
    everyone = everything(admin, PROJECTS, include_archived="true")
    assert everyone.index(first["id"]) < everyone.index(second["id"])
    assert set(shown) < set(everyone)


def everything(admin: httpx.Client, path: str, **query: str) -> list[str]:
    """The ids of a list, page by page."""
    found: list[str] = []
    while True:
        page = fetched(admin, path, limit=2, **query)
        found += [each["id"] for each in page["data"]]
        assert page["first_id"] == (page["data"][0]["id"] if page["data"] else None)
        if not page["has_more"]:
            assert len(set(found)) == len(found)
            return found
        query["after"] = page["last_id"]


def test_the_default_project_stays_as_it_is(admin: httpx.Client) -> None:
    assert fetched(admin, f"{PROJECTS}/proj_default")["name"] == "Default project"
    refused(admin.post(f"{PROJECTS}/proj_default", json={"name": "mine"}), 400, "default_project")
    refused(admin.post(f"{PROJECTS}/proj_default/archive"), 400, "default_project")


def test_the_keys_of_an_archived_project_are_refused_from_that_moment(
    each_server: Everloom, admin: httpx.Client
) -> None:
    project = a_project(admin)
    key = an_account(admin, project)["api_key"]["value"]
    assert asks(each_server, key).status_code == 200
    posted(admin, f"{PROJECTS}/{project['id']}/archive")
    refused(asks(each_server, key), 401, "project_archived")


def test_an_archived_project_takes_nothing_and_nobody(admin: httpx.Client) -> None:
    project = a_project(admin)
    account = an_account(admin, project)
    user = a_user(admin)
    path = f"{PROJECTS}/{project['id']}"
    posted(admin, f"{path}/users", {"user_id": user["id"], "role": "member"})
    posted(admin, f"{path}/archive")
    for answer in (
        admin.get(f"{path}/users"),
        admin.post(f"{path}/users", json={"user_id": user["id"], "role": "member"}),
        admin.post(f"{path}/users/{user['id']}", json={"role": "owner"}),
        admin.delete(f"{path}/users/{user['id']}"),
        admin.get(f"{path}/service_accounts"),
        admin.post(f"{path}/service_accounts", json={"name": "late"}),
        admin.post(f"{path}/service_accounts/{account['id']}", json={"name": "late"}),
        admin.post(f"{path}/service_accounts/{account['id']}/api_keys", json={}),
        admin.delete(f"{path}/service_accounts/{account['id']}"),
        admin.delete(f"{path}/api_keys/{account['api_key']['id']}"),
    ):
        assert refused(answer, 400, "project_archived") == f"Project {project['name']} is archived"
    assert [key["id"] for key in fetched(admin, f"{path}/api_keys")["data"]] == [account["api_key"]["id"]]


# --- users of projects ---------------------------------------------------------------------------------------------


def test_users_of_a_project(admin: httpx.Client) -> None:
    project = a_project(admin)
    path = f"{PROJECTS}/{project['id']}/users"
    assert fetched(admin, path)["data"] == []
    first, second, third = a_user(admin), a_user(admin), a_user(admin)
    place = posted(admin, path, {"user_id": first["id"], "role": "member"})
    assert place == {
        "object": "organization.project.user",
        "id": first["id"],
        "name": first["name"],
        "email": first["email"],
        "role": "member",
        "added_at": place["added_at"],
    }
    posted(admin, path, {"email": second["email"].upper(), "role": "owner"})
    posted(admin, path, {"user_id": third["id"], "role": "member"})
    assert everything(admin, path) == [first["id"], second["id"], third["id"]]
    assert posted(admin, f"{path}/{first['id']}", {"role": "owner"}) == place | {"role": "owner"}
    assert fetched(admin, f"{path}/{first['id']}") == place | {"role": "owner"}
    gone = {"object": "organization.project.user.deleted", "id": first["id"], "deleted": True}
    assert deleted(admin, f"{path}/{first['id']}") == gone
    refused(admin.get(f"{path}/{first['id']}"), 404)
    refused(admin.delete(f"{path}/{first['id']}"), 404)
    # A client that deletes as it lists begins again, and meets nobody twice whom it has deleted.
    assert [user["id"] for user in fetched(admin, path, after=first["id"])["data"]] == [second["id"], third["id"]]


def test_a_user_of_a_project_is_one_of_the_organization(admin: httpx.Client) -> None:
    path = f"{PROJECTS}/{a_project(admin)['id']}/users"
    user = a_user(admin)
    for who in ({"user_id": "user-nobody"}, {"email": "nobody@example.org"}):
        text = refused(admin.post(path, json={"role": "member", **who}), 400)
        assert "not a member of the organization" in text
    assert "user_id" in refused(admin.post(path, json={"role": "member"}), 400, "missing_required_parameter")
    posted(admin, path, {"user_id": user["id"], "role": "member"})
    assert "already" in refused(admin.post(path, json={"user_id": user["id"], "role": "owner"}), 400)
    deleted(admin, f"{USERS}/{user['id']}")
    assert fetched(admin, path)["data"] == []


# --- service accounts ----------------------------------------------------------------------------------------------


def test_a_service_account_has_a_key_that_is_shown_once(each_server: Everloom, admin: httpx.Client) -> None:
    project = a_project(admin)
    path = f"{PROJECTS}/{project['id']}/service_accounts"
    made = an_account(admin, project)
    key = made.pop("api_key")
    assert made["id"].startswith("svc_acct_")
    assert (made["object"], made["role"]) == ("organization.project.service_account", "member")
    assert key["value"].startswith("sk-svcacct-")
    assert key["id"].startswith("key_")
    assert asks(each_server, key["value"]).status_code == 200
    assert fetched(admin, f"{path}/{made['id']}") == made
    assert fetched(admin, path)["data"] == [made]
    answers = [admin.get(path), admin.get(f"{PROJECTS}/{project['id']}/api_keys")]
    assert not any(key["value"] in answer.text for answer in answers)
    changed = posted(admin, f"{path}/{made['id']}", {"name": "renamed", "role": "owner"})
    assert changed == made | {"name": "renamed", "role": "owner"}
    gone = {"object": "organization.project.service_account.deleted", "id": made["id"], "deleted": True}
    assert deleted(admin, f"{path}/{made['id']}") == gone
    refused(asks(each_server, key["value"]), 401, "invalid_api_key")
    refused(admin.get(f"{path}/{made['id']}"), 404)
    assert fetched(admin, f"{PROJECTS}/{project['id']}/api_keys")["data"] == []


def test_a_service_account_alone_opens_nothing(each_server: Everloom, admin: httpx.Client) -> None:
    project = a_project(admin)
    account = an_account(admin, project, create_service_account_only=True)
    assert (account["role"], account["api_key"]) == ("none", None)
    path = f"{PROJECTS}/{project['id']}/service_accounts/{account['id']}"
    key = posted(admin, f"{path}/api_keys", {"name": "first"})
    assert key["name"] == "first"
    refused(asks(each_server, key["value"]), 401, "key_owner_without_access")
    listed = f"{PROJECTS}/{project['id']}/api_keys"
    for access, ids in (("inactive", [key["id"]]), ("active", []), ("any", [key["id"]])):
        assert [each["id"] for each in fetched(admin, listed, owner_project_access=access)["data"]] == ids
    posted(admin, path, {"role": "member"})
    assert asks(each_server, key["value"]).status_code == 200


def test_accounts_of_another_project_are_not_there(admin: httpx.Client) -> None:
    here, there = a_project(admin), a_project(admin)
    account = an_account(admin, there)
    path = f"{PROJECTS}/{here['id']}/service_accounts/{account['id']}"
    for answer in (
        admin.get(path),
        admin.post(path, json={"name": "taken"}),
        admin.post(f"{path}/api_keys", json={}),
        admin.delete(path),
        admin.get(f"{PROJECTS}/{here['id']}/api_keys/{account['api_key']['id']}"),
        admin.delete(f"{PROJECTS}/{here['id']}/api_keys/{account['api_key']['id']}"),
    ):
        refused(answer, 404)
    for noun in ("service_accounts", "api_keys"):
        cursor = account["id"] if noun == "service_accounts" else account["api_key"]["id"]
        refused(admin.get(f"{PROJECTS}/{here['id']}/{noun}", params={"after": cursor}), 400)


# --- keys ----------------------------------------------------------------------------------------------------------


def test_keys_of_a_project_are_shown_with_their_owner_and_deleted(each_server: Everloom, admin: httpx.Client) -> None:
    name = a_name("project")
    secret = each_server.command("keys", "create", "--project", name).strip()
    (project,) = [each for each in all_projects(admin) if each["name"] == name]
    path = f"{PROJECTS}/{project['id']}/api_keys"
    account = an_account(admin, project)
    first, second = fetched(admin, path)["data"]
    assert first["redacted_value"] == f"{secret[:6]}...{secret[-4:]}"
    assert first["owner_project_access"] == "active"
    assert (first["owner"]["type"], first["owner"]["user"]["id"]) == ("user", "user-owner")
    assert second["owner"]["service_account"]["id"] == account["id"]
    assert fetched(admin, f"{path}/{second['id']}") == second
    text = refused(admin.delete(f"{path}/{second['id']}"), 400)
    assert text == "API keys cannot be deleted for service accounts, please delete the service account"
    assert asks(each_server, secret).status_code == 200
    gone = {"object": "organization.project.api_key.deleted", "id": first["id"], "deleted": True}
    assert deleted(admin, f"{path}/{first['id']}") == gone
    refused(asks(each_server, secret), 401, "invalid_api_key")
    refused(admin.delete(f"{path}/{first['id']}"), 404)


def test_when_a_key_was_last_used_is_known(each_server: Everloom, admin: httpx.Client) -> None:
    project = a_project(admin)
    key = an_account(admin, project)["api_key"]
    path = f"{PROJECTS}/{project['id']}/api_keys/{key['id']}"
    assert fetched(admin, path)["last_used_at"] is None
    before = int(time.time())
    assert asks(each_server, key["value"]).status_code == 200
    deadline = time.monotonic() + 60
    while (used := fetched(admin, path)["last_used_at"]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert before <= used <= time.time()


def test_admin_keys(each_server: Everloom, admin: httpx.Client) -> None:
    made = posted(admin, ADMIN_KEYS, {"name": a_name("key"), "expires_in_seconds": 3600})
    secret = made.pop("value")
    assert secret.startswith("sk-admin-")
    assert made["expires_at"] == made["created_at"] + 3600
    assert (made["owner"]["id"], made["owner"]["role"]) == ("user-owner", "owner")
    path = f"{ADMIN_KEYS}/{made['id']}"
    assert fetched(admin, path) | {"last_used_at": None} == made
    with client_of(each_server, secret, beta=None) as other:
        assert fetched(other, USERS)["data"]
        ids = everything(other, ADMIN_KEYS)
        assert ids == everything(other, ADMIN_KEYS, order="desc")[::-1]
        assert made["id"] in ids
        gone = {"object": "organization.admin_api_key.deleted", "id": made["id"], "deleted": True}
        assert deleted(other, path) == gone
        refused(other.get(USERS), 401, "invalid_api_key")
    refused(admin.get(path), 404)


def test_an_admin_key_ends_at_its_time(each_server: Everloom, admin: httpx.Client) -> None:
    secret = posted(admin, ADMIN_KEYS, {"name": "short", "expires_in_seconds": 1})["value"]
    with client_of(each_server, secret, beta=None) as other:
        time.sleep(1.1)
        refused(other.get(USERS), 401, "expired_api_key")


def test_what_a_restricted_key_may(each_server: Everloom, admin: httpx.Client) -> None:
    project = a_project(admin)
    account = an_account(admin, project)
    path = f"{PROJECTS}/{project['id']}/service_accounts/{account['id']}/api_keys"
    key = posted(admin, path, {"scopes": ["api.assistants.write", "api.files.read"]})["value"]
    with client_of(each_server, key) as client:
        assistant = posted(client, "/assistants", {"model": "gpt-4o"})
        assert fetched(client, f"/assistants/{assistant['id']}") == assistant
        assert fetched(client, "/files")["data"] == []
        for answer, scope in (
            (client.post("/files", files={"file": b"x"}, data={"purpose": "assistants"}), "api.files.write"),
            (client.get("/threads/thread_1"), "api.threads.read"),
            (client.post("/threads", json={}), "api.threads.write"),
            (client.get("/vector_stores"), "api.vector_stores.read"),
            (client.get("/models"), "api.model.read"),
            (client.get("/batches"), "api.model.read"),
            (client.get("/batches/batch_1"), "api.model.read"),
            (client.post("/batches", json={}), "model.request"),
            (client.post("/batches/batch_1/cancel"), "model.request"),
            (client.post("/batches/batch_1/retry"), "model.request"),
            (client.get("/fine_tuning/jobs"), "api.fine_tuning.jobs.read"),
            (client.get("/fine_tuning/jobs/ftjob-1/events"), "api.fine_tuning.jobs.read"),
            (client.post("/fine_tuning/jobs", json={}), "api.fine_tuning.jobs.write"),
            (client.post("/fine_tuning/jobs/ftjob-1/pause"), "api.fine_tuning.jobs.write"),
            (client.delete("/models/ft:one"), "api.model.write"),
            (client.post("/chat/completions", json={}), "model.request"),
        ):
            text = refused(answer, 403, "missing_scope")
            assert f"Missing scopes: {scope}." in text
    text = refused(admin.post(path, json={"scopes": ["api.everything.write"]}), 400, "invalid_value")
    assert "api.assistants.write" in text
    assert refused(admin.post(path, json={"scopes": []}), 400)


def test_each_half_has_its_own_keys(each_server: Everloom, admin: httpx.Client) -> None:
    with client_of(each_server, API_KEY) as project:
        for answer, scope in (
            (project.get(USERS), "api.management.read"),
            (project.post(PROJECTS, json={"name": "x"}), "api.management.write"),
            (admin.get("/assistants", headers={"openai-beta": "assistants=v2"}), "api.assistants.read"),
        ):
            assert f"Missing scopes: {scope}." in refused(answer, 403)


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PROJECTS, f"{PROJECTS}/proj_default/users", ADMIN_KEYS, "/organization/invites"])
def test_lists_refuse_what_is_out_of_range_and_cursors_of_others(admin: httpx.Client, path: str) -> None:
    for limit in ("0", "101", "-1", "many", str(10**30)):
        refused(admin.get(path, params={"limit": limit}), 400)
    project = a_project(admin)
    cursor = an_account(admin, project)["id"]
    for after in (cursor, "nothing", "x" * 5000):
        refused(admin.get(path, params={"after": after}), 400)
    refused(admin.get(path, params={"after": "a\0b"}), 400)


def test_names_that_can_be_none_are_refused(admin: httpx.Client) -> None:
    project = a_project(admin)
    for path in (PROJECTS, f"{PROJECTS}/{project['id']}", f"{PROJECTS}/{project['id']}/service_accounts", ADMIN_KEYS):
        for name in ("a\0b", "", "x" * 257, "x" * 1_000_000, 7, ["x"]):
            refused(admin.post(path, json={"name": name}), 400)
        if not path.endswith(project["id"]):
            for body in ({}, {"name": None}):
                refused(admin.post(path, json=body), 400)
        refused(admin.post(path, json={"name": "x", "surprise": 1}), 400, "unknown_parameter")
        refused(admin.post(path, content=b"{"), 400)


def test_ids_of_nothing_are_not_found(admin: httpx.Client) -> None:
    project = a_project(admin)["id"]
    for nothing in ("proj_nothing", "undefined", "%00", "..", "x" * 120):
        for path in (
            f"{PROJECTS}/{nothing}",
            f"{PROJECTS}/{nothing}/users",
            f"{PROJECTS}/{nothing}/service_accounts",
            f"{PROJECTS}/{nothing}/api_keys",
            f"{PROJECTS}/{project}/users/{nothing}",
            f"{PROJECTS}/{project}/service_accounts/{nothing}",
            f"{PROJECTS}/{project}/api_keys/{nothing}",
            f"{USERS}/{nothing}",
            f"/organization/invites/{nothing}",
            f"{ADMIN_KEYS}/{nothing}",
        ):
            if nothing == "%00":
                refused(admin.get(path), 400)
            elif nothing != "..":  # which a client takes out of its path by itself
                refused(admin.get(path), 404)


def test_many_who_archive_a_project_are_answered_once(admin: httpx.Client) -> None:
    path = f"{PROJECTS}/{a_project(admin)['id']}/archive"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: admin.post(path).status_code, range(8)))
    assert sorted(answers) == [200, *[400] * 7]


def test_an_account_is_made_before_its_project_is_archived_or_not_at_all(
    each_server: Everloom, admin: httpx.Client
) -> None:
    for _ in range(4):
        project = a_project(admin)
        path = f"{PROJECTS}/{project['id']}"
        with ThreadPoolExecutor(8) as pool:
            making = [pool.submit(admin.post, f"{path}/service_accounts", json={"name": "x"}) for _ in range(6)]
            posted(admin, f"{path}/archive")
        for answer in (each.result() for each in making):
            assert answer.status_code in (200, 400), answer.text
            if answer.status_code == 200:
                refused(asks(each_server, answer.json()["api_key"]["value"]), 401, "project_archived")


def test_the_admin_key_of_the_settings_is_the_owners(admin: httpx.Client) -> None:
    (key,) = [key for key in fetched(admin, ADMIN_KEYS, limit=100)["data"] if key["name"] == "EVERLOOM_ADMIN_KEY"]
    assert key["owner"]["id"] == "user-owner"
    assert key["redacted_value"] == f"{ADMIN_KEY[:6]}...{ADMIN_KEY[-4:]}"


def test_every_replica_refuses_a_key_within_two_seconds(tmp_path: Path) -> None:
    database = fresh_database()
    with (
        Everloom(tmp_path, database=database) as here,
        Everloom(tmp_path, database=database, arguments=("--no-worker",)) as there,
        admin_of(here) as admin,
    ):
        project, other = a_project(admin), a_project(admin)
        account = an_account(admin, project)
        keys = [account["api_key"]["value"], an_account(admin, other)["api_key"]["value"]]
        assert [asks(server, key).status_code for server in (here, there) for key in keys] == [200] * 4
        closed = time.monotonic()
        deleted(admin, f"{PROJECTS}/{project['id']}/service_accounts/{account['id']}")
        posted(admin, f"{PROJECTS}/{other['id']}/archive")
        assert [asks(here, key).status_code for key in keys] == [401, 401]
        time.sleep(max(0.0, closed + 2.2 - time.monotonic()))
        assert [asks(there, key).status_code for key in keys] == [401, 401]


@pytest.mark.parametrize("name", ["", " ", "\t\n", "\ufeff", "\u200b \u2060", "\x1b", "n" * 257])
def test_a_name_is_to_be_seen(admin: httpx.Client, name: str) -> None:
    project = a_project(admin)
    for path in (PROJECTS, f"{PROJECTS}/{project['id']}", f"{PROJECTS}/{project['id']}/service_accounts", ADMIN_KEYS):
        assert "Invalid 'name'" in refused(admin.post(path, json={"name": name}), 400)
    posted(admin, f"{PROJECTS}/{project['id']}", {"name": " \U0001f916 "})
