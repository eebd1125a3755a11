"""Spend alerts of projects and of the organization."""

from collections.abc import Iterator

import httpx
import pytest

from tests.builders import Json, fetched, posted
from tests.organization import PROJECTS, a_project, admin_of, refused
from tests.servers import Everloom

ORGANIZATION = "/organization/spend_alerts"


@pytest.fixture
def admin(each_server: Everloom) -> Iterator[httpx.Client]:
    with admin_of(each_server) as client:
        yield client
        for alert in fetched(client, ORGANIZATION, limit=100)["data"]:
            assert client.delete(f"{ORGANIZATION}/{alert['id']}").status_code == 200


@pytest.fixture(params=["project", "organization"])
def place(request: pytest.FixtureRequest, admin: httpx.Client) -> tuple[str, str]:
    """Where alerts are, and what they are called."""
    if request.param == "organization":
        return ORGANIZATION, "organization.spend_alert"
    return f"{PROJECTS}/{a_project(admin)['id']}/spend_alerts", "project.spend_alert"


def asked(cents: object = 100_000, **channel: object) -> Json:
    channel = {"type": "email", "recipients": ["finance@example.com"], **channel}
    return {"threshold_amount": cents, "currency": "USD", "interval": "month", "notification_channel": channel}


def test_an_alert_is_made_shown_changed_and_taken_away(admin: httpx.Client, place: tuple[str, str]) -> None:
    path, object = place
    made = posted(admin, path, asked(subject_prefix="Spend"))
    assert made == {"id": made["id"], "object": object, **asked(subject_prefix="Spend")}
    assert made["id"].startswith("alert_")
    assert fetched(admin, f"{path}/{made['id']}") == made
    changed = posted(admin, f"{path}/{made['id']}", asked(0, recipients=["a@example.org", "b@example.org"]))
    channel = {"type": "email", "recipients": ["a@example.org", "b@example.org"], "subject_prefix": None}
    assert changed == made | {"threshold_amount": 0, "notification_channel": channel}
    assert fetched(admin, f"{path}/{made['id']}") == changed
    page = fetched(admin, path)
    assert page == {
        "object": "list",
        "data": [changed],
        "first_id": made["id"],
        "last_id": made["id"],
        "has_more": False,
    }
    gone = {"object": f"{object}.deleted", "id": made["id"], "deleted": True}
    assert admin.delete(f"{path}/{made['id']}").json() == gone
    for answer in (
        admin.get(f"{path}/{made['id']}"),
        admin.post(f"{path}/{made['id']}", json=asked()),
        admin.delete(f"{path}/{made['id']}"),
    ):
        assert refused(answer, 404) == f"No spend alert found with id '{made['id']}'."


def test_pages_go_both_ways_in_either_order(admin: httpx.Client, place: tuple[str, str]) -> None:
    path, _ = place
    ids = [posted(admin, path, asked(cents))["id"] for cents in range(5)]
    for order in ("asc", "desc"):
        wanted = ids if order == "asc" else ids[::-1]
        found: list[str] = []
        query: dict[str, str | int] = {"limit": 2, "order": order}
        while True:
            page = fetched(admin, path, **query)
            found += [each["id"] for each in page["data"]]
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
        assert found == wanted
        before = fetched(admin, path, before=wanted[3], limit=2, order=order)
        assert [each["id"] for each in before["data"]] == wanted[1:3]
    assert [each["id"] for each in fetched(admin, path)["data"]] == ids
    assert fetched(admin, path, limit=0)["data"] == []
    for wrong in ({"limit": 101}, {"limit": -1}, {"order": "up"}, {"after": "nothing"}, {"before": "x" * 5000}):
        refused(admin.get(path, params=wrong), 400)


def test_an_alert_is_reached_by_its_own_path_alone(admin: httpx.Client) -> None:
    paths = [f"{PROJECTS}/{a_project(admin)['id']}/spend_alerts" for _ in range(2)] + [ORGANIZATION]
    alerts = [posted(admin, path, asked(place)) for place, path in enumerate(paths)]
    for path, mine in zip(paths, alerts, strict=True):
        assert [each["id"] for each in fetched(admin, path)["data"]] == [mine["id"]]
        for other in alerts:
            if other is not mine:
                for answer in (
                    admin.get(f"{path}/{other['id']}"),
                    admin.post(f"{path}/{other['id']}", json=asked()),
                    admin.delete(f"{path}/{other['id']}"),
                ):
                    assert refused(answer, 404) == f"No spend alert found with id '{other['id']}'."
                refused(admin.get(path, params={"after": other["id"]}), 400)
        assert fetched(admin, f"{path}/{mine['id']}") == mine


def test_what_can_be_no_alert_is_none(admin: httpx.Client, place: tuple[str, str]) -> None:
    path, _ = place
    stands = posted(admin, path, asked())
    bodies = [asked(cents) for cents in (-1, 1.5, "1", True, None, 10**30)]
    bodies += [asked(recipients=several) for several in ([], ["nobody"], ["a@b\nBcc: c@d"], [7], "a@b.c", None)]
    bodies += [asked(recipients=["a@example.org"] * 51), asked(recipients=["a@" + "b" * 400])]
    bodies += [asked(subject_prefix=prefix) for prefix in ("x" * 257, "a\r\nBcc: b@c.d", "a\0b", "a\u2028b", 7)]
    bodies += [asked(type="sms"), asked(type=None), asked(more=1), asked() | {"more": 1}]
    bodies += [asked() | {"currency": "EUR"}, asked() | {"interval": "day"}, asked() | {"notification_channel": []}]
    bodies += [{key: value for key, value in asked().items() if key != name} for name in asked()]
    for body in bodies:
        for where in (path, f"{path}/{stands['id']}"):
            refused(admin.post(where, json=body), 400)
    assert fetched(admin, path)["data"] == [stands]


def test_there_are_a_hundred_at_the_most(admin: httpx.Client, place: tuple[str, str]) -> None:
    path, _ = place
    for _ in range(100):
        last = posted(admin, path, asked())
    refused(admin.post(path, json=asked()), 400, "too_many_spend_alerts")
    assert admin.delete(f"{path}/{last['id']}").status_code == 200
    posted(admin, path, asked())


def test_alerts_of_nothing_and_of_what_is_closed(admin: httpx.Client) -> None:
    project = a_project(admin)["id"]
    path = f"{PROJECTS}/{project}/spend_alerts"
    alert = posted(admin, path, asked())["id"]
    posted(admin, f"{PROJECTS}/{project}/archive")
    cases = {path: (400, "project_archived")}
    cases |= {f"{PROJECTS}/{nothing}/spend_alerts": (404, None) for nothing in ("proj_nothing", "org-everloom")}
    for where, (status, code) in cases.items():
        for answer in (
            admin.get(where),
            admin.post(where, json=asked()),
            admin.get(f"{where}/{alert}"),
            admin.post(f"{where}/{alert}", json=asked()),
            admin.delete(f"{where}/{alert}"),
        ):
            refused(answer, status, code)
    for nothing in ("alert_nothing", "undefined", "x" * 120):
        for answer in (admin.get(f"{ORGANIZATION}/{nothing}"), admin.delete(f"{ORGANIZATION}/{nothing}")):
            refused(answer, 404)
    refused(admin.get(f"{ORGANIZATION}/%00"), 400)
