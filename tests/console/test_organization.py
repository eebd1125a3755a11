"""The organization's pages and the first steps, on a real server: what its data are, and what can be done to them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.builders import fetched, posted
from tests.console.watching import Watch, axe, fits, picture, sign_in, tab_to
from tests.replies import Says
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as client_of

HOSTILE = "<img src=x onerror=alert(1)>\u202egnp.exe " + "w" * 120
"""Markup, a letter that turns the line around, and no place to break it."""

PRICES = '[[prices]]\nmodel = "gpt-4o*"\ninput = 2500.0\noutput = 10000.0\n'


@pytest.fixture(scope="module")
def organized(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server with an organization of its own: two projects, one with a hostile name, which have used something."""
    folder = tmp_path_factory.mktemp("organized")
    (folder / "everloom.toml").write_text(PRICES)
    with ScriptedUpstream() as upstream, Everloom(folder, upstream=upstream.url) as server:
        with client_of(server, ADMIN_KEY, beta=None) as admin:
            project = posted(admin, "/organization/projects", {"name": HOSTILE})
            account = posted(admin, f"/organization/projects/{project['id']}/service_accounts", {"name": HOSTILE})
            month = {"currency": "USD", "interval": "month"}
            posted(admin, f"/organization/projects/{project['id']}/spend_limit", {"threshold_amount": 500, **month})
            upstream.rule(lambda body: Says("yes"))
            for key in (account["api_key"]["value"], None):
                with client_of(server, key) if key else client_of(server) as http:
                    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi " * 50}]}
                    assert http.post("/chat/completions", json=body).status_code == 200
        yield server


@pytest.fixture
def admin(organized: Everloom) -> Iterator[httpx.Client]:
    with client_of(organized, ADMIN_KEY, beta=None) as client:
        yield client


def at(page: Page, server: Everloom, address: str, title: str, **keys: str) -> None:
    sign_in(page, server, at=address, **keys)
    expect(page.get_by_role("heading", level=1)).to_have_text(title)


def sound(page: Page, name: str) -> None:
    """What is asked of every page, once it is all there."""
    expect(page.locator(".loading")).to_have_count(0)
    axe(page)
    fits(page)
    picture(page, name)


def press(page: Page, role: str, name: str | re.Pattern[str]) -> None:
    """By keyboard: to the control, and Enter."""
    tab_to(page, role, name)
    page.keyboard.press("Enter")


def fill(page: Page, label: str, text: str) -> None:
    tab_to(page, "textbox", re.compile(f"^{re.escape(label)}"))
    page.keyboard.press("Control+A")
    page.keyboard.type(text)


PAGES = {
    "/usage": "Usage",
    "/limits": "Limits",
    "/keys": "Keys",
    "/members": "Members",
    "/projects": "Projects",
    "/audit": "Audit log",
}


@pytest.mark.parametrize("path", PAGES)
def test_without_an_admin_key_a_page_says_how_to_get_one(page: Page, organized: Everloom, path: str) -> None:
    at(page, organized, f"#{path}", PAGES[path], admin_key="")
    expect(page.get_by_text("everloom keys create --admin")).to_be_visible()
    sound(page, f"locked{path.replace('/', '-')}")
    press(page, "link", "Enter an admin key")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your keys")


def test_usage_is_drawn_and_told_by_project_and_model_and_key(
    page: Page, organized: Everloom, admin: httpx.Client
) -> None:
    at(page, organized, "#/usage?by=project", "Usage")
    table = page.get_by_role("table", name="Sums")
    expect(table).to_contain_text(HOSTILE)
    expect(table).to_contain_text("Default project")
    expect(page.locator("figure canvas").first).to_be_visible()
    sound(page, "usage")
    summary = page.get_by_text("The numbers").first
    summary.press("Enter")
    expect(page.get_by_role("region", name="Cost a day: numbers")).to_be_visible()
    axe(page)
    page.get_by_role("combobox", name="By", exact=True).select_option("model")
    expect(table).to_contain_text("gpt-4o")
    page.get_by_role("combobox", name="By", exact=True).select_option("key")
    expect(table).to_contain_text("EVERLOOM_API_KEY")
    page.get_by_role("combobox", name="Of", exact=True).select_option("file_search_calls")
    expect(page.get_by_text("searches", exact=True).first).to_be_visible()
    page.reload()
    expect(page.get_by_role("combobox", name="Of", exact=True)).to_have_value("file_search_calls")
    sound(page, "usage-none")


