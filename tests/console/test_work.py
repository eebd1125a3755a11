"""The pages of batches, trainings and models, over what the API was given."""

import re
import socket
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from everloom.models.files.catalogue import CATALOGUE
from everloom.models.files.weights import Weights
from tests.batches import a_batch, a_line, ended, jsonl
from tests.builders import fetched
from tests.console.test_files import chosen, looked_at
from tests.console.watching import Watch, axe, fits, reach, sign_in, tab_to
from tests.fine_tuning import BASE, a_job, examples, until
from tests.models.index import serving
from tests.replies import Fails, Json, Reply, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom

HOSTILE = '<script>alert(1)</script><b onclick="x">'


@pytest.fixture
def server(own_server: Everloom, upstream: ScriptedUpstream) -> Everloom:
    return own_server


def refusing(body: Json) -> Reply:
    """Refuse what asks for that, and answer the rest."""
    asked = body["messages"][-1]["content"]
    if asked.startswith("refuse"):
        return Fails(400, {"error": {"message": f"This is refused: {HOSTILE}", "type": "invalid_request_error"}})
    return Says(f"The answer to {asked} is {HOSTILE}")


def test_a_batch_shows_its_failed_lines_and_asks_them_again_by_keyboard(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.rule(refusing)
    lines = [a_line(number, f"question {number}") for number in range(3)]
    lines += [a_line(HOSTILE, "refuse"), *(a_line(f"later-{number}", f"refuse {number}") for number in range(2))]
    batch = ended(http, a_batch(http, lines))
    assert batch["request_counts"] == {"total": 6, "completed": 3, "failed": 3}
    sign_in(page, server, at="#/batches")
    table = page.get_by_role("table", name="Batches")
    expect(table).to_contain_text("3 of 6, 3 failed")
    looked_at(page, "batches")
    reach(page, table.get_by_role("link", name="in.jsonl").first)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Batch")
    failed = page.get_by_role("table", name="Failed lines")
    expect(failed.get_by_role("row")).to_have_count(4)
    expect(failed).to_contain_text(f"This is refused: {HOSTILE}")
    looked_at(page, "batch")
    tab_to(page, "tab", "Failed lines")
    page.keyboard.press("ArrowRight")
    answers = page.get_by_role("table", name="Answers")
    expect(answers.get_by_role("row")).to_have_count(4)
    expect(answers).to_contain_text(f"The answer to question 1 is {HOSTILE}")
    axe(page)
    fits(page)
    upstream.rule(lambda body: Says("Now it is answered."))
    tab_to(page, "button", "Ask what has failed again")
    page.keyboard.press("Enter")
    expect(page.get_by_text("3 of 3")).to_be_visible()
    assert batch["id"] not in page.url
    expect(page.get_by_role("table", name="Answers")).to_contain_text("Now it is answered.")


def test_a_batch_is_made_of_a_file_and_cancelled_by_keyboard(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.rule(lambda body: Slow(600.0))
    (tmp_path / "questions.jsonl").write_bytes(jsonl(a_line(number) for number in range(4)))
    sign_in(page, server, at="#/batches")
    tab_to(page, "button", "New batch")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    chosen(page, "Upload one", tmp_path / "questions.jsonl")
    expect(dialog.get_by_label("File of requests")).to_have_value(re.compile("^file-"))
    axe(page)
    fits(page)
    reach(page, dialog.get_by_role("button", name="Start it"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("in progress")).to_be_visible()
    tab_to(page, "button", "Cancel")
    page.keyboard.press("Enter")
    reach(page, page.get_by_role("dialog").get_by_role("button", name="Cancel it"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    expect(page.get_by_role("table", name="Failed lines")).to_contain_text("not asked")


def test_what_is_wrong_with_a_file_of_requests_is_told_by_line(
    page: Page, server: Everloom, http: httpx.Client
) -> None:
    content = jsonl([a_line(1)]) + b"no JSON <b>\n" + jsonl([a_line(1)])
    batch = ended(http, a_batch(http, content))
    assert batch["status"] == "failed"
    sign_in(page, server, at=f"#/batches/{batch['id']}")
    faults = page.get_by_role("table", name="Faults of the file")
    expect(faults.get_by_role("row")).to_have_count(1 + len(batch["errors"]["data"]))
    for fault in batch["errors"]["data"]:
        expect(faults).to_contain_text(fault["message"])
    looked_at(page, "batch-failed")


def test_answers_of_any_shape_are_shown(page: Page, server: Everloom, http: httpx.Client) -> None:
    vectors = [
        {**a_line(number), "url": "/v1/embeddings", "body": {"model": "scripted", "input": "x"}} for number in (1, 2)
    ]
    batch = ended(http, a_batch(http, jsonl(vectors), "/v1/embeddings"))
    written = [
        {"custom_id": "odd-1", "response": {"body": {"choices": [{"message": {"content": [{"part": HOSTILE}]}}]}}},
        {"custom_id": "odd-2", "response": {"body": {"choices": {"no": "list"}}}},
        {"custom_id": {"an": "object"}, "response": "text"},
        ["no object"],
        None,
    ]
    body = jsonl([*written, "…"]) + b"no JSON\n"  # type: ignore[list-item]  # Of any shape.
    sign_in(page, server)
    page.route(f"**/files/{batch['output_file_id']}/content", lambda route: route.fulfill(body=body))
    page.evaluate("(at) => { location.hash = at }", f"#/batches/{batch['id']}")
    answers = page.get_by_role("table", name="Answers")
    expect(answers.get_by_role("row")).to_have_count(8)
    expect(answers).to_contain_text(HOSTILE.replace('"', '\\"'))
    expect(answers).to_contain_text("no JSON")
    axe(page)
    page.unroute_all()
    page.reload()
    expect(answers.get_by_text(re.compile("^A vector of [0-9]+ numbers$"))).to_have_count(2)
    fits(page)


def test_a_training_shows_its_losses_and_is_asked_beside_its_base_by_keyboard(
    page: Page, server: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.rule(lambda body: Says(f"{body['model']} says {HOSTILE}"))
    job = until(http, a_job(http, examples(), suffix="sailor"), "succeeded")
    sign_in(page, server, at="#/fine-tuning")
    table = page.get_by_role("table", name="Trainings")
    expect(table).to_contain_text(job["fine_tuned_model"])
    looked_at(page, "fine-tuning")
    reach(page, table.get_by_role("link", name=BASE).first)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Training")
    plot = page.get_by_role("figure")
    expect(plot).to_contain_text("Loss by step")
    reach(page, plot.get_by_text("The numbers"))
    page.keyboard.press("Enter")
    losses = [
        event["data"]["train_loss"]
        for event in fetched(http, f"/fine_tuning/jobs/{job['id']}/events", limit=100)["data"]
        if event["type"] == "metrics"
    ]
    assert losses
    expect(plot.get_by_role("row")).to_have_count(1 + len(losses))
    page.keyboard.press("Enter")
    tab_to(page, "textbox", "The same question to the tuned model and to its base")
    page.keyboard.type("Who are you?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="Tuned")).to_contain_text(f"says {HOSTILE}")
    expect(page.get_by_role("group", name="Base")).to_contain_text(f"{BASE} says {HOSTILE}")
    looked_at(page, "training")
    asked = [request.body for request in upstream.requests]
    assert len(asked) == 2
    assert {body["messages"][-1]["content"] for body in asked} == {"Who are you?"}


def test_a_training_is_made_paused_and_cancelled_by_keyboard(
    page: Page, server: Everloom, http: httpx.Client, tmp_path: Path
) -> None:
    (tmp_path / "examples.jsonl").write_bytes(jsonl(examples()))
    sign_in(page, server, at="#/fine-tuning")
    tab_to(page, "button", "New training")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    reach(page, dialog.get_by_label("Model to begin with"))
    page.keyboard.type(BASE)
    chosen(page, "Upload examples", tmp_path / "examples.jsonl")
    expect(dialog.get_by_role("combobox", name="Examples", exact=True)).to_have_value(re.compile("^file-"))
    reach(page, dialog.get_by_label("Suffix"))
    page.keyboard.type("slow")
    axe(page)
    fits(page)
    reach(page, dialog.get_by_role("button", name="Train"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    tab_to(page, "button", "Pause")
    page.keyboard.press("Enter")
    expect(page.get_by_text("paused", exact=True)).to_be_visible()
    tab_to(page, "button", "Cancel")
    page.keyboard.press("Enter")
    reach(page, page.get_by_role("dialog").get_by_role("button", name="Cancel it"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()


def test_a_training_that_failed_says_why(page: Page, server: Everloom, http: httpx.Client) -> None:
    job = until(http, a_job(http, b"no JSON <i>\n"), "failed")
    sign_in(page, server, at=f"#/fine-tuning/{job['id']}")
    expect(page.get_by_role("alert")).to_contain_text(job["error"]["message"])
    axe(page)
    fits(page)


def test_a_model_is_pulled_by_keyboard_and_a_pull_that_fails_says_why(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, serving() as index:
        for name, value in index.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "120")
        with Everloom(tmp_path, weights=tmp_path / "weights") as server:
            sign_in(page, server, at="#/models")
            name = CATALOGUE[-1].name
            card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))
            reach(page, card.get_by_role("button", name=f"Pull {name}"))
            page.keyboard.press("Enter")
            expect(card.get_by_role("meter")).to_be_visible()
            axe(page)
            silent.close()  # With it goes whoever waits to be heard.
            expect(card.get_by_role("alert")).to_contain_text("could not be fetched with pip")
            looked_at(page, "models-pull")
            for path, file in zip(
                Weights(tmp_path / "weights").paths(CATALOGUE[-1].weight), CATALOGUE[-1].weight.files, strict=True
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as whole:
                    whole.truncate(file.bytes)
            reach(page, card.get_by_role("button", name=f"Try again {name}"))
            page.keyboard.press("Enter")
            expect(card).to_contain_text("It is on the server, which answers for it from its next start on.")
            looked_at(page, "models-pulled")


def test_models_are_listed_and_the_catalogue_is_the_commands(
    page: Page, server: Everloom, http: httpx.Client, watch: Watch
) -> None:
    job = until(http, a_job(http, examples(), suffix="to-go"), "succeeded")
    sign_in(page, server, at="#/models")
    table = page.get_by_role("table", name="Models")
    for model in fetched(http, "/models")["data"]:
        expect(table.locator("code", has_text=re.compile(f"^{re.escape(model['id'])}$"))).to_be_visible()
    for model in CATALOGUE:
        card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=model.name, exact=True))
        for told in (model.about, model.licence, f"everloom models pull {model.name}"):
            expect(card).to_contain_text(told)
    expect(page.get_by_role("listitem").filter(has_text="everloom models pull")).to_have_count(len(CATALOGUE))
    looked_at(page, "models")
    tab_to(page, "button", f"Copy everloom models pull {CATALOGUE[0].name}")
    page.keyboard.press("Enter")
    assert page.evaluate("navigator.clipboard.readText()") == f"everloom models pull {CATALOGUE[0].name}"
    tuned = job["fine_tuned_model"]
    reach(page, page.get_by_role("button", name=f"Delete {tuned}", exact=True))
    page.keyboard.press("Enter")
    reach(page, page.get_by_role("dialog").get_by_role("button", name="Delete"))
    page.keyboard.press("Enter")
    expect(table.get_by_text(tuned, exact=True)).to_have_count(0)
    assert tuned not in [model["id"] for model in fetched(http, "/models")["data"]]
