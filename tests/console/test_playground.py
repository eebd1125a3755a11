"""The playground, by keyboard: assistants are made and talked with, and their runs build up beside it."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.builders import fetched
from tests.console.talking import HOSTILE, made, narrow, rests, say, talk, uploaded, view
from tests.console.watching import Watch, axe, fits, picture, sign_in, tab_to
from tests.pictures import png
from tests.scripted import Calls, Fails, Hangs, Says, ScriptedUpstream
from tests.servers import API_KEY, Everloom

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def at(http: httpx.Client, **more: Any) -> str:
    """The playground's address with an assistant that has been made for the test."""
    assistant = made(http, "/assistants", **{"model": "gpt-4o", "name": "Innkeeper"} | more)
    return f"#/playground?assistant={assistant['id']}"


def thread_of(page: Page) -> str:
    expect(page).to_have_url(re.compile("thread=thread_"))
    found = re.search(r"thread=(thread_\w+)", page.url)
    assert found, page.url
    return found[1]


def test_an_assistant_is_made_and_answers(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Says("The key is under the mat."))
    sign_in(page, server, at="#/playground?new=1")
    view(page, "Assistant")
    tab_to(page, "textbox", "Name")
    page.keyboard.insert_text("Concierge")
    tab_to(page, "combobox", "Model")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("gpt-4o")
    tab_to(page, "textbox", "Instructions")
    page.keyboard.insert_text("Answer shortly.")
    axe(page)
    fits(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # File search
    tab_to(page, "button", "Create the assistant")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_visible()

    say(page, "Where is the key?")
    expect(page.locator(".message-assistant")).to_contain_text("The key is under the mat.")
    axe(page)
    fits(page)
    picture(page, "playground-talk")
    rests(page, "completed")
    expect(page.locator(".step")).to_have_count(1)
    axe(page)
    fits(page)
    picture(page, "playground-run")

    run = fetched(http, f"/threads/{thread_of(page)}/runs")["data"][0]
    assistant = fetched(http, f"/assistants/{run['assistant_id']}")
    assert (assistant["name"], assistant["instructions"]) == ("Concierge", "Answer shortly.")
    assert [tool["type"] for tool in assistant["tools"]] == ["file_search"]
    assert API_KEY not in page.url


def test_what_was_sent_is_shown(page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Says("Good morning."), Says("And to you."))
    sign_in(page, server, at=at(http, instructions="You are kind."))
    say(page, "Hello there")
    expect(page.locator(".message-assistant")).to_have_count(1)
    rests(page, "completed")
    say(page, "Hello again")
    expect(page.locator(".message-assistant")).to_have_count(2)
    rests(page, "completed")
    view(page, "Sent")
    expect(page.locator(".request")).to_have_count(1)
    shown = [text.split("\n")[-1] for text in page.locator(".said").all_inner_texts()]
    assert shown == ["You are kind.", "Hello there", "Good morning.", "Hello again"]
    assert len(upstream.requests[-1].body["messages"]) == 4
    axe(page)
    fits(page)
    picture(page, "playground-sent")


def test_a_call_is_answered_by_hand(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Calls(("get_weather", {"city": "Oslo"})), Says("It rains."))
    sign_in(page, server, at=at(http, tools=[WEATHER]))
    say(page, "How is the weather?")
    expect(page.get_by_role("textbox", name="Output of get_weather")).to_be_focused()
    expect(page.locator(".answers")).to_contain_text('"city": "Oslo"')
    axe(page)
    fits(page)
    picture(page, "playground-call")
    page.keyboard.insert_text('{"sky": "grey"}')
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".message-assistant")).to_contain_text("It rains.")
    expect(page.get_by_role("textbox", name="Your message")).to_be_focused()
    rests(page, "completed")
    expect(page.locator(".call")).to_contain_text('"sky": "grey"')
    assert upstream.requests[-1].body["messages"][-1]["content"] == '{"sky": "grey"}'


def test_a_call_that_a_program_answers_goes_on_here(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Calls(("get_weather", {"city": "Oslo"})), Says("It snows."))
    sign_in(page, server, at=at(http, tools=[WEATHER]))
    say(page, "How is the weather?")
    expect(page.locator(".answers")).to_be_visible()
    run = fetched(http, f"/threads/{thread_of(page)}/runs")["data"][0]
    call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    made(http, path, tool_outputs=[{"tool_call_id": call, "output": "snow"}])
    expect(page.locator(".message-assistant")).to_contain_text("It snows.")
    rests(page, "completed")


