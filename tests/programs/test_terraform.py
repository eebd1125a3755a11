"""What two Terraform providers ask of the organization, in their order, with their headers and their reading of it.

- ``openai/openai`` 1.1.0 (openai/terraform-provider-openai, on openai-go 3.51.0): all resources but admin API keys.
- ``jianyuan/openai`` 0.7.0: admin API keys, and service accounts whose key it shows.

Both read answers leniently: what is not there or null is not set; what is there has to be of its kind; an id has to be
there, and ``data`` and ``has_more`` in lists. A 404 to a look or a deletion means that the thing is gone, any other
error ends the run of Terraform. To go to the next page they name the last id as ``after``.

"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.builders import Json, posted
from tests.organization import INVITES, a_name, accepted, admin_of, an_email
from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as client_of
from tests.spec.oracle import CheckedTransport

HEADERS = {
    "user-agent": "terraform-provider-openai/1.1.0",
    "accept": "application/json",
    "openai-organization": "org-everloom",
    "x-stainless-lang": "go",
    "x-stainless-package-version": "3.51.0",
    "x-stainless-retry-count": "0",
    "x-stainless-runtime": "go",
}
NO_BODY = object()
"""Nothing is sent: an absent body of openai-go. (Where a provider passes an empty map, it sends ``null``.)"""

KINDS = {"string": (str, int, float, bool), "integer": (int, float), "boolean": (bool,), "strings": (list,)}


class Gone(Exception):
    """404: the provider takes the resource out of its state."""


class Refused(Exception):
    """Any other error: it is shown, and the run of Terraform ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Provider:
    """The client of a provider: its requests, and how it reads what comes back."""

    def __init__(self, server: Everloom) -> None:
        headers = HEADERS | {"authorization": f"Bearer {ADMIN_KEY}"}
        self.http = httpx.Client(base_url=server.url, headers=headers, timeout=30, transport=CheckedTransport())

    def request(self, method: str, path: str, body: Any = NO_BODY, **query: str) -> Json:
        sent = {} if body is NO_BODY else {"content": json.dumps(body), "headers": {"content-type": "application/json"}}
        answer = self.http.request(method, path, params=query, **sent)
        if answer.status_code == 404:
            message = answer.json()["error"]["message"]
            assert not message.startswith("Invalid URL"), path
            raise Gone(path)
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.json()["error"]["message"])
        found: Json = answer.json()
        return found

    def pages(self, path: str, **query: str) -> Iterator[Json]:
        """All of a list."""
        seen: set[str] = set()
        while True:
            page = self.request("GET", path, **query)
            assert isinstance(page["data"], list)
            assert isinstance(page["has_more"], bool)
            yield from page["data"]
            if not page["has_more"]:
                return
            query["after"] = page["data"][-1]["id"]
            assert query["after"] not in seen
            seen.add(query["after"])

    def one_of(self, path: str, id: str, **query: str) -> Json:
        """A look at one resource by the list that it stands in."""
        found = [each for each in self.pages(path, **query) if each["id"] == id]
        if not found:
            raise Gone(path)
        return found[0]


@pytest.fixture
def provider(each_server: Everloom) -> Iterator[Provider]:
    found = Provider(each_server)
    with found.http:
        yield found


def state_of(answer: Json, kinds: dict[str, str], *, id: bool = True) -> Json:
    """The attributes that the provider keeps of an answer. Fails as it would."""
    if id:
        assert isinstance(answer["id"], str)
    kept = {}
    for name, kind in kinds.items():
        value: Any = answer
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        assert value is None or isinstance(value, KINDS[kind]), f"{name} is no {kind}: {value!r}"
        kept[name] = value
    return kept


PROJECT = {
    "name": "string",
    "external_key_id": "string",
    "created_at": "integer",
    "archived_at": "integer",
    "status": "string",
}
ACCOUNT = {"name": "string", "created_at": "integer"}
INVITE = {"email": "string", "role": "string", "status": "string", "created_at": "integer", "expires_at": "integer",
          "accepted_at": "integer"}  # fmt: skip
