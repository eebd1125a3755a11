"""Users of the organization and how they come by invites, through HTTP."""

import html
import os
import shlex
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.builders import Json, fetched, posted
from tests.organization import (
    ADMIN_KEYS,
    INVITES,
    PROJECTS,
    USERS,
    a_project,
    a_user,
    accepted,
    admin_of,
    an_email,
    refused,
)
from tests.postgres import fresh_database
from tests.servers import ADMIN_KEY, API_KEY, Everloom
from tests.servers import http as client_of


@pytest.fixture
def admin(each_server: Everloom) -> Iterator[httpx.Client]:
    with admin_of(each_server) as client:
        yield client


def owners(admin: httpx.Client) -> list[str]:
    found: list[str] = []
    query: dict[str, str] = {}
    while True:
        page = fetched(admin, USERS, limit=100, **query)
        found += [user["id"] for user in page["data"] if user["role"] == "owner"]
        if not page["has_more"]:
            return found
        query["after"] = page["last_id"]


# --- invites -------------------------------------------------------------------------------------------------------


def test_an_invite_is_accepted_once_by_its_link(admin: httpx.Client) -> None:
    email = an_email()
    invite = posted(admin, INVITES, {"email": email.upper(), "role": "reader"})
    link = invite.pop("accept_url")
    assert invite == {
        "object": "organization.invite",
        "id": invite["id"],
        "email": email,
        "role": "reader",
        "status": "pending",
        "created_at": invite["created_at"],
        "invited_at": invite["created_at"],
        "expires_at": invite["created_at"] + 7 * 24 * 3600,
        "accepted_at": None,
        "projects": [{"id": "proj_default", "role": "member"}],
    }
    assert fetched(admin, f"{INVITES}/{invite['id']}") == invite
    page = httpx.get(link)  # A program that looks at links accepts nothing.
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert email in page.text
    assert fetched(admin, f"{INVITES}/{invite['id']}")["status"] == "pending"
    user = accepted({"accept_url": link})
    assert (user["email"], user["role"], user["object"]) == (email, "reader", "organization.user")
    assert fetched(admin, f"{USERS}/{user['id']}") == user
    assert fetched(admin, f"{PROJECTS}/proj_default/users/{user['id']}")["role"] == "member"
    done = fetched(admin, f"{INVITES}/{invite['id']}")
    assert (done["status"], done["accepted_at"]) == ("accepted", user["added_at"])
    refused(httpx.post(link), 400, "invite_accepted")
    refused(admin.delete(f"{INVITES}/{invite['id']}"), 400, "invite_accepted")
    refused(admin.post(INVITES, json={"email": email, "role": "owner"}), 400, "user_exists")


BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def page_of(answer: httpx.Response, status: int = 200) -> str:
    """The words of a page, as they are meant."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<b>" not in answer.text
    return html.unescape(answer.text)


def test_who_accepts_in_a_browser_reads_how_to_get_a_key(admin: httpx.Client) -> None:
    project = posted(admin, PROJECTS, {"name": "<b>Bot</b>"})
    wanted = {"role": "owner", "projects": [{"id": project["id"], "role": "member"}]}
    email = f"o'{an_email()}"
    link = posted(admin, INVITES, {"email": email, **wanted})["accept_url"]
    assert email in page_of(httpx.get(link, headers=BROWSER))
    page = page_of(httpx.post(link, headers=BROWSER))
    assert f"{email} is a user of this server's organization now, as owner." in page
    make = f"everloom keys create --user {shlex.quote(email)}"
    assert f"<b>Bot</b>: <code>{make} --project {project['id']}</code>" in page
    assert f"<code>{make} --admin</code>" in page
    assert len(fetched(admin, USERS, emails=email)["data"]) == 1
    assert "has been accepted already" in page_of(httpx.post(link, headers=BROWSER), 400)
    assert "opens no invite" in page_of(httpx.get(f"{link}0", headers=BROWSER), 403)
    assert "opens no invite" in page_of(httpx.post(f"{link}0", headers=BROWSER), 403)
    alone = posted(admin, INVITES, {"email": an_email(), "role": "reader", "projects": []})["accept_url"]
    assert "You are in no project yet" in page_of(httpx.post(alone, headers=BROWSER))


def test_an_invite_opens_the_projects_that_are_open(admin: httpx.Client) -> None:
    first, second = a_project(admin), a_project(admin)
    wanted = [{"id": first["id"], "role": "owner"}, {"id": second["id"], "role": "member"}]
    invite = posted(admin, INVITES, {"email": an_email(), "role": "reader", "projects": wanted})
    posted(admin, f"{PROJECTS}/{second['id']}/archive")
    user = accepted(invite)
    assert fetched(admin, f"{PROJECTS}/{first['id']}/users/{user['id']}")["role"] == "owner"
    refused(admin.get(f"{PROJECTS}/proj_default/users/{user['id']}"), 404)
    nowhere = a_user(admin, projects=[])
    refused(admin.get(f"{PROJECTS}/proj_default/users/{nowhere['id']}"), 404)
    for id, status in ((second["id"], 400), ("proj_nothing", 404)):
        body = {"email": an_email(), "role": "reader", "projects": [{"id": id, "role": "member"}]}
        refused(admin.post(INVITES, json=body), status)


def test_a_link_that_is_not_ours_opens_nothing(admin: httpx.Client) -> None:
    first, second = (posted(admin, INVITES, {"email": an_email(), "role": "owner"}) for _ in range(2))
    signature = second["accept_url"].partition("=")[2]
    base = first["accept_url"].partition("?")[0]
    for link in (
        base,
        f"{base}?signature=",
        f"{base}?signature={signature}",
        f"{base}?signature={'0' * 64}",
        f"{base}?signature=%F0%9F%94%91",
        base.replace(first["id"], "invite-nothing") + f"?signature={signature}",
    ):
        refused(httpx.get(link), 403)
        refused(httpx.post(link), 403)
    answer = admin.delete(f"{INVITES}/{first['id']}")
    assert answer.json() == {"object": "organization.invite.deleted", "id": first["id"], "deleted": True}
    refused(httpx.post(first["accept_url"]), 403)
    refused(admin.delete(f"{INVITES}/{first['id']}"), 404)
    assert second["id"] in [invite["id"] for invite in fetched(admin, INVITES, limit=100)["data"]]


def test_two_who_accept_an_invite_at_once_make_one_user(admin: httpx.Client) -> None:
    email = an_email()
    links = [posted(admin, INVITES, {"email": email, "role": "reader"})["accept_url"] for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(httpx.post, links * 4))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 1
    assert set(statuses) == {200, 400, 403}  # 403 where the other link was accepted.
    assert len(fetched(admin, USERS, emails=email)["data"]) == 1


def pending(admin: httpx.Client, email: str) -> list[str]:
    found: list[Json] = []
    query: dict[str, str] = {}
    while True:
        page = fetched(admin, INVITES, limit=100, **query)
        found += page["data"]
        if not page["has_more"]:
            return [each["id"] for each in found if each["email"] == email and each["status"] == "pending"]
        query["after"] = page["last_id"]


def test_who_was_removed_comes_back_by_no_older_link(admin: httpx.Client) -> None:
    email = an_email()
    links = [posted(admin, INVITES, {"email": email, "role": "owner"})["accept_url"] for _ in range(3)]
    user = accepted({"accept_url": links[1]})
    assert pending(admin, email) == []
    assert admin.delete(f"{USERS}/{user['id']}").status_code == 200
    refused(httpx.post(links[0]), 403)
    refused(httpx.post(links[1]), 400, "invite_accepted")
    refused(httpx.get(links[2]), 403)
    again = accepted(posted(admin, INVITES, {"email": email, "role": "reader"}))  # A newer one is meant.
    assert (again["email"], again["role"]) == (email, "reader")


def test_an_invite_of_who_is_a_user_by_now_is_refused_and_goes_with_the_user(tmp_path: Path) -> None:
    """As a database has them in which an older version let two invites of one address stand."""
    with Everloom(tmp_path) as server:
        with admin_of(server) as admin:
            user = accepted(posted(admin, INVITES, {"email": "new@example.org", "role": "reader"}))
            other = posted(admin, INVITES, {"email": "old@example.org", "role": "owner"})
        server.stop()
        with sqlite3.connect(tmp_path / "everloom.db") as database:
            ((body,),) = database.execute("SELECT body FROM users WHERE email = 'new@example.org'")
            renamed = body.replace(b"new@example.org", b"old@example.org"), "old@example.org", "new@example.org"
            database.execute("UPDATE users SET body = ?, email = ? WHERE email = ?", renamed)
        server.start()
        link = server.url + other["accept_url"].partition("/v1")[2]
        with admin_of(server) as admin:
            refused(httpx.post(link), 400, "user_exists")
            assert admin.delete(f"{USERS}/{user['id']}").status_code == 200
            refused(httpx.post(link), 403)
            assert fetched(admin, INVITES)["data"][1:] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "a@b"},
        {"role": "owner"},
        {"email": "nobody", "role": "owner"},
        {"email": "a\0@b.c", "role": "owner"},
        {"email": "a@b.c\n", "role": "owner"},
        {"email": "a@" + "b" * 400, "role": "owner"},
        {"email": "a@b.c", "role": "member"},
        {"email": "a@b.c", "role": "reader", "projects": [{"id": "proj_default"}]},
        {"email": "a@b.c", "role": "reader", "projects": [{"id": "proj_default", "role": "reader"}]},
        {"email": "a@b.c", "role": "reader", "projects": [{"id": "p", "role": "owner"}] * 101},
        {"email": "a@b.c", "role": "reader", "surprise": 1},
    ],
)
def test_invites_that_can_be_none_are_refused(admin: httpx.Client, body: Json) -> None:
    refused(admin.post(INVITES, json=body), 400)


def test_an_invite_ends_at_its_time(tmp_path: Path) -> None:
    with Everloom(tmp_path, module="tests.crash.jumping") as server, admin_of(server) as admin:
        invite = posted(admin, INVITES, {"email": an_email(), "role": "reader"})
        deadline = time.monotonic() + 30
        while (shown := fetched(admin, f"{INVITES}/{invite['id']}"))["status"] == "pending":
            assert time.monotonic() < deadline
            os.kill(server.pid, signal.SIGUSR1)  # A day a time, and two that come together are one.
            time.sleep(0.05)
        assert shown["status"] == "expired"
        assert fetched(admin, INVITES)["data"] == [shown]
        assert "expired" in httpx.get(invite["accept_url"]).text
        refused(httpx.post(invite["accept_url"]), 400, "invite_expired")
        assert admin.delete(f"{INVITES}/{invite['id']}").status_code == 200


# --- users ---------------------------------------------------------------------------------------------------------


def test_users_are_listed_changed_and_removed(each_server: Everloom, admin: httpx.Client) -> None:
    user, other = a_user(admin), a_user(admin)
    assert user["id"].startswith("user-")
    path = f"{USERS}/{user['id']}"
    found = fetched(admin, USERS, emails=f"{user['email'].upper()},{other['email']}")["data"]
    assert found == [user, other]
    assert posted(admin, path, {"role": "owner"}) == user | {"role": "owner"}
    assert posted(admin, path, {"role": "reader"}) == user
    for body in ({"role": "member"}, {"role": "owner", "id": "x"}):
        refused(admin.post(path, json=body), 400)
    answer = admin.delete(path)
    assert answer.json() == {"object": "organization.user.deleted", "id": user["id"], "deleted": True}
    for gone in (admin.get(path), admin.post(path, json={"role": "owner"}), admin.delete(path)):
        assert refused(gone, 404) == f"No user found with id '{user['id']}'."


@pytest.fixture(params=["sqlite", "postgres"])
def alone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Everloom]:
    """A server with nobody in it but its first owner."""
    settings = {} if request.param == "sqlite" else {"database": fresh_database()}
    with Everloom(tmp_path, **settings) as server:
        yield server


def test_the_last_owner_stays(alone: Everloom) -> None:
    with admin_of(alone) as admin:
        for answer in (
            admin.delete(f"{USERS}/user-owner"),
            admin.post(f"{USERS}/user-owner", json={"role": "reader"}),
        ):
            refused(answer, 400, "last_owner")
        assert posted(admin, f"{USERS}/user-owner", {"role": "owner"})["role"] == "owner"
        assert owners(admin) == ["user-owner"]


def test_who_goes_takes_his_keys_with_him(alone: Everloom) -> None:
    with admin_of(alone) as admin:
        heir = a_user(admin, "owner")
        assert posted(admin, f"{USERS}/user-owner", {"role": "reader"})["role"] == "reader"
        # An admin key is an owner's; a reader's keys of projects that he is in are good.
        refused(admin.get(USERS), 401, "key_owner_without_access")
    with client_of(alone, API_KEY) as project:
        assert project.get("/assistants").status_code == 200
    secret = alone.command("keys", "create", "--admin").strip()
    with client_of(alone, secret, beta=None) as admin, client_of(alone, API_KEY) as project:
        (key,) = fetched(admin, ADMIN_KEYS)["data"][1:]
        assert key["owner"]["id"] == heir["id"]
        assert admin.delete(f"{PROJECTS}/proj_default/users/user-owner").status_code == 200
        refused(project.get("/assistants"), 401, "key_owner_without_access")
        (shown,) = fetched(admin, f"{PROJECTS}/proj_default/api_keys")["data"]
        assert shown["owner_project_access"] == "inactive"
        assert admin.delete(f"{USERS}/user-owner").status_code == 200
        refused(project.get("/assistants"), 401, "invalid_api_key")
        assert owners(admin) == [heir["id"]]
    alone.stop()
    alone.start()
    with admin_of(alone) as admin:  # The keys of the settings stand again, as the heir's.
        assert {key["owner"]["id"] for key in fetched(admin, ADMIN_KEYS)["data"]} == {heir["id"]}
        assert owners(admin) == [heir["id"]]
        refused(admin.get(f"{USERS}/user-owner"), 404)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_of_two_owners_who_remove_each_other_one_stays(alone: Everloom, method: str) -> None:
    key = ADMIN_KEY
    for _ in range(5):
        with client_of(alone, key, beta=None) as admin:
            pair = owners(admin)
            while len(pair) < 2:
                a_user(admin, "owner")
                pair = owners(admin)
            with ThreadPoolExecutor(2) as pool:
                tasks = [pool.submit(admin.request, method, f"{USERS}/{id}", json={"role": "reader"}) for id in pair]
            answers = [task.result() for task in tasks]
            # 401 where the first to go was who asked.
            assert sorted(answer.status_code for answer in answers) in ([200, 400], [200, 401])
            assert all(
                answer.json()["error"]["code"] == "last_owner" for answer in answers if answer.status_code == 400
            )
        key = alone.command("keys", "create", "--admin").strip()
        with client_of(alone, key, beta=None) as admin:
            assert len(owners(admin)) == 1
