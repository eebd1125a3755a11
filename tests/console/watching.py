"""What is asked of every page of the console, whoever tests it: no fault, no barrier, nothing beside the screen."""

import os
import re
from pathlib import Path

from playwright.sync_api import Locator, Page, Request, Response

from tests.proxies import Proxy
from tests.servers import ADMIN_KEY, API_KEY, Everloom

PATIENCE_MS = 60_000.0
"""How long a browser waits for what is to come."""

_AXE = Path(__file__).parent / "vendor" / "axe.min.js"
_ABORTED = "net::ERR_ABORTED"
"""What the page itself has given up: a stream that nobody reads any more, a list of a page that was left."""


class Watch:
    """All that goes wrong in a page while it is used. What a test has it refused on purpose it says by ``allow``."""

    def __init__(self, page: Page) -> None:
        self._faults: list[str] = []
        self._allowed: list[str] = []
        page.on("console", lambda said: said.type == "error" and self._note(f"{said.text} ({said.location['url']})"))
        page.on("pageerror", lambda error: self._note(f"uncaught: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def allow(self, pattern: str) -> None:
        """Let faults that have this in them pass: ``401 /v1/models``, say, where the page is given a wrong key."""
        self._allowed.append(pattern)

    def faults(self) -> list[str]:
        """What has gone wrong and was not allowed."""
        return [fault for fault in self._faults if not any(re.search(pattern, fault) for pattern in self._allowed)]

    def _note(self, fault: str) -> None:
        # The browser tells of each refused request a second time, in its console.
        if not fault.startswith("Failed to load resource: the server responded"):
            self._faults.append(fault)

    def _failed(self, request: Request) -> None:
        if request.failure != _ABORTED:
            self._note(f"no answer: {request.method} {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            path = re.sub(r"https?://[^/]+", "", response.url)
            self._note(f"refused: {response.request.method} {response.status} {path}")


def axe(page: Page) -> None:
    """Fail for what keeps people out, as axe-core finds it in the page as it stands: serious and critical findings."""
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(_AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    told = [
        f"{each['impact']}: {each['id']}: {each['help']}: {node['html'][:200]}: {node['failureSummary']}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
    assert told == [], "\n".join(told)


def fits(page: Page) -> None:
    """Fail where the page is wider than its window, so that it moves sideways, and name what is."""
    beside = page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            const wide = [...document.querySelectorAll('body *')].filter(
                (one) => one.getBoundingClientRect().right > width + 1);
            return wide.slice(0, 5).map((one) => one.outerHTML.slice(0, 200));
        }"""
    )
    assert beside == [], beside


def picture(page: Page, name: str) -> None:
    """Keep how the page looks in the folder that ``EVERLOOM_TEST_PICTURES`` names, if any: ``name-360.png``."""
    if folder := os.environ.get("EVERLOOM_TEST_PICTURES"):
        size = page.viewport_size
        assert size is not None
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.evaluate("scrollTo(0, 0)")
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": size["width"], "height": height})  # What is fixed fills it, too.
        page.screenshot(path=Path(folder) / f"{name}-{size['width']}.png")
        page.set_viewport_size(size)


def tab_to(page: Page, role: str, name: str | re.Pattern[str]) -> None:
    """Press Tab until the control with this role and name has the focus, as who has no pointer would; fails where it
    is not met in two hundred steps.
    """
    reach(page, page.get_by_role(role, name=name))  # type: ignore[arg-type]  # One of a hundred literals.


def reach(page: Page, wanted: Locator) -> None:
    """As ``tab_to``, to whatever is found so."""
    wanted.first.wait_for()
    for _ in range(200):
        page.keyboard.press("Tab")
        if any(one.evaluate("(one) => one === document.activeElement") for one in wanted.all()):
            return
    raise AssertionError(f"Tab does not come to {wanted}")


def sign_in(
    page: Page, server: Everloom | Proxy, *, key: str = API_KEY, admin_key: str = ADMIN_KEY, at: str = ""
) -> None:
    """Open the console and give it its keys, by keyboard alone; then go to the page ``at`` (``#/files``)."""
    page.goto(server.url.removesuffix("/v1") + "/console/")
    keys = page.locator("input[type=password]")
    keys.first.wait_for()
    for given, field in ((key, keys.nth(0)), (admin_key, keys.nth(1))):
        for _ in range(20):
            page.keyboard.press("Tab")
            if field.evaluate("(one) => one === document.activeElement"):
                break
        else:
            raise AssertionError("Tab does not come to the fields of the keys")
        page.keyboard.type(given)
    page.keyboard.press("Enter")
    page.get_by_role("navigation", include_hidden=True).first.wait_for(state="attached")
    if at:
        page.evaluate("(address) => { location.hash = address }", at)