USER = {
    **dict.fromkeys(("name", "email", "role", "technical_level", "developer_persona"), "string"),
    **dict.fromkeys(("added_at", "created", "api_key_last_used_at"), "integer"),
    **dict.fromkeys(("is_default", "is_service_account", "is_scale_tier_authorized_purchaser"), "boolean"),
    "is_scim_managed": "boolean",
}
MEMBER = {"email": "string", "role": "string", "name": "string", "added_at": "integer"}
ADMIN_API_KEY = {"name": "string", "created_at": "integer"}


def a_project(provider: Provider) -> str:
    id: str = provider.request("POST", "/organization/projects", {"name": a_name("terraform")})["id"]
    return id


def projects(provider: Provider, id: str) -> Json:
    return provider.one_of("/organization/projects", id, include_archived="true", limit="100")


def test_a_project(provider: Provider) -> None:
    name = a_name("terraform")
    made = provider.request("POST", "/organization/projects", {"name": name})
    state = state_of(made, PROJECT)
    assert (state["name"], state["status"], state["archived_at"]) == (name, "active", None)
    path = f"/organization/projects/{made['id']}"
    assert state_of(projects(provider, made["id"]), PROJECT) == state  # nothing to be changed
    assert state_of(provider.request("GET", path), PROJECT) == state  # the data source
    changed = provider.request("POST", path, {"name": f"{name} too"})
    assert state_of(changed, PROJECT) == state | {"name": f"{name} too"}
    assert state_of(projects(provider, made["id"]), PROJECT) == state_of(changed, PROJECT)
    provider.request("POST", f"{path}/archive", None)
    # It still stands in the list, closed: somebody who archived it elsewhere is shown that, and cannot change it.
    archived = state_of(projects(provider, made["id"]), PROJECT)
    assert (archived["status"], archived["archived_at"] is None) == ("archived", False)
    for again, body in ((path, {"name": name}), (f"{path}/archive", None)):
        with pytest.raises(Refused, match=r"400: Project .* is archived"):
            provider.request("POST", again, body)
    with pytest.raises(Gone):
        provider.request("GET", "/organization/projects/proj_nothing")


def test_a_project_behind_a_hundred_others(provider: Provider) -> None:
    ids = [a_project(provider) for _ in range(101)]
    assert projects(provider, ids[-1])["id"] == ids[-1]
    listed = [each["id"] for each in provider.pages("/organization/projects", include_archived="true", limit="100")]
    assert len(listed) == len(set(listed))
    assert set(ids) <= set(listed)


def test_a_service_account(provider: Provider) -> None:
    path = f"/organization/projects/{a_project(provider)}/service_accounts"
    made = provider.request("POST", path, {"create_service_account_only": True, "name": "robot"})
    state = state_of(made, ACCOUNT)
    assert state["name"] == "robot"
    assert made["api_key"] is None
    assert state_of(provider.request("GET", f"{path}/{made['id']}"), ACCOUNT) == state
    provider.request("DELETE", f"{path}/{made['id']}")
    for method in ("GET", "DELETE"):  # somebody else took it away
        with pytest.raises(Gone):
            provider.request(method, f"{path}/{made['id']}")


def test_a_service_account_whose_key_is_shown(provider: Provider, each_server: Everloom) -> None:
    """By the second provider, whose SDK asks for a role and a key in the answer."""
    path = f"/organization/projects/{a_project(provider)}/service_accounts"
    made = provider.request("POST", path, {"name": "robot"})
    assert (made["role"], made["api_key"]["id"][:4]) == ("member", "key_")
    with client_of(each_server, made["api_key"]["value"]) as robot:
        assert robot.get("/models").status_code == 200
    changed = provider.request("POST", f"{path}/{made['id']}", {"name": "droid"})
    assert (changed["name"], changed["role"]) == ("droid", "member")
    provider.request("DELETE", f"{path}/{made['id']}")


def test_an_invite(provider: Provider) -> None:
    email = an_email()
    made = provider.request("POST", "/organization/invites", {"email": email, "role": "reader", "projects": []})
    state = state_of(made, INVITE)
    assert (state["email"], state["status"], made["projects"]) == (email, "pending", [])
    path = f"/organization/invites/{made['id']}"
    assert state_of(provider.request("GET", path), INVITE) == state
    assert made["id"] in [each["id"] for each in provider.pages("/organization/invites", limit="100")]
    provider.request("DELETE", path)
    with pytest.raises(Gone):
        provider.request("GET", path)
    with pytest.raises(Gone):
        provider.request("DELETE", path)


