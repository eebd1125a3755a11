"""Model permissions: what a project may not use does not exist for it, at every endpoint and in every job."""

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.builders import WEATHER, Json, a_run, a_thread, an_assistant, fetched, posted, run_path, settled
from tests.offers import serve_all, wav
from tests.organization import PROJECTS, a_project, admin_of, an_account, refused
from tests.pictures import drawing, png
from tests.postgres import fresh_database
from tests.replies import Calls, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.stores import a_file, a_store, found, ready

EVERYTHING: Json = {"object": "project.model_permissions", "mode": "deny_list", "model_ids": []}


class Team(NamedTuple):
    """A project of its own: clients of the organization and of it, and where its permissions are."""

    admin: httpx.Client
    http: httpx.Client
    old: httpx.Client
    path: str

    def allows(self, *names: str) -> Json:
        return posted(self.admin, self.path, {"mode": "allow_list", "model_ids": list(names)})

    def denies(self, *names: str) -> Json:
        return posted(self.admin, self.path, {"mode": "deny_list", "model_ids": list(names)})


def a_team(server: Everloom, admin: httpx.Client) -> tuple[str, str]:
    project = a_project(admin)
    return project["id"], an_account(admin, project)["api_key"]["value"]


@pytest.fixture
def team(each_server: Everloom, upstream: ScriptedUpstream) -> Iterator[Team]:
    serve_all(upstream)
    for verb in ("generations", "edits", "variations"):
        upstream.serve(f"/images/{verb}", drawing)
    with admin_of(each_server) as admin:
        project, key = a_team(each_server, admin)
        with client_of(each_server, key) as http, client_of(each_server, key, "assistants=v1") as old:
            yield Team(admin, http, old, f"{PROJECTS}/{project}/model_permissions")


def _form(
    path: str, field: str, name: str, data: bytes, **fields: str
) -> Callable[[httpx.Client, str], httpx.Response]:
    return lambda http, model: http.post(path, files={field: (name, data)}, data={"model": model, **fields})


def _body(path: str, **fields: Any) -> Callable[[httpx.Client, str], httpx.Response]:
    return lambda http, model: http.post(path, json={"model": model, **fields})


PNG_URL = f"data:image/png;base64,{base64.b64encode(png(64)).decode()}"
HELLO = [{"role": "user", "content": "Hi"}]
ENDPOINTS: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    "chat": _body("/chat/completions", messages=HELLO),
    "streamed": _body("/chat/completions", messages=HELLO, stream=True),
    "stored": _body("/chat/completions", messages=HELLO, store=True),
    "completions": _body("/completions", prompt="Hi"),
    "embeddings": _body("/embeddings", input="Hi"),
    "moderations": _body("/moderations", input="Hi"),
    "speech": _body("/audio/speech", input="Hi", voice="alloy"),
    "transcription": _form("/audio/transcriptions", "file", "a.wav", wav()),
    "translation": _form("/audio/translations", "file", "a.wav", wav()),
    "images": _body("/images/generations", prompt="a cat"),
    "edits": _form("/images/edits", "image", "a.png", png(64), prompt="a cat"),
    "edits as JSON": _body("/images/edits", prompt="a cat", images=[{"image_url": PNG_URL}]),
    "variations": _form("/images/variations", "image", "a.png", png(64)),
}


# --- the object ------------------------------------------------------------------------------------------------------


