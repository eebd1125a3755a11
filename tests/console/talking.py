"""What tests of conversations in the console do again and again, by keyboard as anybody could."""

from typing import Any

import httpx
from playwright.sync_api import Page, expect

from tests.builders import posted
from tests.console.watching import tab_to

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> \u202eturned round\u202c &amp; **not `closed"
"""A text that is markup, and turns the direction of what follows it."""


def made(http: httpx.Client, path: str, **body: Any) -> Any:
    """What the API has made."""
    return posted(http, path, body)


def uploaded(http: httpx.Client, name: str, content: bytes, purpose: str = "assistants") -> str:
    """The id of a file that has been uploaded."""
    answer = http.post("/files", data={"purpose": purpose}, files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    id: str = answer.json()["id"]
    return id


def narrow(page: Page) -> bool:
    """Whether the page is a phone's, where one view is shown at a time."""
    assert page.viewport_size is not None
    return page.viewport_size["width"] < 1100


def view(page: Page, name: str) -> None:
    """Come to a tab by keyboard: Tab leads to the one that is open, arrows from there."""
    tabs = page.get_by_role("tab")
    expect(page.get_by_role("tab", selected=True).first).to_be_visible()
    tab_to(page, "tab", str(page.get_by_role("tab", selected=True).first.inner_text()))
    for _ in range(tabs.count()):
        if page.get_by_role("tab", name=name, exact=True).get_attribute("aria-selected") == "true":
            return
        page.keyboard.press("ArrowRight")
    raise AssertionError(f"arrows do not come to the tab {name!r}")


def talk(page: Page) -> None:
    """Have the conversation before one, on a phone too."""
    if narrow(page):
        view(page, "Talk")


def say(page: Page, text: str) -> None:
    """Write a message and send it, by keyboard."""
    talk(page)
    tab_to(page, "textbox", "Your message")
    expect(page.locator("#composer-why")).not_to_contain_text("no assistant")
    page.keyboard.insert_text(text)
    page.keyboard.press("Enter")


def rests(page: Page, state: str) -> None:
    """Wait until the run beside the conversation has come to this state."""
    view(page, "Run")
    expect(page.locator(".facts .status")).to_have_text(state)