def test_budgets_show_what_is_left_and_are_changed(page: Page, organized: Everloom, admin: httpx.Client) -> None:
    at(page, organized, "#/limits", "Limits")
    budgets = page.get_by_role("table", name="Budgets")
    expect(budgets).to_contain_text("left of $5.00")
    expect(budgets.get_by_role("meter")).to_be_visible()
    press(page, "button", "Set a limit: Default project")
    fill(page, "US dollars a month", "none")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Enter an amount of dollars")
    axe(page)
    fill(page, "US dollars a month", "12.5")
    page.keyboard.press("Enter")
    expect(budgets).to_contain_text("left of $12.50")
    path = "/organization/projects/proj_default/spend_limit"
    assert fetched(admin, path)["threshold_amount"] == 1250
    press(page, "button", "Take away: the limit of Default project")
    press(page, "button", "Take it away")
    expect(budgets).not_to_contain_text("$12.50")
    assert admin.get(path).status_code == 404
    press(page, "button", "New alert")
    fill(page, "US dollars a month", "3")
    fill(page, "Who is mailed", "nobody")
    page.watch.allow("refused: POST 400 /v1/organization/spend_alerts")  # type: ignore[attr-defined]  # The fixture's.
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Invalid 'notification_channel.recipients[0]'")
    fill(page, "Who is mailed", "a@example.org, b@example.org")
    page.keyboard.press("Enter")
    alerts = page.get_by_role("table", name="Alerts")
    expect(alerts).to_contain_text("a@example.org, b@example.org")
    sound(page, "limits")
    press(page, "button", "Delete the alert at $3.00")
    press(page, "button", "Delete it")
    expect(alerts).to_have_count(0)


def test_rates_of_a_model_are_set(page: Page, organized: Everloom, admin: httpx.Client) -> None:
    at(page, organized, "#/limits?project=proj_default", "Limits")
    rates = page.get_by_role("table", name="Rates")
    expect(rates).to_contain_text("gpt-4o")
    press(page, "button", "Change the rates of gpt-4o")
    fill(page, "Requests a minute", "many")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("a whole number")
    fill(page, "Requests a minute", "4321")
    page.keyboard.press("Enter")
    expect(rates).to_contain_text("4,321")
    listed = fetched(admin, "/organization/projects/proj_default/rate_limits", limit=100)["data"]
    (rate,) = [each for each in listed if each["id"] == "rl-gpt-4o"]
    assert rate["max_requests_per_1_minute"] == 4321
    sound(page, "rates")


def test_a_key_is_made_shown_once_and_deleted(page: Page, organized: Everloom, admin: httpx.Client) -> None:
    at(page, organized, "#/keys?project=proj_default", "Keys")
    keys = page.get_by_role("table", name="Keys")
    expect(keys).to_contain_text("EVERLOOM_API_KEY")
    name = f"bot {page.viewport_size['width']}"  # type: ignore[index]  # It has a size.
    press(page, "button", "New key")
    fill(page, "Name", name)
    page.keyboard.press("Enter")
    secret = page.locator(".secret code")
    expect(secret).to_have_text(re.compile(r"^sk-svcacct-\w{48}$"))
    value = secret.inner_text()
    axe(page)
    fits(page)
    picture(page, "key-once")
    press(page, "button", "Copy the key")
    assert page.evaluate("navigator.clipboard.readText()") == value
    with client_of(organized, value) as http:
        assert http.get("/models").status_code == 200
    press(page, "button", "Done")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert value not in page.content()
    expect(keys).to_contain_text(name)
    sound(page, "keys")
    press(page, "button", re.compile(r"^Delete the key Secret Key"))
    press(page, "button", "Delete it")
    expect(keys).not_to_contain_text(name)
    with client_of(organized, value) as http:
        assert http.get("/models").status_code == 401


def test_admin_keys_are_made_and_deleted(page: Page, organized: Everloom) -> None:
    at(page, organized, "#/keys?view=admin", "Keys")
    keys = page.get_by_role("table", name="Keys")
    expect(keys).to_contain_text("EVERLOOM_ADMIN_KEY")
    press(page, "button", "New key")
    fill(page, "Name", HOSTILE)
    page.keyboard.press("Enter")
    expect(page.locator(".secret code")).to_have_text(re.compile(r"^sk-admin-\w{48}$"))
    press(page, "button", "Done")
    expect(keys).to_contain_text(HOSTILE)
    sound(page, "admin-keys")
    press(page, "button", re.compile(r"^Delete the key <img"))
    press(page, "button", "Delete it")
    expect(keys).not_to_contain_text(HOSTILE)


def test_the_last_owner_stays_and_the_platform_says_so(page: Page, watch: Watch, organized: Everloom) -> None:
    watch.allow("refused: (POST|DELETE) 400 /v1/organization/users/user-owner")
    at(page, organized, "#/members", "Members")
    people = page.get_by_role("table", name="People")
    expect(people).to_contain_text("owner@localhost")
    role = page.get_by_label("Role of owner@localhost")
    role.select_option("reader")
    told = "The last owner of the organization cannot be removed or demoted."
    expect(page.get_by_role("alert")).to_contain_text(told)
    expect(role).to_have_value("owner")
    sound(page, "members")
    press(page, "button", "Remove owner@localhost")
    press(page, "button", "Remove")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text(told)


