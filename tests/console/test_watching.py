"""The tests of pages fail for what they are to fail for, and the console can be entered by keyboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from everloom.api.console import console_routes
from everloom.models.registry import Models
from tests.console.watching import Watch, axe, fits, picture, sign_in, tab_to
from tests.servers import Everloom
from tests.serving import Serving

HEAD = '<!doctype html><html lang="en"><title>A page</title><link rel="icon" href="icon.svg">'
PAGES = {
    "index.html": f"{HEAD}<h1>Nothing wrong</h1><p><a href='index.html'>Here</a></p><script src='app.js'></script>",
    "app.js": "fetch('app.js').then((answer) => answer.text())",
    "icon.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
    "says.html": f"{HEAD}<script src='says.js'></script>",
    "says.js": "console.error('a fault was told')",
    "throws.html": f"{HEAD}<script src='throws.js'></script>",
    "throws.js": "Promise.reject(new Error('nobody caught this'))",
    "misses.html": f"{HEAD}<script src='misses.js'></script>",
    "misses.js": "fetch('nothing.js')",
    "elsewhere.html": f"{HEAD}<img src='http://127.0.0.2:9/x.png' alt=''>",
    "inline.html": f"{HEAD}<script>document.title = 'run'</script><p style='color: red'>Hello</p>",
    "barrier.html": f"{HEAD}<h1>A</h1><button></button><p><img src='icon.svg'></p>",
    "wide.html": f"{HEAD}<link rel='stylesheet' href='wide.css'><div id='wide'>Wide</div>",
    "wide.css": "#wide { width: 2000px }",
}
FAULTS = {
    "says.html": "a fault was told",
    "throws.html": "uncaught: nobody caught this",
    "misses.html": "refused: GET 404 /console/nothing.js",
    "elsewhere.html": "Content Security Policy",
    "inline.html": "Content Security Policy",
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of some pages, under the console's own policy."""
    folder = tmp_path_factory.mktemp("pages")
    for name, text in PAGES.items():
        (folder / name).write_text(text, encoding="utf-8")
    with Serving(tmp_path_factory.mktemp("serving"), Models(()), console_routes(folder)) as serving:
        yield serving.url.removesuffix("/v1") + "/console/"


def test_a_page_without_faults_passes(page: Page, watch: Watch, pages: str) -> None:
    page.goto(pages, wait_until="networkidle")
    axe(page)
    fits(page)
    assert watch.faults() == []


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_seen_unless_they_are_allowed(browser: Browser, pages: str, name: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        watch = Watch(page)
        page.goto(pages + name, wait_until="networkidle")
        assert [fault for fault in watch.faults() if FAULTS[name] in fault], watch.faults()
        assert page.title() == "A page"
        watch.allow(".*")
        assert watch.faults() == []


def test_barriers_and_pages_beside_the_screen_are_seen(page: Page, pages: str) -> None:
    page.goto(pages + "barrier.html")
    with pytest.raises(AssertionError, match=r"(?s)critical: button-name.*critical: image-alt"):
        axe(page)
    page.goto(pages + "wide.html")
    with pytest.raises(AssertionError, match='id="wide"'):
        fits(page)


def test_the_console_is_entered_by_keyboard(page: Page, server: Everloom) -> None:
    page.goto(server.url.removesuffix("/v1"))
    page.locator("input[type=password]").first.wait_for()
    axe(page)
    fits(page)
    picture(page, "key")
    sign_in(page, server, at="#/files")
    expect(page.get_by_role("heading", level=1)).to_have_text("Files")
    axe(page)
    fits(page)


def test_a_picture_is_kept_where_a_folder_is_named(
    page: Page, pages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.goto(pages)
    monkeypatch.delenv("EVERLOOM_TEST_PICTURES", raising=False)
    picture(page, "none")
    monkeypatch.setenv("EVERLOOM_TEST_PICTURES", str(tmp_path / "kept"))
    picture(page, "some")
    assert [file.name for file in tmp_path.rglob("*.png")] == [f"some-{page.viewport_size['width']}.png"]  # type: ignore[index]


def test_tab_comes_to_a_control_or_the_test_fails(page: Page, pages: str) -> None:
    page.goto(pages)
    tab_to(page, "link", "Here")
    page.keyboard.press("Enter")
    page.wait_for_url(pages + "index.html")