def test_permissions_are_set_shown_and_taken_away(team: Team) -> None:
    assert fetched(team.admin, team.path) == EVERYTHING
    for mode, names in (("allow_list", ["gpt-4o", "nobody/serves this"]), ("deny_list", ["o3"]), ("allow_list", [])):
        shown = {"object": "project.model_permissions", "mode": mode, "model_ids": names}
        assert posted(team.admin, team.path, {"mode": mode, "model_ids": names}) == shown
        assert fetched(team.admin, team.path) == shown
    for _ in range(2):
        answer = team.admin.delete(team.path)
        assert answer.json() == {"object": "project.model_permissions.deleted", "deleted": True}
        assert fetched(team.admin, team.path) == EVERYTHING


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_required_parameter"),
        ({"mode": "allow_list"}, "missing_required_parameter"),
        ({"model_ids": []}, "missing_required_parameter"),
        ({"mode": "list", "model_ids": []}, "invalid_value"),
        ({"mode": None, "model_ids": []}, "invalid_type"),
        ({"mode": "allow_list", "model_ids": None}, "invalid_type"),
        ({"mode": "allow_list", "model_ids": "gpt-4o"}, "invalid_type"),
        ({"mode": "allow_list", "model_ids": [7]}, "invalid_type"),
        ({"mode": "allow_list", "model_ids": [""]}, "empty_string"),
        ({"mode": "allow_list", "model_ids": ["x" * 257]}, "string_above_max_length"),
        ({"mode": "allow_list", "model_ids": ["a\0b"]}, None),
        ({"mode": "allow_list", "model_ids": ["x"] * 1001}, "array_above_max_length"),
        ({"mode": "allow_list", "model_ids": [], "more": 1}, "unknown_parameter"),
    ],
)
def test_bad_permissions_leave_what_stands(team: Team, body: Json, code: str | None) -> None:
    stands = team.denies("o3")
    refused(team.admin.post(team.path, json=body), 400, code)
    assert fetched(team.admin, team.path) == stands


def test_an_archived_project_keeps_its_permissions(team: Team) -> None:
    team.denies("o3")
    posted(team.admin, f"{team.path.removesuffix('/model_permissions')}/archive")
    everything = {"mode": "deny_list", "model_ids": []}
    for answer in (
        team.admin.get(team.path),
        team.admin.post(team.path, json=everything),
        team.admin.delete(team.path),
    ):
        refused(answer, 400, "project_archived")
    for nothing in (f"{PROJECTS}/proj_nothing", f"{PROJECTS}/org-everloom"):
        path = f"{nothing}/model_permissions"
        for answer in (team.admin.get(path), team.admin.post(path, json=everything), team.admin.delete(path)):
            refused(answer, 404)


# --- what a project sees ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_denied_model_is_not_found(team: Team, upstream: ScriptedUpstream, endpoint: str) -> None:
    ask = ENDPOINTS[endpoint]
    assert ask(team.http, "painter-1").status_code == 200
    team.denies("painter-1", "nobody")
    asked = len(upstream.requests), len(upstream.embeddings), len(upstream.others)
    texts = {name: refused(ask(team.http, name), 404, "model_not_found") for name in ("painter-1", "nobody")}
    assert texts["painter-1"] == texts["nobody"].replace("nobody", "painter-1")
    assert texts["painter-1"].startswith("The model `painter-1` does not exist or you do not have access to it.")
    assert (len(upstream.requests), len(upstream.embeddings), len(upstream.others)) == asked
    team.allows("painter-1")
    assert ask(team.http, "painter-1").status_code == 200
    refused(ask(team.http, "gpt-4o"), 404, "model_not_found")


def test_lists_have_what_may_be_used(team: Team) -> None:
    everything = [model["id"] for model in fetched(team.http, "/models")["data"]]
    assert {"gpt-4o", "gpt-4-turbo", "smollm2-135m"} <= set(everything)
    team.denies("gpt-4o")
    assert [model["id"] for model in fetched(team.http, "/models")["data"]] == [
        name for name in everything if name != "gpt-4o"
    ]
    team.allows("gpt-4o", "never-heard-of", "smollm2-135m")
    assert [model["id"] for model in fetched(team.http, "/models")["data"]] == ["smollm2-135m", "gpt-4o"]
    assert fetched(team.http, "/models/gpt-4o")["id"] == "gpt-4o"
    for name in ("gpt-4-turbo", "all-minilm-l6-v2", "never"):
        refused(team.http.get(f"/models/{name}"), 404, "model_not_found")
        assert refused(team.http.delete(f"/models/{name}"), 404) == f"The model '{name}' does not exist"


def test_the_default_moderation_model_is_a_name_like_any_other(team: Team) -> None:
    asked = {"input": "Hi"}
    assert posted(team.http, "/moderations", asked)["results"]
    team.allows("gpt-4o")
    refused(team.http.post("/moderations", json=asked), 404, "model_not_found")
    team.allows("omni-moderation-latest")
    assert posted(team.http, "/moderations", asked)["results"]
    team.denies("omni-moderation-latest")
    refused(team.http.post("/moderations", json=asked), 404, "model_not_found")