def test_a_citation_opens_what_it_cites(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    file = uploaded(http, "handbook.md", b"The code of the key box is 8051.")
    store = made(http, "/vector_stores", name="Handbook", file_ids=[file])
    resources = {"file_search": {"vector_store_ids": [store["id"]]}}
    upstream.script(
        Calls(("file_search", {"query": "key box"})), Says("It is 8051 【1:0†source】, \U0001f511 as written.")
    )
    sign_in(page, server, at=at(http, tools=[{"type": "file_search"}], tool_resources=resources))
    say(page, "What is the code?")
    expect(page.locator(".message-assistant .sources")).to_contain_text("handbook.md")
    message = page.locator(".message-assistant")
    expect(message).to_contain_text("as written.")
    expect(message).not_to_contain_text("†source")
    tab_to(page, "button", "Citation 1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("handbook.md")
    axe(page)
    picture(page, "playground-citation")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(":focus")).to_have_attribute("aria-label", "Citation 1")
    rests(page, "completed")
    expect(page.locator(".found")).to_contain_text("The code of the key box is 8051.")
    axe(page)
    fits(page)


def test_files_go_with_a_message(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    (tmp_path / "notes.md").write_text("# Notes")
    (tmp_path / "red.png").write_bytes(png())
    (tmp_path / "odd.xyz").write_bytes(b"nobody knows")
    sign_in(page, server, at=at(http))
    talk(page)
    page.locator(".composer input[type=file]").set_input_files([tmp_path / "notes.md", tmp_path / "red.png"])
    expect(page.locator(".composer .chip")).to_have_count(2)
    expect(page.locator(".composer")).not_to_contain_text("uploading")
    axe(page)
    fits(page)
    say(page, "Look at these")
    expect(page.locator(".message-user img")).to_be_visible()
    expect(page.locator(".message-user .attachments")).to_contain_text("notes.md")
    rests(page, "completed")
    message = fetched(http, f"/threads/{thread_of(page)}/messages", order="asc")["data"][0]
    assert [part["type"] for part in message["content"]] == ["text", "image_file"]
    assert message["attachments"][0]["tools"] == [{"type": "file_search"}]


def test_changes_that_are_not_saved_go_with_the_run(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    address = at(http, instructions="You are kind.")
    sign_in(page, server, at=address)
    view(page, "Assistant")
    tab_to(page, "textbox", "Instructions")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("You are stern.")
    expect(page.get_by_text("Not saved.")).to_be_visible()
    view(page, "Code")
    expect(page.locator(".as-code")).to_contain_text("You are stern.")
    say(page, "Hello")
    rests(page, "completed")
    assert upstream.requests[-1].body["messages"][0]["content"] == "You are stern."
    assert fetched(http, f"/assistants/{address.split('=')[1]}")["instructions"] == "You are kind."


def test_the_request_as_code(page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    sign_in(page, server, at=at(http))
    talk(page)
    tab_to(page, "textbox", "Your message")
    page.keyboard.insert_text('It\'s "quoted"')
    view(page, "Code")
    code = page.locator(".as-code pre")
    expect(code).to_contain_text("$OPENAI_API_KEY")
    expect(code).to_contain_text(f"{server.url}/threads/runs")
    expect(code).to_contain_text("It'\\''s")
    for language in ("Python", "Node"):
        page.get_by_role("tab", name="curl" if language == "Python" else "Python").focus()
        page.keyboard.press("ArrowRight")
        expect(code).to_contain_text("create_and_run" if language == "Python" else "createAndRun")
        expect(code).to_contain_text(server.url)
        assert API_KEY not in code.inner_text()
        axe(page)
        fits(page)
    tab_to(page, "button", "Copy the code")
    page.keyboard.press("Enter")
    expect(page.locator("#announcements")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == code.inner_text()


def test_hostile_texts_are_texts(page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Says(HOSTILE), Calls(("get_weather", {"city": HOSTILE})), Says("x" * 200_000, chunks=20))
    sign_in(page, server, at=at(http, name=HOSTILE, tools=[WEATHER]))
    say(page, HOSTILE)
    expect(page.locator(".message-assistant .prose")).to_have_text(HOSTILE)
    expect(page.locator(".message-user .prose")).to_have_text(HOSTILE)
    expect(page.locator(".message-assistant strong").first).to_have_text(HOSTILE)
    axe(page)
    fits(page)
    picture(page, "playground-hostile")
    rests(page, "completed")
    say(page, "And once more")
    expect(page.locator(".answers")).to_contain_text("<script>")
    page.keyboard.insert_text(HOSTILE)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    whole = page.locator(".message-assistant").last.get_by_role("button", name="Show all 200,000 characters")
    expect(whole).to_be_visible()
    assert len(page.locator(".message-assistant .prose").last.inner_text()) < 5_000
    rests(page, "completed")
    talk(page)
    whole.press("Enter")
    expect(page.locator(".message-assistant .prose").last).to_have_text("x" * 200_000)
    fits(page)
    assert page.locator("main img").count() == 0


@pytest.mark.parametrize(
    "content", [b"no picture at all", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"]
)
def test_a_picture_that_is_none_says_so(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream, content: bytes
) -> None:
    file = uploaded(http, "broken.png", content, purpose="vision")
    parts = [{"type": "image_file", "image_file": {"file_id": file}}]
    parts.append({"type": "image_url", "image_url": {"url": "https://elsewhere.example/tracker.png"}})  # type: ignore[dict-item]
    thread = made(http, "/threads", messages=[{"role": "user", "content": parts}])
    sign_in(page, server, at=at(http) + f"&thread={thread['id']}")
    expect(page.locator(".message-user")).to_contain_text("broken.png cannot be shown")
    expect(page.locator(".message-user")).to_contain_text("https://elsewhere.example/tracker.png")
    axe(page)
    fits(page)


def test_a_run_is_stopped(page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Hangs(4))
    sign_in(page, server, at=at(http))
    say(page, "Count")
    expect(page.locator(".message-assistant")).to_contain_text("one two three")
    tab_to(page, "button", "Stop")
    page.keyboard.press("Enter")
    rests(page, "cancelled")
    talk(page)
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_failure_says_what_failed(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Fails(400, {"error": {"message": "No such thing.", "type": "invalid_request_error"}}))
    sign_in(page, server, at=at(http))
    say(page, "Hello")
    expect(page.get_by_role("alert").first).to_be_visible()
    rests(page, "failed")
    axe(page)


def test_a_stream_that_breaks_off_is_read_on(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    def cut(route: Route) -> None:
        answer = route.fetch()
        whole = answer.text()
        route.fulfill(response=answer, body=whole[: whole.index("thread.message.delta") + 200])

    upstream.script(Says("All of it arrives in the end."))
    sign_in(page, server, at=at(http))
    page.route("**/v1/threads/runs*", cut)
    say(page, "Hello")
    expect(page.locator(".message-assistant .prose")).to_have_text("All of it arrives in the end.")
    rests(page, "completed")


def test_a_refused_message_stays_in_its_field(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream, watch: Watch
) -> None:
    watch.allow("refused: POST 404 /v1/threads/runs")
    address = at(http)
    sign_in(page, server, at=address)
    talk(page)
    expect(page.locator("#composer-why")).not_to_contain_text("no assistant")
    http.delete(f"/assistants/{address.split('=')[1]}")
    say(page, "Do not lose me")
    expect(page.get_by_role("alert").first).to_contain_text("No assistant found")
    expect(page.get_by_role("textbox", name="Your message")).to_have_value("Do not lose me")


def test_a_conversation_is_opened_again(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Says("First."), Says("Second."))
    sign_in(page, server, at=at(http))
    say(page, "One")
    expect(page.locator(".message-assistant")).to_contain_text("First.")
    rests(page, "completed")
    page.reload()
    rests(page, "completed")
    say(page, "Two")
    expect(page.locator(".message-assistant").last).to_contain_text("Second.")
    expect(page.locator(".message")).to_have_count(4)
    if not narrow(page):
        expect(page.locator(".step .prose")).to_have_text("Second.")
