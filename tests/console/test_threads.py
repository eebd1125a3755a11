"""Threads, runs and assistants in the console: found, read, followed while they go on, changed and deleted."""

import json
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.builders import fetched
from tests.console.talking import HOSTILE, made, uploaded, view
from tests.console.watching import Watch, axe, fits, picture, sign_in, tab_to
from tests.pictures import png
from tests.scripted import Calls, Hangs, Says, ScriptedUpstream
from tests.servers import Everloom

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def begun(http: httpx.Client, thread: str, **assistant: object) -> str:
    """The id of a run that has been begun on a thread."""
    id = made(http, "/assistants", model="gpt-4o", name="Innkeeper", **assistant)["id"]
    run: str = made(http, f"/threads/{thread}/runs", assistant_id=id)["id"]
    return run


def ended(http: httpx.Client, thread: str, run: str) -> str:
    """The state in which a run comes to rest."""
    path = f"/threads/{thread}/runs/{run}"
    while (status := fetched(http, path, wait=30)["status"]) in ("queued", "in_progress", "cancelling"):
        pass
    return str(status)


def test_threads_are_found_by_metadata_state_and_time(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    tag = f"guest-{page.viewport_size['width'] if page.viewport_size else 0}"
    asked = [{"role": "user", "content": "Which room is mine?"}]
    answered = made(http, "/threads", metadata={"who": tag, "team": "red"}, messages=asked)["id"]
    asked = [{"role": "user", "content": "Is there breakfast?"}]
    quiet = made(http, "/threads", metadata={"who": tag}, messages=asked)["id"]
    assert ended(http, answered, begun(http, answered)) == "completed"

    sign_in(page, server, at="#/threads")
    tab_to(page, "textbox", "Metadata")
    page.keyboard.insert_text(f"who={tag}")
    page.keyboard.press("Enter")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("Is there breakfast?")
    expect(rows.nth(1)).to_contain_text("Which room is mine?")
    axe(page)
    fits(page)
    picture(page, "threads")
    tab_to(page, "combobox", "Last run")
    page.keyboard.type("comp")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile(r"metadata=who%3Dguest-\d+&status=completed"))
    page.reload()
    expect(rows).to_have_count(1)
    tab_to(page, "link", "Which room is mine?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.locator(".message")).to_have_count(2)
    page.go_back()
    expect(rows).to_have_count(1)
    page.evaluate("(address) => { location.hash = address }", f"#/threads?metadata=who%3D{tag}&to=2000-01-01")
    expect(page.get_by_text("No thread among those looked at fits.")).to_be_visible()
    page.evaluate("(address) => { location.hash = address }", f"#/threads?metadata=who%3D{tag}&from=2000-01-01")
    expect(rows).to_have_count(2)
    tab_to(page, "textbox", "Go to a thread")
    page.keyboard.insert_text(quiet)
    page.keyboard.press("Enter")
    expect(page.locator(".message")).to_have_count(1)


def test_a_thread_is_a_conversation_with_pictures(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    image = uploaded(http, "red.png", png(), purpose="vision")
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_file", "image_file": {"file_id": image}}]
    thread = made(http, "/threads", messages=[{"role": "user", "content": content}], metadata={"room": "7"})["id"]
    run = begun(http, thread)
    assert ended(http, thread, run) == "completed"
    sign_in(page, server, at=f"#/threads/{thread}")
    expect(page.locator(".message-user img")).to_be_visible()
    expect(page.locator(".message-assistant")).to_contain_text("You said: What is this?")
    expect(page.locator(".message-assistant strong").first).to_have_text("Innkeeper")
    axe(page)
    fits(page)
    picture(page, "thread")
    tab_to(page, "button", "Enlarge the picture red.png")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").locator("img")).to_be_visible()
    axe(page)
    page.keyboard.press("Escape")
    view(page, "Runs")
    expect(page.locator("tbody tr")).to_have_count(1)
    axe(page)
    fits(page)
    tab_to(page, "link", run)
    page.keyboard.press("Enter")
    expect(page.locator(".facts .status")).to_have_text("completed")


def test_a_run_is_looked_at_again_event_by_event(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Says("one two three four"))
    thread = made(http, "/threads", messages=[{"role": "user", "content": "Count"}])["id"]
    run = begun(http, thread)
    assert ended(http, thread, run) == "completed"
    sign_in(page, server, at=f"#/threads/{thread}/runs/{run}")
    expect(page.locator(".step .prose")).to_have_text("one two three four")
    expect(page.locator(".facts")).to_contain_text("completed")
    axe(page)
    fits(page)
    picture(page, "run")
    tab_to(page, "slider", re.compile("event by event"))
    page.keyboard.press("Home")
    expect(page.locator(".facts .status")).to_have_text("queued")
    expect(page.locator(".step .prose")).to_have_count(0)
    page.keyboard.press("End")
    expect(page.locator(".step .prose")).to_have_text("one two three four")
    view(page, "Sent to the model")
    expect(page.locator(".said-user")).to_contain_text("Count")
    axe(page)
    view(page, "The run itself")
    expect(page.locator("pre")).to_contain_text(f'"id": "{run}"')


def test_what_did_not_go_to_the_model_is_told(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    messages = [{"role": "user", "content": f"Number {n}"} for n in range(4)]
    thread = made(http, "/threads", messages=messages)["id"]
    assistant = made(http, "/assistants", model="gpt-4o")["id"]
    cut = {"type": "last_messages", "last_messages": 2}
    run = made(http, f"/threads/{thread}/runs", assistant_id=assistant, truncation_strategy=cut)["id"]
    assert ended(http, thread, run) == "completed"
    sign_in(page, server, at=f"#/threads/{thread}/runs/{run}?view=sent")
    expect(page.locator(".said")).to_have_count(2)
    expect(page.locator(".request .note")).to_contain_text("Earlier messages of the thread were left out.")
    axe(page)
    fits(page)
    picture(page, "run-sent")
    tab_to(page, "link", "the thread")
    page.keyboard.press("Enter")
    expect(page.locator(".message-user")).to_have_count(4)


def test_a_run_is_followed_while_it_goes_on_and_stopped(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Hangs(4))
    thread = made(http, "/threads", messages=[{"role": "user", "content": "Count"}])["id"]
    run = begun(http, thread)
    sign_in(page, server, at=f"#/threads/{thread}/runs/{run}")
    expect(page.locator(".step .prose")).to_contain_text("one two three")
    expect(page.locator(".facts .status")).to_have_text("in progress")
    tab_to(page, "button", "Stop the run")
    page.keyboard.press("Enter")
    expect(page.locator(".facts .status")).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Stop the run")).to_have_count(0)


def test_a_run_that_waits_goes_on_whoever_answers(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Calls(("get_weather", {"city": "Oslo"})), Calls(("get_weather", {"city": "Bergen"})), Says("Rain."))
    thread = made(http, "/threads", messages=[{"role": "user", "content": "Weather?"}])["id"]
    run = begun(http, thread, tools=[WEATHER])
    sign_in(page, server, at=f"#/threads/{thread}/runs/{run}")
    expect(page.locator(".answers")).to_contain_text("Oslo")
    call = fetched(http, f"/threads/{thread}/runs/{run}")["required_action"]["submit_tool_outputs"]["tool_calls"][0][
        "id"
    ]
    outputs = [{"tool_call_id": call, "output": "snow"}]
    made(http, f"/threads/{thread}/runs/{run}/submit_tool_outputs", tool_outputs=outputs)
    expect(page.locator(".answers")).to_contain_text("Bergen")
    tab_to(page, "textbox", "Output of get_weather")
    page.keyboard.insert_text("rain")
    tab_to(page, "button", "Send the output")
    page.keyboard.press("Enter")
    expect(page.locator(".step .prose")).to_have_text("Rain.")
    expect(page.locator(".facts .status")).to_have_text("completed")


def test_a_thread_is_deleted_after_a_question(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    thread = made(http, "/threads")["id"]
    sign_in(page, server, at=f"#/threads/{thread}")
    expect(page.get_by_text("Nothing was said in this thread yet.")).to_be_visible()
    tab_to(page, "button", "Delete")
    page.keyboard.press("Enter")
    axe(page)
    tab_to(page, "button", "Keep it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Delete", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "button", "Delete it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Threads and runs")
    assert http.get(f"/threads/{thread}").status_code == 404


@pytest.mark.parametrize(
    "address", ["#/threads/thread_none", "#/threads/thread_none/runs/run_none", "#/assistants/asst_none"]
)
def test_what_is_not_there_says_so(page: Page, server: Everloom, watch: Watch, address: str) -> None:
    watch.allow("refused: GET 404 ")
    sign_in(page, server, at=address)
    expect(page.get_by_role("alert").first).to_contain_text("found with id")
    axe(page)
    fits(page)


def test_hostile_threads_are_texts(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    metadata = {"<b>key</b>": HOSTILE, "of": f"hostile-{page.viewport_size}"}
    messages = [{"role": "user", "content": HOSTILE}, {"role": "user", "content": "y" * 200_000}]
    thread = made(http, "/threads", metadata=metadata, messages=messages)["id"]
    sign_in(page, server, at="#/threads")
    row = page.get_by_role("row").filter(has_text="alert(1)").first
    expect(row).to_contain_text("<img src=x")
    axe(page)
    fits(page)
    picture(page, "threads-hostile")
    page.evaluate("(address) => { location.hash = address }", f"#/threads/{thread}")
    expect(page.locator(".message .prose").first).to_have_text(HOSTILE)
    expect(page.get_by_role("button", name="Show all 200,000 characters")).to_be_visible()
    axe(page)
    fits(page)
    assert page.locator("main img").count() == 0


def test_assistants_are_listed_changed_and_deleted(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    name = f"{HOSTILE} {page.viewport_size}"
    id = made(http, "/assistants", model="gpt-4o", name=name, tools=[WEATHER])["id"]
    sign_in(page, server, at="#/assistants")
    expect(page.get_by_role("row").filter(has_text="alert(1)").first).to_contain_text("1 function")
    axe(page)
    fits(page)
    picture(page, "assistants")
    tab_to(page, "link", name)
    page.keyboard.press("Enter")
    tab_to(page, "textbox", "Instructions")
    page.keyboard.insert_text("Be brief.")
    axe(page)
    fits(page)
    picture(page, "assistant")
    tab_to(page, "button", re.compile("get_weather"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    tab_to(page, "textbox", "Definition")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("no JSON")
    tab_to(page, "button", "Keep the function")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("This is no JSON")
    axe(page)
    tab_to(page, "textbox", "Definition")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text('{"name": "get_tide", "parameters": {"type": "object", "properties": {}}}')
    tab_to(page, "button", "Keep the function")
    page.keyboard.press("Enter")
    tab_to(page, "button", "Save")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing to save.")).to_be_visible()
    kept = fetched(http, f"/assistants/{id}")
    assert (kept["name"], kept["instructions"]) == (name, "Be brief.")
    assert [tool["function"]["name"] for tool in kept["tools"]] == ["get_tide"]
    tab_to(page, "button", "Delete")
    page.keyboard.press("Enter")
    tab_to(page, "button", "Delete it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Assistants")
    assert http.get(f"/assistants/{id}").status_code == 404


def test_a_run_that_was_imported_is_shown_as_it_ended(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    thread = made(http, "/threads", messages=[{"role": "user", "content": "Count"}])["id"]
    run = begun(http, thread)
    assert ended(http, thread, run) == "completed"
    lists = [f"/threads/{thread}/messages", f"/threads/{thread}/runs", f"/threads/{thread}/runs/{run}/steps"]
    records = [fetched(http, f"/threads/{thread}"), *(one for path in lists for one in fetched(http, path)["data"])]
    text = json.dumps(records)
    for id in re.findall(r'"id": "([a-z]+_\w+)"', text):  # As if of elsewhere: nothing stands under these.
        text = text.replace(id, f"{id}_of_{page.viewport_size['width'] if page.viewport_size else 0}")
    (tmp_path / "saved.json").write_text(text)
    server.command("import", str(tmp_path / "saved.json"))
    imported = next(one for one in json.loads(text) if one["object"] == "thread.run")
    sign_in(page, server, at=f"#/threads/{imported['thread_id']}/runs/{imported['id']}")
    expect(page.locator(".step .prose")).to_have_text("You said: Count")
    expect(page.locator(".facts .status")).to_have_text("completed")
    expect(page.get_by_role("slider")).to_have_count(0)
    view(page, "Sent to the model")
    expect(page.get_by_text("No answer of a model is kept of this run.")).to_be_visible()
    axe(page)
