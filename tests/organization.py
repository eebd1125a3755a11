"""The organization as tests need it: a client with the admin key, and what it makes."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.builders import Json, fetched, posted
from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as client_of

PROJECTS = "/organization/projects"
USERS = "/organization/users"
INVITES = "/organization/invites"
ADMIN_KEYS = "/organization/admin_api_keys"

SPENT: Json = {"threshold_amount": 10**12, "currency": "USD", "interval": "month"}
"""A spend limit that nobody reaches."""

ALERT: Json = {**SPENT, "notification_channel": {"type": "email", "recipients": ["a@example.org"]}}
"""A spend alert that nobody reaches."""


@contextmanager
def admin_of(server: Everloom) -> Iterator[httpx.Client]:
    """A client of the organization's half; its answers are held against the specification."""
    with client_of(server, ADMIN_KEY, beta=None) as client:
        yield client


def a_name(what: str = "thing") -> str:
    """A name that nothing else has."""
    return f"{what} {uuid.uuid4().hex[:12]}"


def an_email() -> str:
    """An address that nobody else has."""
    return f"{uuid.uuid4().hex[:16]}@example.org"


def a_project(admin: httpx.Client) -> Json:
    """A new project."""
    return posted(admin, PROJECTS, {"name": a_name("project")})


def all_projects(admin: httpx.Client) -> list[Json]:
    """Those that are active, oldest first."""
    found: list[Json] = []
    page = fetched(admin, PROJECTS, limit=100)
    while True:
        found += page["data"]
        if not page["has_more"]:
            return found
        page = fetched(admin, PROJECTS, limit=100, after=page["last_id"])


def an_account(admin: httpx.Client, project: Json, **fields: object) -> Json:
    """A service account in a project, with its first key as it is shown once."""
    return posted(admin, f"{PROJECTS}/{project['id']}/service_accounts", {"name": a_name("account"), **fields})


def a_user(admin: httpx.Client, role: str = "reader", **fields: object) -> Json:
    """A user of the organization, invited and come."""
    invite = posted(admin, INVITES, {"email": an_email(), "role": role, **fields})
    return accepted(invite)


def accepted(invite: Json) -> Json:
    """The user that comes of an invite."""
    answer = httpx.post(invite["accept_url"], timeout=30)
    assert answer.status_code == 200, answer.text
    user: Json = answer.json()
    return user


def refused(answer: httpx.Response, status: int, code: str | None = None) -> str:
    """The message of an answer that must be this error."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    if code is not None:
        assert error["code"] == code, error
    message: str = error["message"]
    return message