def test_an_invite_into_projects_that_is_accepted(provider: Provider) -> None:
    places = [{"id": a_project(provider), "role": "member"}, {"id": a_project(provider), "role": "owner"}]
    asked = {"email": an_email(), "role": "reader", "projects": places}
    made = provider.request("POST", "/organization/invites", asked)
    assert made["projects"] == places  # in their order: another would be a difference to be mended each time
    accepted(made)
    state = state_of(provider.request("GET", f"/organization/invites/{made['id']}"), INVITE)
    assert (state["status"], state["accepted_at"] is None) == ("accepted", False)
    with pytest.raises(Refused, match="400: This invite has been accepted already"):
        provider.request("DELETE", f"/organization/invites/{made['id']}")


def a_user(server: Everloom) -> Json:
    with admin_of(server) as admin:
        return accepted(posted(admin, INVITES, {"email": an_email(), "role": "reader", "projects": []}))


def test_a_user(provider: Provider, each_server: Everloom) -> None:
    """It is imported, never made."""
    user = a_user(each_server)
    path = f"/organization/users/{user['id']}"
    state = state_of(provider.request("GET", path), USER)
    assert (state["email"], state["role"]) == (user["email"], "reader")
    assert state_of(provider.request("POST", path, {"role": "owner"}), USER) == state | {"role": "owner"}
    assert user["id"] in [each["id"] for each in provider.pages("/organization/users", limit="100")]
    changed = provider.request("POST", path, {"role": "owner", "technical_level": "beginner"})
    assert changed["technical_level"] == "beginner"
    provider.request("DELETE", path)
    with pytest.raises(Gone):
        provider.request("GET", path)


@pytest.mark.parametrize("by", ["id", "email"])
def test_a_user_of_a_project(provider: Provider, each_server: Everloom, by: str) -> None:
    user, path = a_user(each_server), f"/organization/projects/{a_project(provider)}/users"
    named = {"user_id": user["id"]} if by == "id" else {"email": user["email"]}
    state = state_of(provider.request("POST", path, named | {"role": "member"}), MEMBER)
    assert (state["email"], state["role"]) == (user["email"], "member")
    (listed,) = provider.request("GET", path, limit="100")["data"]  # the first page alone, and then the user
    assert state_of(listed, MEMBER) == state
    assert state_of(provider.request("GET", f"{path}/{user['id']}"), MEMBER) == state
    changed = provider.request("POST", f"{path}/{user['id']}", {"role": "owner"})
    assert state_of(changed, MEMBER) == state | {"role": "owner"}
    provider.request("DELETE", f"{path}/{user['id']}")
    with pytest.raises(Gone):
        provider.request("DELETE", f"{path}/{user['id']}")


def test_an_admin_key(provider: Provider, each_server: Everloom) -> None:
    """By the second provider."""
    made = provider.request("POST", "/organization/admin_api_keys", {"name": "terraform"})
    state = state_of(made, ADMIN_API_KEY)
    with client_of(each_server, made["value"], beta=None) as holder:
        assert holder.get("/organization/users").status_code == 200
    path = f"/organization/admin_api_keys/{made['id']}"
    assert state_of(provider.request("GET", path), ADMIN_API_KEY) == state
    provider.request("DELETE", path)
    for method in ("GET", "DELETE"):
        with pytest.raises(Gone):
            provider.request(method, path)


def test_what_is_left_in_a_project_that_was_archived_elsewhere(provider: Provider, each_server: Everloom) -> None:
    """Terraform shows the refusal, and its user takes these out of the state: an archived project stays as it is."""
    project = a_project(provider)
    accounts = f"/organization/projects/{project}/service_accounts"
    account = provider.request("POST", accounts, {"create_service_account_only": True, "name": "robot"})
    provider.request("POST", f"/organization/projects/{project}/archive", None)
    for method, path in (
        ("GET", f"{accounts}/{account['id']}"),
        ("DELETE", f"{accounts}/{account['id']}"),
        ("GET", f"/organization/projects/{project}/users"),
    ):
        with pytest.raises(Refused, match=r"400: Project .* is archived"):
            provider.request(method, path)


# --- what the server does not have yet -------------------------------------------------------------------------------