def test_other_projects_see_what_they_saw(team: Team, each_server: Everloom) -> None:
    team.allows()
    assert fetched(team.http, "/models")["data"] == []
    with client_of(each_server) as others:
        assert "gpt-4o" in [model["id"] for model in fetched(others, "/models")["data"]]


# --- assistants and what works behind requests -----------------------------------------------------------------------


def test_assistants_and_runs_name_what_the_project_may_use(team: Team) -> None:
    assistant = an_assistant(team.http)
    thread = a_thread(team.http, "Hi")
    team.denies("gpt-4o")
    for client in (team.http, team.old):
        for answer in (
            client.post("/assistants", json={"model": "gpt-4o"}),
            client.post(f"/assistants/{assistant['id']}", json={"model": "gpt-4o"}),
            client.post(f"/threads/{thread['id']}/runs", json={"assistant_id": assistant["id"]}),
            client.post("/threads/runs", json={"assistant_id": assistant["id"], "thread": {"messages": HELLO}}),
        ):
            text = refused(answer, 400, "model_not_found")
            assert text.startswith("The requested model 'gpt-4o' does not exist.")
    run = posted(team.http, f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], "model": "gpt-4-turbo"})
    assert settled(team.http, run)["status"] == "completed"
    assert fetched(team.http, f"/assistants/{assistant['id']}")["model"] == "gpt-4o"


def test_a_run_whose_model_has_been_denied_fails_and_says_so(team: Team, upstream: ScriptedUpstream) -> None:
    upstream.rule(lambda body: Says("Rain.") if body["messages"][-1]["role"] == "tool" else Calls(("weather", {})))
    run = settled(team.http, a_run(team.http, tools=[WEATHER]), "requires_action")
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    team.denies("gpt-4o")
    # A worker beside the server hears of it within two seconds.
    time.sleep(2.1)
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "rain"}]}
    posted(team.http, f"{run_path(run)}/submit_tool_outputs", outputs)
    run = settled(team.http, run)
    assert (run["status"], run["last_error"]["code"]) == ("failed", "invalid_prompt")
    assert run["last_error"]["message"].startswith("The model `gpt-4o` does not exist or you do not have access to it.")


def test_vector_stores_go_on_with_the_model_of_the_operator(team: Team) -> None:
    """Which nobody has asked for by name: denied to the project, it still reads and searches the project's files."""
    team.allows("gpt-4o")
    store = a_store(team.http, "The albatross is a bird.")
    assert store["file_counts"]["completed"] == 1
    team.denies("scripted")
    file = a_file(team.http, "The otter is no bird.")
    posted(team.http, f"/vector_stores/{store['id']}/files", {"file_id": file})
    ready(team.http, store, f"/vector_stores/{store['id']}/files/{file}")
    assert {hit["filename"] for hit in found(team.http, store, "bird")} == {"file0.txt", "text.txt"}
    refused(team.http.post("/embeddings", json={"model": "scripted", "input": "Hi"}), 404, "model_not_found")


# --- aliases, and what is said without an upstream -------------------------------------------------------------------

SETTINGS = """
[aliases]
"gpt-4*" = "inner"
"nick" = "inner"

[[models]]
id = "inner"
backend = "upstream"
base_url = "{url}"
model = "gpt-4o"

[[models]]
id = "org/*"
backend = "upstream"
base_url = "{url}"
"""


@pytest.fixture
def alone(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Team]:
    """On a server without an upstream for all the rest."""
    (tmp_path / "everloom.toml").write_text(SETTINGS.format(url=upstream.url))
    with Everloom(tmp_path) as server, admin_of(server) as admin:
        project, key = a_team(server, admin)
        with client_of(server, key) as http, client_of(server, key, "assistants=v1") as old:
            yield Team(admin, http, old, f"{PROJECTS}/{project}/model_permissions")


