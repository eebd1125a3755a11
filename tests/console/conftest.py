"""A browser before a real server, and a page in it that no fault is forgiven."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import chromium
from tests.conftest import WEIGHTS
from tests.console.watching import PATIENCE_MS, Watch
from tests.fine_tuning import let_be_tuned
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as client_of

WIDTHS = (360, 1440)
"""A phone's and a desk's."""

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser, for one file of tests: beside it no event loop can run in this thread."""
    with chromium() as found:
        yield found


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """An empty page as wide as a phone, and as a desk's screen. The test fails where anything has gone wrong in it:
    an error in its console, one that nobody caught, a request that failed or was refused, a breach of its policy.
    """
    context = browser.new_context(
        viewport={"width": request.param, "height": 800},
        reduced_motion="reduce",  # Nobody looks at a colour halfway to another.
        permissions=["clipboard-read", "clipboard-write"],
        timezone_id="UTC",
        locale="en-GB",
    )
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    opened.on("filechooser", lambda _: None)  # Or the first of them might be the system's own.
    opened.watch = watch = Watch(opened)  # type: ignore[attr-defined]  # For the fixture below.
    try:
        yield opened
    finally:
        context.close()
    assert watch.faults() == []


@pytest.fixture
def watch(page: Page) -> Watch:
    """What goes wrong in the page, for tests that have something refused on purpose."""
    found: Watch = page.watch  # type: ignore[attr-defined]  # As above.
    return found


@pytest.fixture(scope="module")
def own_server(_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server that nobody has put anything into but the tests of one file."""
    folder = let_be_tuned(tmp_path_factory.mktemp("own"), _upstream.url)
    with Everloom(folder, upstream=_upstream.url, embedding_model="scripted", weights=WEIGHTS) as server:
        yield server


@pytest.fixture
def admin_http(server: Everloom) -> Iterator[httpx.Client]:
    """A plain HTTP client with the organization's key, beside ``http`` with a project's."""
    with client_of(server, key=ADMIN_KEY) as client:
        yield client
