"""What the newest SDKs may send to the organization's operations of before: honoured, harmless, or refused in words."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.builders import Json, fetched, posted
from tests.organization import (
    INVITES,
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
from tests.servers import Everloom
from tests.servers import http as client_of


@pytest.fixture
def admin(each_server: Everloom) -> Iterator[httpx.Client]:
    with admin_of(each_server) as client:
        yield client


def unsupported(answer: httpx.Response, param: str) -> None:
    text = refused(answer, 400, "unsupported_parameter")
    assert text == f"Unsupported parameter: '{param}' is not supported on this server."
    assert answer.json()["error"]["param"] == param


def test_a_project_lies_where_its_server_does(admin: httpx.Client) -> None:
    for harmless in ({"residency": "GLOBAL"}, {"residency": None, "geography": None, "external_key_id": None}):
        made = posted(admin, PROJECTS, {"name": a_name(), **harmless})
        assert made["status"] == "active"
    before = len(all_projects(admin))
    for param, value in (("residency", "EU_STORAGE_PROCESSING"), ("geography", "EU"), ("external_key_id", "key_1")):
        unsupported(admin.post(PROJECTS, json={"name": a_name(), param: value}), param)
    refused(admin.post(PROJECTS, json={"name": a_name(), "residency": 7}), 400, "invalid_type")
    assert len(all_projects(admin)) == before


def test_a_project_is_changed_in_what_is_given(admin: httpx.Client) -> None:
    project = a_project(admin)
    path = f"{PROJECTS}/{project['id']}"
    for nothing in ({}, {"name": None}, {"external_key_id": None}):
        assert posted(admin, path, nothing) == project
    for param, value in (("external_key_id", "key_1"), ("geography", "US")):
        unsupported(admin.post(path, json={"name": "changed", param: value}), param)
    assert fetched(admin, path) == project


def test_what_is_said_of_a_user_is_kept(admin: httpx.Client) -> None:
    user = a_user(admin)
    path = f"{USERS}/{user['id']}"
    for nothing in ({}, {"role": None, "role_id": None, "technical_level": None}):
        assert posted(admin, path, nothing) == user
    said = {"technical_level": "expert", "developer_persona": "tinkerer"}
    assert posted(admin, path, said) == user | said
    assert posted(admin, path, {"role": "owner", "technical_level": ""}) == user | said | {
        "role": "owner",
        "technical_level": "",
    }
    assert fetched(admin, path)["developer_persona"] == "tinkerer"
    unsupported(admin.post(path, json={"role_id": "role_1", "role": "reader"}), "role_id")
    refused(admin.post(path, json={"technical_level": "x" * 257}), 400, "string_above_max_length")
    assert fetched(admin, path)["role"] == "owner"


def test_a_user_of_a_project_is_changed_in_what_is_given(admin: httpx.Client) -> None:
    path, user = f"{PROJECTS}/{a_project(admin)['id']}/users", a_user(admin)
    place = posted(admin, path, {"user_id": None, "email": user["email"], "role": "member"})
    for nothing in ({}, {"role": None}):
        assert posted(admin, f"{path}/{user['id']}", nothing) == place
    refused(admin.post(f"{path}/user-nobody", json={}), 404)


def test_keys_of_accounts_end_at_their_time(each_server: Everloom, admin: httpx.Client) -> None:
    project = a_project(admin)
    path = f"{PROJECTS}/{project['id']}"
    account = an_account(admin, project, expires_in_seconds=3600, create_service_account_only=None)
    first = account["api_key"]
    assert first["expires_at"] == first["created_at"] + 3600
    second = posted(admin, f"{path}/service_accounts/{account['id']}/api_keys", {"expires_in_seconds": 1})
    assert second["expires_at"] == second["created_at"] + 1
    lasting = posted(admin, f"{path}/service_accounts/{account['id']}/api_keys", {"expires_in_seconds": None})
    assert lasting["expires_at"] is None
    shown = {key["id"]: key["expires_at"] for key in fetched(admin, f"{path}/api_keys")["data"]}
    assert shown == {key["id"]: key["expires_at"] for key in (first, second, lasting)}
    with client_of(each_server, first["value"]) as client:
        assert client.get("/assistants").status_code == 200
    deadline = time.monotonic() + 30
    with client_of(each_server, second["value"]) as client:
        while (answer := client.get("/assistants")).status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        refused(answer, 401, "expired_api_key")


@pytest.mark.parametrize("seconds", [0, -1, 1.5, "60", 31_536_001, 10**30])
def test_lives_that_no_key_has(admin: httpx.Client, seconds: object) -> None:
    project = a_project(admin)
    account = an_account(admin, project)
    path = f"{PROJECTS}/{project['id']}/service_accounts"
    for where, body in ((path, {"name": "x"}), (f"{path}/{account['id']}/api_keys", {})):
        refused(admin.post(where, json={**body, "expires_in_seconds": seconds}), 400)
    assert len(fetched(admin, path)["data"]) == 1


def test_a_key_that_is_not_made_has_no_life(admin: httpx.Client) -> None:
    path = f"{PROJECTS}/{a_project(admin)['id']}/service_accounts"
    body: Json = {"name": "x", "create_service_account_only": True, "expires_in_seconds": 60}
    assert "create_service_account_only" in refused(admin.post(path, json=body), 400, "invalid_value")
    assert fetched(admin, path)["data"] == []


def test_what_nobody_has_heard_of_is_refused(admin: httpx.Client) -> None:
    project, user = a_project(admin), a_user(admin)
    for path, body in (
        (PROJECTS, {"name": "x"}),
        (f"{PROJECTS}/{project['id']}", {}),
        (f"{USERS}/{user['id']}", {}),
        (INVITES, {"email": "a@b.c", "role": "reader"}),
        (f"{PROJECTS}/{project['id']}/service_accounts", {"name": "x"}),
    ):
        refused(admin.post(path, json={**body, "surprise": 1}), 400, "unknown_parameter")
