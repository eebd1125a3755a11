"""What comes of links that strangers have written, and of servers that go away for longer than a moment."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.builders import fetched
from tests.console.talking import made, rests, say, view
from tests.console.test_playground import WEATHER, at, thread_of
from tests.console.watching import Watch, axe, fits, sign_in
from tests.proxies import default_nginx
from tests.scripted import Calls, Fails, Says, ScriptedUpstream
from tests.servers import Everloom

MOST_TRIES = 12
"""More than are made in the first minute that a server is away."""


@pytest.mark.parametrize(
    "address",
    [
        "#/playground?thread=..",
        f"#/playground?thread={quote('../assistants?limit=1&', safe='')}",
        "#/batches/..",
        f"#/files?x={quote('../..', safe='')}",
        "#/threads/%2e%2e/runs/..",
        "#/vector-stores/..",
        "#/keys?project=..",
    ],
)
def test_no_link_leads_the_key_out_of_its_place(page: Page, server: Everloom, watch: Watch, address: str) -> None:
    watch.allow("refused: GET 40[04]")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, server, at=address)
    expect(page.locator("#title")).to_be_visible()
    expect(page.locator(".loading")).to_have_count(0)
    own = [url.removeprefix(server.url) for url in asked if url.startswith(server.url)]
    assert own, asked
    kinds = ("/models", "/assistants", "/threads/", "/batches", "/files", "/vector_stores", "/organization/projects")
    assert [url for url in own if not url.startswith(kinds)] == []
    assert [url for url in own if "limit=1&" in url] == []
    axe(page)
    fits(page)


def test_the_code_that_is_copied_holds_no_command_of_a_link(
    page: Page, server: Everloom, http: httpx.Client, watch: Watch
) -> None:
    watch.allow("refused: GET 400 /v1/threads/")
    thread = quote("x';reboot;'$(reboot)", safe="")
    sign_in(page, server, at=f"{at(http)}&thread={thread}")
    view(page, "Code")
    code = page.locator(".as-code pre")
    expect(code).to_contain_text("curl -N 'http")
    first = code.inner_text().split("\n")[0]
    assert first == f"curl -N '{server.url}/threads/x'\\''%3Breboot%3B'\\''%24(reboot)/runs' \\"


@pytest.mark.parametrize("key", ["sk-proj-…", "sk-proj-\u00e9", "sk-proj-one two"])
def test_a_key_that_no_header_takes_is_told_as_none(page: Page, server: Everloom, key: str) -> None:
    page.goto(server.url.removesuffix("/v1") + "/console/")
    page.locator("input[type=password]").first.fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("API key: This is no key: it holds characters that no key has.")
    axe(page)
    fits(page)


def test_an_error_that_is_a_book_is_cut(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Fails(400, {"error": {"message": "m" * 20_000, "type": "invalid_request_error"}}))
    sign_in(page, server, at=at(http))
    say(page, "Hello")
    told = page.get_by_role("alert").first
    expect(told).to_contain_text("mmm")
    assert len(told.inner_text()) < 2_000
    told.get_by_role("button", name="Show all").press("Enter")
    expect(told).to_contain_text("m" * 5_000)
    axe(page)
    fits(page)


@pytest.fixture
def away(page: Page) -> Iterator[list[str]]:
    """Have the server away for whoever follows a run: what was asked in vain. ``clear`` it to have the server back."""
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.abort("connectionrefused")

    page.clock.install()
    page.route("**/events", refuse)
    page.route("**/runs/*?wait=*", refuse)
    yield asked
    page.unroute_all(behavior="ignoreErrors")


def wait_out(page: Page, away: list[str]) -> None:
    """Have the page try in vain until much more than a minute has gone by on its clock."""
    while len(away) < MOST_TRIES:
        tries = len(away)
        page.clock.fast_forward(10_000)
        page.wait_for_function("() => true")
        if len(away) == tries:
            page.wait_for_event("requestfailed")


def test_a_run_is_followed_on_however_long_its_server_was_away(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream, watch: Watch, away: list[str]
) -> None:
    def cut(route: Route) -> None:
        answer = route.fetch()
        whole = answer.text()
        route.fulfill(response=answer, body=whole[: whole.index("thread.message.delta") + 200])

    watch.allow("connectionrefused|CONNECTION_REFUSED")
    upstream.script(Says("It is there again."))
    sign_in(page, server, at=at(http))
    page.route("**/v1/threads/runs*", cut)
    say(page, "Hello")
    wait_out(page, away)
    expect(page.get_by_role("alert")).to_contain_text("asked again until it answers")
    expect(page.locator(".message-assistant")).not_to_contain_text("there again")
    axe(page)
    page.unroute_all()
    page.clock.fast_forward(10_000)
    expect(page.locator(".message-assistant .prose")).to_have_text("It is there again.")
    expect(page.get_by_role("alert")).to_have_count(0)
    rests(page, "completed")


def test_a_run_that_waits_is_watched_however_long_its_server_was_away(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream, watch: Watch, away: list[str]
) -> None:
    watch.allow("connectionrefused|CONNECTION_REFUSED")
    upstream.script(Calls(("get_weather", {"city": "Oslo"})), Says("It snows."))
    sign_in(page, server, at=at(http, tools=[WEATHER]))
    say(page, "How is the weather?")
    expect(page.locator(".answers")).to_be_visible()
    wait_out(page, away)
    run: Any = fetched(http, f"/threads/{thread_of(page)}/runs")["data"][0]
    call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    made(http, path, tool_outputs=[{"tool_call_id": call, "output": "snow"}])
    page.unroute_all()
    page.clock.fast_forward(10_000)
    expect(page.locator(".message-assistant")).to_contain_text("It snows.")
    rests(page, "completed")


def test_the_console_is_whole_below_a_path_of_a_proxy(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """The server knows nothing of the path: what the page loads, asks and says of itself must."""
    upstream.script(Says("It is fine."))
    with default_nginx(server.url, tmp_path, "/tools/loom/") as proxy:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(proxy.url.removesuffix("v1"))
        expect(page).to_have_url(re.compile(re.escape(f"{proxy.url.removesuffix('v1')}console/")))
        sign_in(page, proxy, at=at(http))
        say(page, "How is it?")
        rests(page, "completed")
        expect(page.get_by_text("It is fine.").first).to_be_visible()
        view(page, "Code")
        expect(page.locator(".as-code pre")).to_contain_text(f"curl -N '{proxy.url}/threads/")
        page.evaluate("() => { location.hash = '#/first-steps' }")
        expect(page.locator(".loading")).to_have_count(0)
        page.reload()
        expect(page.locator("#title")).to_be_visible()
        page.goto("about:blank")
    assert [url for url in asked if not url.startswith((proxy.url.removesuffix("v1"), "about:", "blob:"))] == []