def test_somebody_is_invited_and_the_invite_taken_back(page: Page, organized: Everloom) -> None:
    email = f"new{page.viewport_size['width']}@example.org"  # type: ignore[index]  # It has a size.
    at(page, organized, "#/members?view=invites", "Members")
    press(page, "button", "Invite somebody")
    fill(page, "Address", email)
    page.keyboard.press("Enter")
    expect(page.locator(".secret code")).to_have_text(
        re.compile(r"/v1/organization/invites/invite-\w+/accept\?signature=")
    )
    axe(page)
    fits(page)
    press(page, "button", "Done")
    invites = page.get_by_role("table", name="Invites")
    expect(invites).to_contain_text(email)
    sound(page, "invites")
    press(page, "button", f"Take back: the invite of {email}")
    press(page, "button", "Take it back")
    expect(page.get_by_text(email)).to_have_count(0)


def test_a_project_is_made_renamed_and_archived(page: Page, organized: Everloom, admin: httpx.Client) -> None:
    name = f"{HOSTILE} {page.viewport_size['width']}"  # type: ignore[index]  # It has a size.
    at(page, organized, "#/projects", "Projects")
    press(page, "button", "New project")
    fill(page, "Name", name)
    page.keyboard.press("Enter")
    projects = page.get_by_role("table", name="Projects")
    expect(projects).to_contain_text(name)
    sound(page, "projects")
    press(page, "button", f"Rename {name}")
    fill(page, "Name", f"{name} again")
    page.keyboard.press("Enter")
    expect(projects).to_contain_text(f"{name} again")
    press(page, "button", f"Archive {name} again")
    press(page, "button", "Archive it for good")
    expect(projects).not_to_contain_text(f"{name} again")
    tab_to(page, "checkbox", "Archived ones, too")
    page.keyboard.press("Space")
    expect(projects).to_contain_text(f"{name} again")
    found = fetched(admin, "/organization/projects", include_archived=True, limit=100)["data"]
    assert [each["status"] for each in found if each["name"] == f"{name} again"] == ["archived"]


def test_the_audit_log_is_filtered_opened_and_verified(page: Page, organized: Everloom, admin: httpx.Client) -> None:
    at(page, organized, "#/audit", "Audit log")
    events = page.get_by_role("table", name="Events")
    expect(events).to_contain_text("project.created")
    press(page, "button", re.compile("^Verify$"))
    expect(page.get_by_text(re.compile(r"^\d+ events are what was written\.$"))).to_be_visible()
    sound(page, "audit")
    page.get_by_role("combobox", name="What", exact=True).select_option("service_account.created")
    expect(events).not_to_contain_text("project.created")
    expect(events).to_contain_text("service_account.created")
    summary = page.get_by_label("Details of service_account.created").first
    summary.press("Enter")
    expect(events.locator("pre").first).to_contain_text('"type": "service_account.created"')
    sound(page, "audit-details")
    assert fetched(admin, "/organization/audit_logs/verification")["faults_total"] == 0


def test_first_steps_say_what_is_on_and_what_turns_the_rest_on(page: Page, organized: Everloom) -> None:
    at(page, organized, "#/first-steps", "First steps")
    expect(page.get_by_text("database", exact=True)).to_be_visible()
    findings = page.locator(".finding")
    expect(findings.filter(has_text="everloom.db")).to_contain_text("Good")
    expect(page.get_by_text("Looked at")).to_be_visible()
    sound(page, "first-steps")
    press(page, "button", "Look again")
    expect(page.get_by_role("button", name="Look again")).to_be_enabled()


def test_first_steps_without_an_admin_key_tell_the_command(page: Page, organized: Everloom, tmp_path: Path) -> None:
    at(page, organized, "#/first-steps", "First steps", admin_key="")
    expect(page.get_by_text("everloom doctor")).to_be_visible()
    expect(page.locator(".finding")).to_have_count(0)
    assert str(organized.data) not in page.content()
    sound(page, "first-steps-locked")


def test_what_others_have_named_is_shown_as_text(page: Page, organized: Everloom, admin: httpx.Client) -> None:
    hostile: list[Any] = fetched(admin, "/organization/projects", limit=100)["data"]
    (project,) = [each for each in hostile if each["name"] == HOSTILE]
    sign_in(page, organized)
    for path, table in (("/keys", "Keys"), ("/members?view=projects", "People"), ("/limits", "Budgets")):
        mark = "&" if "?" in path else "?"
        page.evaluate("(address) => { location.hash = address }", f"#{path}{mark}project={project['id']}")
        expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[path.partition("?")[0]])
        expect(page.get_by_role("table", name=table).or_(page.get_by_text("Nobody yet.")).first).to_be_visible()
        assert page.locator("img[src=x]").count() == 0
        sound(page, f"hostile-{table.lower()}")