def test_no_alias_is_a_way_round(alone: Team) -> None:
    chat = ENDPOINTS["chat"]
    names = ("inner", "nick", "gpt-4o", "gpt-4-turbo", "org/one")
    assert [chat(alone.http, name).status_code for name in names] == [200] * 5
    cases: list[tuple[Callable[..., Json], list[str], list[str]]] = [
        (alone.denies, ["inner"], ["org/one"]),
        (alone.denies, ["gpt-4o"], ["org/one"]),  # What its server calls it.
        (alone.denies, ["nick", "gpt-4-turbo"], ["inner", "gpt-4o", "org/one"]),
        (alone.denies, ["ORG/one"], ["inner", "nick", "gpt-4o", "gpt-4-turbo"]),
        (alone.allows, ["inner"], ["inner"]),
        (alone.allows, ["gpt-4o"], ["gpt-4o"]),
        (alone.allows, ["nick", "org/one"], ["nick", "org/one"]),
        (alone.allows, [], []),
    ]
    for set_to, listed, left in cases:
        set_to(*listed)
        assert [name for name in names if chat(alone.http, name).status_code == 200] == left, listed
        shown = {model["id"] for model in fetched(alone.http, "/models")["data"]}
        assert shown & set(names) <= set(left)


def test_nothing_tells_a_denied_model_from_one_that_nobody_serves(alone: Team) -> None:
    alone.denies("inner", "smollm2-135m")
    for endpoint, ask in ENDPOINTS.items():
        unknown = ask(alone.http, "none")
        for name in ("inner", "nick", "gpt-4-turbo"):
            answer = ask(alone.http, name)
            assert (answer.status_code, answer.text) == (
                unknown.status_code,
                unknown.text.replace("none`", f"{name}`").replace("'none=", f"'{name}="),
            ), endpoint
    for path, model in (("/assistants", {"model": "nick"}), ("/assistants", {"model": "inner"})):
        text = refused(alone.http.post(path, json=model), 400)
        assert text == refused(alone.http.post(path, json={"model": "none"}), 400).replace("none", model["model"])
        assert "inner`" not in text


# --- time ------------------------------------------------------------------------------------------------------------


def test_every_replica_obeys_within_two_seconds(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    settings = {"database": fresh_database(), "upstream": upstream.url}
    with (
        Everloom(tmp_path, **settings) as here,
        Everloom(tmp_path, arguments=("--no-worker",), **settings) as there,
        admin_of(here) as admin,
    ):
        project, key = a_team(here, admin)
        path = f"{PROJECTS}/{project}/model_permissions"
        with client_of(here, key) as mine, client_of(there, key) as other:
            chat = ENDPOINTS["chat"]
            assert [chat(client, "gpt-4o").status_code for client in (mine, other)] == [200, 200]
            changed = time.monotonic()
            posted(admin, path, {"mode": "allow_list", "model_ids": ["gpt-4-turbo"]})
            assert chat(mine, "gpt-4o").status_code == 404
            time.sleep(max(0.0, changed + 2.2 - time.monotonic()))
            assert chat(other, "gpt-4o").status_code == 404
            changed = time.monotonic()
            assert admin.delete(path).status_code == 200
            assert chat(mine, "gpt-4o").status_code == 200
            time.sleep(max(0.0, changed + 2.2 - time.monotonic()))
            assert chat(other, "gpt-4o").status_code == 200


@pytest.mark.parametrize("first", [b'"model":"gpt-4-turbo",', b'"mod\\u0065l":"gpt-4-turbo",'])
def test_a_name_that_is_said_twice_is_one_to_the_upstream(
    each_server: Everloom, upstream: ScriptedUpstream, first: bytes
) -> None:
    """Of two members of one name some parsers take the first."""
    with admin_of(each_server) as admin:
        project = a_project(admin)
        allowed = {"mode": "allow_list", "model_ids": ["gpt-4o"]}
        posted(admin, f"{PROJECTS}/{project['id']}/model_permissions", allowed)
        key = an_account(admin, project)["api_key"]["value"]
    rest = b'"model":"gpt-4o","max_tokens":9,"messages":[{"role":"user","content":"\\"model\\": Hi"}]}'
    with client_of(each_server, key) as http:
        for body in (b"{" + first + rest, b'{"max_tokens":100000,' + rest):
            answer = http.post("/chat/completions", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 200, answer.text
            raw = upstream.requests[-1].raw
            assert raw.count(b'"model"') == 1
            assert raw.count(b'"max_tokens"') == 1
            assert upstream.requests[-1].body["max_tokens"] == 9
