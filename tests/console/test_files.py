"""The pages of files and vector stores, over what the API was given."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.builders import Json, fetched, posted
from tests.console.watching import Watch, axe, fits, picture, reach, sign_in, tab_to
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.stores import a_file, ready

HOSTILE = '"><img src=x onerror=alert(1)>\u202egnp.txt'
LONG = "a" * 120 + ".txt"


@pytest.fixture
def server(own_server: Everloom, upstream: ScriptedUpstream) -> Everloom:
    return own_server


def looked_at(page: Page, name: str) -> None:
    """Look for barriers in both colours, and keep how it looks."""
    page.emulate_media(color_scheme="dark")
    axe(page)
    page.emulate_media(color_scheme="light")
    axe(page)
    fits(page)
    picture(page, name)


def chosen(page: Page, label: str, *files: Path) -> None:
    """Choose files by the keyboard, as the button with this label takes them."""
    reach(page, page.get_by_label(label, exact=True))
    with page.expect_file_chooser() as choosing:
        page.keyboard.press("Enter")
    choosing.value.set_files([str(file) for file in files])


def test_files_are_uploaded_shown_and_deleted_by_keyboard(
    page: Page, server: Everloom, http: httpx.Client, tmp_path: Path
) -> None:
    for name in (HOSTILE.replace("/", ""), LONG):
        a_file(http, "Nothing much.", name)
    (tmp_path / "harbour.md").write_text("# The harbour\n\nBoats lie here.\n")
    (tmp_path / "stations.txt").write_text("Trains leave every hour.\n")
    sign_in(page, server, at="#/files")
    table = page.get_by_role("table", name="Files")
    expect(table).to_contain_text("onerror=alert(1)")
    chosen(page, "Upload files", tmp_path / "harbour.md", tmp_path / "stations.txt")
    expect(table.get_by_text("harbour.md")).to_be_visible()
    expect(table.get_by_text("stations.txt").first).to_be_visible()
    looked_at(page, "files")
    tab_to(page, "button", "Download harbour.md")
    with page.expect_download() as downloading:
        page.keyboard.press("Enter")
    assert downloading.value.suggested_filename == "harbour.md"
    assert Path(downloading.value.path()).read_text() == (tmp_path / "harbour.md").read_text()
    tab_to(page, "button", "Delete harbour.md")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("harbour.md")
    axe(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    reach(page, dialog.get_by_role("button", name="Delete"))
    page.keyboard.press("Enter")
    expect(table.get_by_text("harbour.md")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    reach(page, page.get_by_label("Show"))
    page.keyboard.type("Pictures")
    expect(page.get_by_text("No files here yet")).to_be_visible()
    assert "purpose=vision" in page.url
    names = [file["filename"] for file in fetched(http, "/files")["data"]]
    assert "stations.txt" in names
    assert "harbour.md" not in names


def test_what_is_refused_is_told_where_it_was_tried(page: Page, server: Everloom, watch: Watch, tmp_path: Path) -> None:
    watch.allow("refused: POST 400 /v1/files")
    (tmp_path / "one.txt").write_text("no JSON Lines")
    sign_in(page, server, at="#/files")
    reach(page, page.get_by_label("What for"))
    page.keyboard.type("Requests")
    chosen(page, "Upload files", tmp_path / "one.txt")
    expect(page.get_by_role("alert")).to_contain_text("one.txt")
    axe(page)
    fits(page)


def a_handbook(http: httpx.Client) -> Json:
    files = [
        a_file(http, "The harbour holds many boats in summer. <b>Not bold</b>", "harbour.md"),
        a_file(http, "Trains leave the station every hour.", HOSTILE),
        a_file(http, b"\x00\x01 no document", "photographs.docx"),
        a_file(http, b"%PDF-1.7 broken", "contract.pdf"),
    ]
    name = 'Handbook <i class="x">of</i> the inn'
    return ready(http, posted(http, "/vector_stores", {"name": name, "file_ids": files}), seconds=60)


def test_a_vector_store_shows_its_files_and_is_searched_by_keyboard(
    page: Page, server: Everloom, http: httpx.Client
) -> None:
    store = a_handbook(http)
    assert store["file_counts"]["failed"] == 2
    sign_in(page, server, at="#/vector-stores")
    link = page.get_by_role("link", name=store["name"]).first
    expect(link).to_be_visible()
    looked_at(page, "vector-stores")
    reach(page, page.get_by_role("link", name=store["name"]))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(store["name"])
    table = page.get_by_role("table", name="Files of the store")
    expect(table).to_contain_text("contract.pdf")
    expect(table).to_contain_text("photographs.docx")
    expect(table.get_by_text(re.compile("cannot be read|is damaged"))).to_have_count(2)
    tab_to(page, "searchbox", "What an assistant would look for")
    page.keyboard.type("harbour boats")
    page.keyboard.press("Enter")
    first = page.locator(".passages > li").first
    expect(first).to_contain_text("The harbour holds many boats in summer. <b>Not bold</b>")
    expect(first).to_contain_text("harbour.md")
    looked_at(page, "vector-store")
    failed = table.get_by_role("row").filter(has_text="contract.pdf")
    expect(failed).to_contain_text("failed")
    read = table.get_by_role("row").filter(has_text="harbour.md").get_by_role("button", name=re.compile("^Text"))
    reach(page, read)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("The harbour holds many boats")
    axe(page)
    page.keyboard.press("Escape")
    expect(read).to_be_focused()
    reach(page, page.get_by_label("Show"))
    page.keyboard.type("failed")
    expect(table.get_by_role("row")).to_have_count(3)


def test_a_store_is_made_filled_emptied_and_deleted_by_keyboard(
    page: Page, server: Everloom, http: httpx.Client, tmp_path: Path
) -> None:
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(f"This is {name}.\n")
    sign_in(page, server, at="#/vector-stores")
    tab_to(page, "button", "New vector store")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    reach(page, dialog.get_by_label("Name"))
    page.keyboard.type("Made here")
    chosen(page, "Add files", tmp_path / "one.txt")
    expect(dialog.get_by_role("list", name="Files to go in")).to_contain_text("one.txt")
    axe(page)
    fits(page)
    reach(page, dialog.get_by_role("button", name="Make it"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Made here")
    expect(page.get_by_text("1 of 1 ready")).to_be_visible()
    chosen(page, "Add files", tmp_path / "two.txt")
    expect(page.get_by_text("2 of 2 ready")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="one.txt")
    reach(page, row.get_by_role("button", name=re.compile("^Take out")))
    page.keyboard.press("Enter")
    reach(page, page.get_by_role("dialog").get_by_role("button", name="Take out"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 of 1 ready")).to_be_visible()
    expect(row).to_have_count(0)
    tab_to(page, "button", "Delete")
    page.keyboard.press("Enter")
    reach(page, page.get_by_role("dialog").get_by_role("button", name="Delete"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Vector stores")
    stores = fetched(http, "/vector_stores", limit=100)["data"]
    assert "Made here" not in [store["name"] for store in stores]


def test_what_is_not_there_says_so(page: Page, server: Everloom, watch: Watch) -> None:
    watch.allow("refused: GET 404 /v1/vector_stores/vs_nothing")
    sign_in(page, server, at="#/vector-stores/vs_nothing")
    expect(page.get_by_role("alert").first).to_contain_text("vs_nothing")
    axe(page)
    fits(page)
