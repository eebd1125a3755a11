"""The README's pictures: a house's guide that searches its handbook and computes, as who uses the console sees it.

``EVERLOOM_TEST_PICTURES=docs/pictures pytest tests/console/test_pictures.py`` takes them anew.
"""

import re
import shutil

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.console.talking import made, rests, say, uploaded
from tests.console.watching import axe, picture, sign_in
from tests.replies import Calls, Json, Reply, Says, text_of
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.stores import ready

HANDBOOK = """# The handbook

## Breakfast

On weekdays breakfast is from 7 to 10. On Sundays it is from 8 to 11, in the garden room.

## Prices

A room is 84.50 a night. Who stays three nights or longer pays a tenth less.

## Keys

The key box stands beside the kitchen door.
"""
CODE = "nights, price = 3, 84.50\ntotal = nights * price * 0.9\nprint(f'{total:.2f}')"


def guide(body: Json) -> Reply:
    """Search, then compute, then say both with the mark of what was found."""
    told = [text_of(message) for message in body["messages"] if message["role"] == "tool"]
    if not told:
        return Calls(("file_search", {"query": "breakfast on Sundays and the price of three nights"}))
    marks = re.findall("【[^】]+】", told[0])
    if len(told) == 1:
        return Calls(("code_interpreter", {"input": CODE}))
    return Says(
        f"On Sundays **breakfast is from 8 to 11**, in the garden room{marks[0]}. Three nights are {told[1].strip()}: "
        "who stays three nights or longer pays a tenth less."
    )


@pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bubblewrap here")
@pytest.mark.parametrize("page", [1440], indirect=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_guide_of_the_house(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream, scheme: str
) -> None:
    upstream.rule(guide)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # One of its two words.
    file = uploaded(http, "handbook.md", HANDBOOK.encode())
    store = ready(http, made(http, "/vector_stores", name="The house", file_ids=[file]))
    assistant = made(
        http,
        "/assistants",
        model="gpt-4o",
        name="Guide of the house",
        instructions="Answer guests from the handbook, and compute what they ask for.",
        tools=[{"type": "file_search"}, {"type": "code_interpreter"}],
        tool_resources={"file_search": {"vector_store_ids": [store["id"]]}},
    )
    sign_in(page, server, at=f"#/playground?assistant={assistant['id']}")
    say(page, "When is breakfast on Sundays, and what do three nights cost?")
    expect(page.locator(".message-assistant")).to_contain_text("Three nights are 228.15")
    rests(page, "completed")
    expect(page.locator(".step")).to_have_count(3)
    expect(page.locator(".message-assistant")).to_contain_text("handbook.md")
    axe(page)
    picture(page, f"playground-{scheme}")