RATE_LIMIT = {
    "model": "string",
    **dict.fromkeys(
        (
            *("max_requests_per_1_minute", "max_tokens_per_1_minute", "max_images_per_1_minute"),
            *("max_audio_megabytes_per_1_minute", "max_requests_per_1_day", "batch_1_day_max_input_tokens"),
        ),
        "integer",
    ),
}
LIMIT = {"object": "string", "threshold_amount": "integer", "currency": "string", "interval": "string",
         "enforcement.status": "string"}  # fmt: skip
ALERT = {
    "threshold_amount": "integer",
    **dict.fromkeys(("currency", "interval", "notification_channel.type"), "string"),
    "notification_channel.recipients": "strings",
    "notification_channel.subject_prefix": "string",
}
PERMISSIONS = {"object": "string", "mode": "string", "model_ids": "strings"}
AMOUNT = {"threshold_amount": 100_000, "currency": "USD", "interval": "month"}
CHANNEL = {"type": "email", "recipients": ["somebody@example.org"]}


def rate_limits(provider: Provider, project: str) -> None:
    """The provider asks for a thousand at a time, changes what it is told to, and deletes none."""
    path = f"/organization/projects/{project}/rate_limits"
    limit = next(iter(provider.pages(path, limit="1000")))
    state = state_of(limit, RATE_LIMIT)
    lower = {"max_requests_per_1_minute": 7, "max_tokens_per_1_minute": 700}
    assert state_of(provider.request("POST", f"{path}/{limit['id']}", lower), RATE_LIMIT) == state | lower
    assert state_of(provider.one_of(path, limit["id"], limit="1000"), RATE_LIMIT) == state | lower


def spend_limits(provider: Provider, project: str) -> None:
    for path in ("/organization/spend_limit", f"/organization/projects/{project}/spend_limit"):
        state = state_of(provider.request("POST", path, AMOUNT), LIMIT, id=False)
        assert state_of(provider.request("GET", path), LIMIT, id=False) == state
        changed = provider.request("POST", path, AMOUNT | {"threshold_amount": 200_000})
        assert state_of(changed, LIMIT, id=False)["threshold_amount"] == 200_000
        provider.request("DELETE", path)
        with pytest.raises(Gone):
            provider.request("GET", path)


def spend_alerts(provider: Provider, project: str) -> None:
    for path in ("/organization/spend_alerts", f"/organization/projects/{project}/spend_alerts"):
        asked = AMOUNT | {"notification_channel": CHANNEL | {"subject_prefix": "Money"}}
        made = provider.request("POST", path, asked)
        state = state_of(made, ALERT)
        assert state["notification_channel.recipients"] == CHANNEL["recipients"]
        assert state_of(provider.one_of(path, made["id"], limit="100"), ALERT) == state
        asked["notification_channel"] = CHANNEL | {"subject_prefix": None}
        changed = state_of(provider.request("POST", f"{path}/{made['id']}", asked), ALERT)
        assert changed["notification_channel.subject_prefix"] is None
        provider.request("DELETE", f"{path}/{made['id']}")
        with pytest.raises(Gone):
            provider.request("DELETE", f"{path}/{made['id']}")


def model_permissions(provider: Provider, project: str) -> None:
    path = f"/organization/projects/{project}/model_permissions"
    asked = {"mode": "allow_list", "model_ids": ["gpt-4o", "gpt-4o-mini"]}
    state = state_of(provider.request("POST", path, asked), PERMISSIONS, id=False)
    assert (state["mode"], state["model_ids"]) == (asked["mode"], asked["model_ids"])
    assert state_of(provider.request("GET", path), PERMISSIONS, id=False) == state
    denied = provider.request("POST", path, {"mode": "deny_list", "model_ids": ["gpt-4o"]})
    assert state_of(denied, PERMISSIONS, id=False)["mode"] == "deny_list"
    provider.request("DELETE", path)


class Section(NamedTuple):
    name: str
    walk: Any


SECTIONS = [
    Section("rate limits", rate_limits),
    Section("spend limits", spend_limits),
    Section("spend alerts", spend_alerts),
    Section("model permissions", model_permissions),
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_a_section(provider: Provider, section: Section) -> None:
    section.walk(provider, a_project(provider))
