"""One project's objects do not exist for another: every operation, tried with another project's key.

The operations are taken from the server's own routes, so a new one is walked, or fails here by name.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from everloom.api.http.routes import Route
from everloom.api.v1 import DIALECT
from everloom.app.http import ROUTES
from everloom.kit.ids import new_id
from tests.builders import Json, a_thread, fetched, posted
from tests.fine_tuning import BASE, a_job, let_be_tuned, until
from tests.organization import (
    ADMIN_KEYS,
    ALERT,
    INVITES,
    PROJECTS,
    SPENT,
    a_project,
    a_user,
    admin_of,
    an_account,
    an_email,
)
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, API_KEY, Everloom
from tests.servers import http as client_of
from tests.world import a_world

PREFIXES = {
    "assistant_id": "asst_",
    "thread_id": "thread_",
    "message_id": "msg_",
    "run_id": "run_",
    "step_id": "step_",
    "file_id": "file-",
    "vector_store_id": "vs_",
    "batch_id": "vsfb_",
    "request_batch_id": "batch_",
    "input_file_id": "file-",
    "upload_id": "upload_",
    "completion_id": "chatcmpl-",
    "webhook_endpoint_id": "whe_",
    "fine_tuning_job_id": "ftjob-",
    "training_file": "file-",
    "validation_file": "file-",
    "fine_tuned_model": "ft:tuned-base:everloom::",
}
"""What stands in paths and bodies, and what an id of it that nobody ever gave looks like."""

SERVERS_OWN = {
    *("list_models", "retrieve_model", "delete_model"),
    *("create_chat_completion", "create_completion", "create_embedding", "create_moderation", "create_speech"),
    *("create_transcription", "create_translation"),
    "list_webhook_event_types",
}
"""Models and types of events belong to the server: every project sees them, but for models that are some projects'
(test_models.py).
"""

NAMES_NOTHING = {
    *("create_file", "create_upload", "create_image", "create_image_variation"),
    "create_webhook_endpoint",
}
"""Creations whose request cannot name another object."""

WALKED_ELSEWHERE = {"create_image_edit"}
"""Creations that name objects of a certain content: test_image_edits_json.py."""

Place = tuple[str, str]


def routes_of(beta: str) -> list[Route]:
    """The operations on a project's objects that a client with this beta header reaches."""
    own = DIALECT.routes if beta == DIALECT.name else []
    taken = {(route.method, route.path) for route in own}
    common = [route for route in ROUTES if (route.method, route.path) not in taken]
    if own:
        common = [route for route in common if route.api_family == "assistants"]
    return [route for route in [*common, *own] if route.access == "project"]


FORMS = ("assistants=v2", DIALECT.name)


@dataclass
class Project:
    """A project's two clients, and the ids of one object of each kind."""

    current: httpx.Client
    older: httpx.Client
    ids: dict[str, str]

    def client(self, beta: str) -> httpx.Client:
        return self.older if beta == DIALECT.name else self.current


@pytest.fixture
def mine(each_server: Everloom, upstream: ScriptedUpstream) -> Iterator[Project]:
    with client_of(each_server) as current, client_of(each_server, beta=DIALECT.name) as older:
        yield Project(current, older, a_world(current, older, upstream, waiting=True))


@pytest.fixture
def theirs(each_server: Everloom) -> Iterator[Project]:
    """Another project, made beside the running server, with nothing in it."""
    key = each_server.command("keys", "create", "--project", f"other-{uuid.uuid4()}").strip()
    with client_of(each_server, key) as current, client_of(each_server, key, DIALECT.name) as older:
        yield Project(current, older, {})


def made_up() -> dict[str, str]:
    return {name: new_id(prefix) for name, prefix in PREFIXES.items()}


def body_for(route: Route, ids: dict[str, str]) -> Json | None:
    """A request that would be right if its ids were."""
    known: dict[str, Json] = {
        "create_message": {"role": "user", "content": "Hi"},
        "create_run": {"assistant_id": ids["assistant_id"]},
        "submit_tool_outputs": {"tool_outputs": [{"tool_call_id": "call_1", "output": "rain"}], "stream": True},
        "create_assistant_file": {"file_id": ids["file_id"]},
        "complete_upload": {"part_ids": []},
        "modify_assistant": {"name": "taken over"},
        "create_vector_store_file": {"file_id": ids["file_id"]},
        "create_vector_store_file_batch": {"file_ids": [ids["file_id"]]},
        "update_vector_store_file_attributes": {"attributes": {"owner": "taken over"}},
        "search_vector_store": {"query": "secret"},
        "update_webhook_endpoint": {"name": "taken over"},
        "rotate_webhook_endpoint_secret": {},
        "test_webhook_endpoint": {"event_type": "batch.completed"},
        "retry_batch": {},
    }
    if route.body is None:
        return None
    return known.get(route.name, {"metadata": {"owner": "taken over"}})


def path_of(route: Route) -> str:
    """Its path, in which a batch of requests has another name than one of files."""
    return route.path.replace("/batches/{batch_id}", "/batches/{request_batch_id}")


def answer(client: httpx.Client, route: Route, ids: dict[str, str]) -> httpx.Response:
    path = path_of(route).format_map(ids)
    return client.request(route.method, path, json=body_for(route, ids))


def masked(answer: httpx.Response, *worlds: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers, the ids in them replaced by what they name."""
    text = answer.text
    for ids in worlds:
        for name, id in ids.items():
            text = text.replace(id, f"<{name}>")
    passing = {"x-request-id", "openai-processing-ms", "date", "content-length"}
    return answer.status_code, text, {name: value for name, value in answer.headers.items() if name not in passing}


def names_in(route: Route) -> list[str]:
    return [name for name in [*PREFIXES, "model"] if f"{{{name}}}" in path_of(route)]


def snapshot(project: Project) -> list[Any]:
    """Everything that can be read of a project's objects, under both forms."""
    found: list[Any] = []
    for beta in FORMS:
        client = project.client(beta)
        for route in routes_of(beta):
            if route.method == "GET" and route.name not in SERVERS_OWN:
                answer = client.get(path_of(route).format_map(project.ids), params=_whole(route))
                assert answer.status_code == 200, (route.path, answer.text)
                found.append((beta, route.path, answer.text))
    return found


def _whole(route: Route) -> Json:
    return {"limit": 100} if route.query is not None and "limit" in route.query[1].__struct_fields__ else {}


def _wild(route: Route) -> Iterable[str]:
    return (segment.strip("{}") for segment in path_of(route).split("/") if segment.startswith("{"))


LISTS: dict[str, dict[str, str]] = {
    "assistants=v2": {
        "list_assistants": "/assistants",
        "list_threads": "/threads",
        "list_files": "/files",
        "list_vector_stores": "/vector_stores",
        "list_chat_completions": "/chat/completions",
        "list_batches": "/batches",
        "list_webhook_endpoints": "/webhook_endpoints",
        "list_paginated_fine_tuning_jobs": "/fine_tuning/jobs",
    },
    DIALECT.name: {"list_assistants": "/assistants", "list_threads": "/threads"},
}
"""The lists that hang on nothing but the project."""


def _attached(ids: dict[str, str]) -> Json:
    tools = [{"type": "code_interpreter"}]
    return {"role": "user", "content": "Hi", "attachments": [{"file_id": ids["file_id"], "tools": tools}]}


def _pictured(ids: dict[str, str]) -> Json:
    return {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": ids["file_id"]}}]}


def _held(ids: dict[str, str]) -> Json:
    return {"role": "user", "content": "Hi", "file_ids": [ids["file_id"]]}


def _resources(ids: dict[str, str]) -> Json:
    return {"code_interpreter": {"file_ids": [ids["file_id"]]}}


def _stores(ids: dict[str, str]) -> Json:
    return {"file_search": {"vector_store_ids": [ids["vector_store_id"]]}}


def _new_stores(ids: dict[str, str]) -> Json:
    return {"file_search": {"vector_stores": [{"file_ids": [ids["file_id"]]}]}}


@dataclass(frozen=True)
class Reference:
    """A place in a request's body where ``param``, another object, is named."""

    operation: str
    path: str
    param: str
    body: Callable[[dict[str, str], dict[str, str]], Json]
    """From the ids that are tried, and those that are good."""
    status: int = 404


_THREAD = "/threads/{thread_id}"
_ASSISTANT = "/assistants/{assistant_id}"
_STORE = "/vector_stores/{vector_store_id}"

_SEARCHED = [
    Reference("create_vector_store", "/vector_stores", "file_id", lambda x, _: {"file_ids": [x["file_id"]]}),
    Reference("create_vector_store_file", f"{_STORE}/files", "file_id", lambda x, _: x),
    Reference(
        "create_vector_store_file_batch",
        f"{_STORE}/file_batches",
        "file_id",
        lambda x, good: {"file_ids": [x["file_id"]]},
    ),
    Reference("create_vector_store_file_batch", f"{_STORE}/file_batches", "file_id", lambda x, _: {"files": [x]}),
    *(
        Reference(operation, path, "vector_store_id", lambda x, _: {"model": "gpt-4o", "tool_resources": _stores(x)})
        for operation, path in (("create_assistant", "/assistants"), ("modify_assistant", _ASSISTANT))
    ),
    *(
        Reference(operation, path, "vector_store_id", lambda x, _: {"tool_resources": _stores(x)})
        for operation, path in (("create_thread", "/threads"), ("modify_thread", _THREAD))
    ),
    Reference("create_thread", "/threads", "file_id", lambda x, _: {"tool_resources": _new_stores(x)}),
    Reference(
        "create_thread_and_run",
        "/threads/runs",
        "vector_store_id",
        lambda x, good: {"assistant_id": good["assistant_id"], "thread": {"tool_resources": _stores(x)}},
    ),
]

_BATCH = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}

_CURRENT = [
    Reference("create_batch", "/batches", "input_file_id", lambda x, _: {**x, **_BATCH}, 400),
    Reference("create_fine_tuning_job", "/fine_tuning/jobs", "training_file", lambda x, _: {"model": BASE, **x}, 400),
    Reference(
        "create_fine_tuning_job",
        "/fine_tuning/jobs",
        "validation_file",
        lambda x, good: {"model": BASE, "training_file": good["training_file"], **x},
        400,
    ),
    Reference(
        "create_assistant", "/assistants", "file_id", lambda x, _: {"model": "m", "tool_resources": _resources(x)}
    ),
    Reference("modify_assistant", _ASSISTANT, "file_id", lambda x, _: {"tool_resources": _resources(x)}),
    Reference("create_thread", "/threads", "file_id", lambda x, _: {"tool_resources": _resources(x)}),
    Reference("create_thread", "/threads", "file_id", lambda x, _: {"messages": [_attached(x)]}),
    Reference("create_thread", "/threads", "file_id", lambda x, _: {"messages": [_pictured(x)]}),
    Reference("modify_thread", _THREAD, "file_id", lambda x, _: {"tool_resources": _resources(x)}),
    Reference("create_message", f"{_THREAD}/messages", "file_id", lambda x, _: _attached(x)),
    Reference("create_message", f"{_THREAD}/messages", "file_id", lambda x, _: _pictured(x)),
    Reference(
        "create_run",
        f"{_THREAD}/runs",
        "file_id",
        lambda x, good: {"assistant_id": good["assistant_id"], "additional_messages": [_attached(x)]},
    ),
    Reference(
        "create_thread_and_run",
        "/threads/runs",
        "file_id",
        lambda x, good: {"assistant_id": good["assistant_id"], "thread": {"messages": [_pictured(x)]}},
    ),
    Reference(
        "create_thread_and_run",
        "/threads/runs",
        "file_id",
        lambda x, good: {"assistant_id": good["assistant_id"], "thread": {"tool_resources": _resources(x)}},
    ),
    Reference(
        "create_thread_and_run",
        "/threads/runs",
        "file_id",
        lambda x, good: {"assistant_id": good["assistant_id"], "tool_resources": _resources(x)},
    ),
]
_BOTH = [
    Reference("create_run", f"{_THREAD}/runs", "assistant_id", lambda x, _: {"assistant_id": x["assistant_id"]}),
    Reference("create_run", f"{_THREAD}/runs", "assistant_id", lambda x, _: {**x, "stream": True}),
    Reference("create_thread_and_run", "/threads/runs", "assistant_id", lambda x, _: {**x, "thread": {}}),
]
_OLDER = [
    Reference("create_assistant", "/assistants", "file_id", lambda x, _: {"model": "m", "file_ids": [x["file_id"]]}),
    Reference("modify_assistant", _ASSISTANT, "file_id", lambda x, _: {"file_ids": [x["file_id"]]}),
    Reference("create_assistant_file", f"{_ASSISTANT}/files", "file_id", lambda x, _: x),
    Reference("create_thread", "/threads", "file_id", lambda x, _: {"messages": [_held(x)]}),
    Reference("create_message", f"{_THREAD}/messages", "file_id", lambda x, _: _held(x)),
    Reference(
        "create_run",
        f"{_THREAD}/runs",
        "file_id",
        lambda x, good: {"assistant_id": good["assistant_id"], "additional_messages": [_held(x)]},
    ),
    Reference(
        "create_thread_and_run",
        "/threads/runs",
        "file_id",
        lambda x, good: {"assistant_id": good["assistant_id"], "thread": {"messages": [_held(x)]}},
    ),
]
REFERENCES: dict[str, list[Reference]] = {
    "assistants=v2": [*_CURRENT, *_SEARCHED, *_BOTH],
    DIALECT.name: [*_OLDER, *_BOTH],
}
RUNS = ("create_run", "create_thread_and_run")


@pytest.mark.parametrize("beta", FORMS)
def test_every_operation_is_walked(beta: str) -> None:
    """What has an id in its path is walked by itself; everything else has its place in a list here."""
    routes = [route for route in routes_of(beta) if route.name not in SERVERS_OWN]
    walked = {route.name for route in routes if names_in(route)}
    others = {route.name for route in routes} - walked
    assert {name for route in routes for name in _wild(route)} <= set(PREFIXES)
    assert {route.name for route in routes if route.method == "GET"} & others == set(LISTS[beta])
    named = {reference.operation for reference in REFERENCES[beta]}
    assert others - set(LISTS[beta]) - NAMES_NOTHING - WALKED_ELSEWHERE <= named
    assert named <= walked | others


def test_another_projects_lists_are_empty(mine: Project, theirs: Project) -> None:
    for beta, lists in LISTS.items():
        for name, path in lists.items():
            more = [{"metadata[owner]": "known"}] if name in TAGGED else []
            for query in ({}, {"order": "asc"}, {"limit": "100"}, *more):
                page = fetched(theirs.client(beta), path, **query)
                assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
            for end in ("after", "before"):
                nothing = made_up()
                here, nowhere = (
                    theirs.client(beta).get(path, params={end: ids[_listed(name)]}) for ids in (mine.ids, nothing)
                )
                assert masked(here, mine.ids) == masked(nowhere, nothing), (path, end)


TAGGED = ("list_threads", "list_chat_completions", "list_paginated_fine_tuning_jobs")


def _listed(name: str) -> str:
    odd = {
        "list_chat_completions": "completion_id",
        "list_batches": "request_batch_id",
        "list_paginated_fine_tuning_jobs": "fine_tuning_job_id",
    }
    if name in odd:
        return odd[name]
    return name.removeprefix("list_").removesuffix("s") + "_id"


def test_another_projects_ids_are_ids_of_nothing(mine: Project, theirs: Project, upstream: ScriptedUpstream) -> None:
    theirs.ids = a_world(theirs.current, theirs.older, upstream, waiting=True)
    before = snapshot(mine), snapshot(theirs)
    for beta in FORMS:
        for route in routes_of(beta):
            if names := [name for name in names_in(route) if name in PREFIXES]:
                for tried in (names, *([name] for name in names)):
                    refused(route, beta, tried, mine, theirs)
    assert (snapshot(mine), snapshot(theirs)) == before


def refused(route: Route, beta: str, tried: list[str], mine: Project, theirs: Project) -> None:
    """Try these names' ids of the first project among the second one's own, and compare with ids of nothing."""
    client = theirs.client(beta)
    foreign = {name: mine.ids[name] for name in tried}
    nothing = {name: id for name, id in made_up().items() if name in tried}
    here = answer(client, route, theirs.ids | foreign)
    nowhere = answer(client, route, theirs.ids | nothing)
    what = f"{beta} {route.method} {route.path} with another project's {' and '.join(tried)}: {here.text}"
    assert here.status_code == 404, what
    assert masked(here, foreign, theirs.ids) == masked(nowhere, nothing, theirs.ids), what
    assert re.search(
        r"found with id .<|No such File object: <|Could not find fine tune: <", masked(here, foreign, theirs.ids)[1]
    ), what


def test_another_projects_ids_are_refused_inside_bodies(
    mine: Project, theirs: Project, upstream: ScriptedUpstream
) -> None:
    theirs.ids = a_world(theirs.current, theirs.older, upstream, waiting=True)
    for beta in FORMS:
        client = theirs.client(beta)
        # On a thread that no run holds, so that nothing but the id can be at fault.
        good = theirs.ids | {"thread_id": a_thread(theirs.current, "Hi")["id"]}
        before = snapshot(mine), snapshot(theirs)
        for reference in REFERENCES[beta]:
            foreign, nothing = ({reference.param: ids[reference.param]} for ids in (mine.ids, made_up()))
            path = reference.path.format_map(good)
            here = client.post(path, json=reference.body(foreign, good))
            nowhere = client.post(path, json=reference.body(nothing, good))
            what = f"{beta} POST {reference.path} with another project's {reference.param}: {here.text}"
            assert here.status_code == reference.status, what
            assert masked(here, foreign) == masked(nowhere, nothing), what
            assert f"<{reference.param}>" in masked(here, foreign)[1], what
        assert (snapshot(mine), snapshot(theirs)) == before


def test_what_a_project_may_name_it_may_use(theirs: Project, upstream: ScriptedUpstream) -> None:
    """The other half of the test above: the same requests with ids of the project's own are taken."""
    theirs.ids = a_world(theirs.current, theirs.older, upstream, waiting=True)
    for beta in FORMS:
        client = theirs.client(beta)
        for reference in REFERENCES[beta]:
            good = theirs.ids | {"thread_id": a_thread(theirs.current, "Hi")["id"]}
            body = reference.body({reference.param: good[reference.param]}, good)
            if reference.operation in RUNS:
                # A run needs something to go by, and these threads are empty.
                body["instructions"] = "Help."
            taken = client.post(reference.path.format_map(good), json=body)
            assert taken.status_code == 200, f"{beta} POST {reference.path}: {taken.text}"


def test_a_query_finds_nothing_of_another_project(mine: Project, theirs: Project) -> None:
    thread = a_thread(theirs.current, "Hi")
    path = f"/threads/{thread['id']}/messages"
    assert [message["thread_id"] for message in fetched(theirs.current, path)["data"]] == [thread["id"]]
    assert fetched(theirs.current, path, run_id=mine.ids["run_id"])["data"] == []
    for end in ("after", "before"):
        nothing = made_up()
        here, nowhere = (
            theirs.current.get(path, params={end: ids["message_id"], "order": "asc"}) for ids in (mine.ids, nothing)
        )
        assert masked(here, mine.ids)[0] == masked(nowhere, nothing)[0]


def test_tuned_models_of_another_project_are_names_of_nothing(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Neither what a job ended with, nor what it left at its checkpoints, where no upstream has all other names."""
    with Everloom(let_be_tuned(tmp_path, upstream.url)) as server:
        key = server.command("keys", "create", "--project", "other").strip()
        with client_of(server) as mine, client_of(server, key) as theirs:
            job = until(mine, a_job(mine))
            listed = fetched(mine, f"/fine_tuning/jobs/{job['id']}/checkpoints")["data"]
            names = {each["fine_tuned_model_checkpoint"] for each in listed} | {job["fine_tuned_model"]}
            assert len(names) == 2
            assert names <= _models(mine)
            assert not [name for name in _models(theirs) if name.startswith("ft:")]
            for name in names:
                for how in (_looked_up, asked, _completed, _tuned_on, _deleted):
                    status, text = how(theirs, name)
                    assert status == (400 if how is _tuned_on else 404), text
                    nothing = made_up()["fine_tuned_model"]
                    assert text.replace(name, "<name>") == how(theirs, nothing)[1].replace(nothing, "<name>")
                assert asked(mine, name)[0] == 200
            assert names <= _models(mine)


def test_an_upstream_with_all_names_tells_nobody_of_anothers_models(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """By the name that it has here, and by the one that the upstream has for it."""
    with Everloom(let_be_tuned(tmp_path, upstream.url), upstream=upstream.url) as server:
        key = server.command("keys", "create", "--project", "other").strip()
        with client_of(server) as mine, client_of(server, key) as theirs:
            name = until(mine, a_job(mine))["fine_tuned_model"]
            status, text = asked(mine, name)
            assert status == 200, text
            there = json.loads(text)["model"]
            assert there.startswith("ft:")
            assert there != name
            for each in (name, there):
                assert asked(mine, each)[0] == 200
                assert asked(theirs, each)[0] == 404
                assert _looked_up(theirs, each)[0] == 404
                assert each not in _models(theirs)
            assert asked(theirs, "ft:gpt-4o:somebody::abc")[0] == 200  # The upstream's own business.


def _models(client: httpx.Client) -> set[str]:
    return {model["id"] for model in client.get("/models").json()["data"]}


def asked(client: httpx.Client, model: str) -> tuple[int, str]:
    return _posted(client, "/chat/completions", model=model, messages=[{"role": "user", "content": "Hi"}])


def _completed(client: httpx.Client, model: str) -> tuple[int, str]:
    return _posted(client, "/completions", model=model, prompt="Hi")


def _tuned_on(client: httpx.Client, model: str) -> tuple[int, str]:
    return _posted(client, "/fine_tuning/jobs", model=model, training_file="file-1")


def _posted(client: httpx.Client, path: str, **body: Any) -> tuple[int, str]:
    answer = client.post(path, json=body)
    return answer.status_code, answer.text


def _looked_up(client: httpx.Client, model: str) -> tuple[int, str]:
    answer = client.get(f"/models/{model}")
    return answer.status_code, answer.text


def _deleted(client: httpx.Client, model: str) -> tuple[int, str]:
    answer = client.delete(f"/models/{model}")
    return answer.status_code, answer.text


# --- keys that open nothing, or the other half ---------------------------------------------------------------------

ORGANIZATION = [route for route in ROUTES if route.access == "admin"]


@dataclass(frozen=True)
class Ids:
    """Those of one object of each kind of the organization, for the paths of its operations."""

    known: dict[str, str]

    def path(self, route: Route) -> str:
        return route.path.format_map(self.known)


@pytest.fixture
def admin(each_server: Everloom) -> Iterator[httpx.Client]:
    with admin_of(each_server) as client:
        yield client


def an_organization(admin: httpx.Client) -> tuple[Ids, Json]:
    """A project with a user and an account, an invite; and the account's key as it was shown once."""
    project = a_project(admin)
    account = an_account(admin, project)
    user = a_user(admin)
    posted(admin, f"{PROJECTS}/{project['id']}/users", {"user_id": user["id"], "role": "member"})
    invite = posted(admin, INVITES, {"email": an_email(), "role": "reader"})
    key = account["api_key"]
    alerts = f"{PROJECTS}/{project['id']}/spend_alerts"
    ids = {"project_id": project["id"], "user_id": user["id"], "service_account_id": account["id"]}
    ids |= {"invite_id": invite["id"], "key_id": key["id"], "rate_limit_id": "rl-gpt-4o", "model": "whisper-base"}
    return Ids(ids | {"alert_id": posted(admin, alerts, ALERT)["id"]}), key


def seen(admin: httpx.Client, ids: Ids) -> list[str]:
    """Everything of these that can be read; but for when its keys were used."""
    answers = [admin.get(ids.path(route)) for route in ORGANIZATION if set(_wild(route)) and route.method == "GET"]
    return [re.sub(r'"last_used_at":\w+', "", answer.text) for answer in answers]


def keys_that_open_nothing(server: Everloom, admin: httpx.Client) -> dict[str, str | None]:
    revoked, closed = a_project(admin), a_project(admin)
    account = an_account(admin, revoked)
    gone, archived = account["api_key"]["value"], an_account(admin, closed)["api_key"]["value"]
    for key in (gone, archived):  # They have been good, so that the server knows them.
        with client_of(server, key) as client:
            assert client.get("/assistants").status_code == 200
    assert admin.delete(f"{PROJECTS}/{revoked['id']}/service_accounts/{account['id']}").status_code == 200
    posted(admin, f"{PROJECTS}/{closed['id']}/archive")
    expiring = posted(admin, ADMIN_KEYS, {"name": "a key to be deleted"})
    assert admin.delete(f"{ADMIN_KEYS}/{expiring['id']}").status_code == 200
    return {
        "revoked": gone,
        "archived project's": archived,
        "deleted admin": expiring["value"],
        "made up": "sk-proj-nobody-ever-gave-this-one",
        "no": None,
    }


def turned_away(client: httpx.Client, route: Route, path: str, body: Json | None, what: str, allowed: set[int]) -> None:
    """A right request, and wrong ones: who may not ask is told nothing of what is wrong with them."""
    wrong: list[tuple[str, dict[str, Any]]] = [(f"{path}?limit=nothing&order=up", {"json": body})]
    if route.method == "POST":
        wrong += [(path, {"json": {"unheard_of": 1}}), (path, {"content": b"{"}), (path, {"content": b"[" * 100})]
    for place, more in [(path, {"json": body}), *wrong]:
        answer = client.request(route.method, place, **more)
        assert answer.status_code in allowed, f"{what} key: {route.method} {place}: {answer.status_code} {answer.text}"


def test_keys_that_open_nothing_open_no_operation(each_server: Everloom, admin: httpx.Client, mine: Project) -> None:
    ids, _ = an_organization(admin)
    before = snapshot(mine), seen(admin, ids)
    for what, key in keys_that_open_nothing(each_server, admin).items():
        for beta in FORMS:
            with client_of(each_server, key or "", beta) as client:
                if key is None:
                    del client.headers["authorization"]
                for route in routes_of(beta):
                    path = path_of(route).format_map({"model": "gpt-4o", **mine.ids})
                    turned_away(client, route, path, body_for(route, mine.ids), what, {401})
                for route in ORGANIZATION:
                    turned_away(client, route, ids.path(route), known_good(route), what, {401})
    assert (snapshot(mine), seen(admin, ids)) == before


def test_a_projects_key_opens_nothing_of_the_organization(each_server: Everloom, admin: httpx.Client) -> None:
    ids, key = an_organization(admin)
    before = seen(admin, ids)
    for what, secret in (("the project's own", key["value"]), ("another project's", API_KEY)):
        with client_of(each_server, secret) as client:
            for route in ORGANIZATION:
                turned_away(client, route, ids.path(route), known_good(route), what, {403})
    assert seen(admin, ids) == before


def test_an_admin_key_opens_nothing_of_a_project(each_server: Everloom, mine: Project) -> None:
    before = snapshot(mine)
    for beta in FORMS:
        with client_of(each_server, ADMIN_KEY, beta) as client:
            for route in routes_of(beta):
                path = path_of(route).format_map({"model": "gpt-4o", **mine.ids})
                turned_away(client, route, path, body_for(route, mine.ids), "admin", {403})
    assert snapshot(mine) == before


def known_good(route: Route) -> Json | None:
    """A request that an admin key would be answered 200 for."""
    bodies: dict[str, Json] = {
        "invite_user": {"email": "taken@example.org", "role": "owner"},
        "modify_user": {"role": "owner"},
        "create_project_user": {"user_id": "user-owner", "role": "owner"},
        "modify_project_user": {"role": "owner"},
        "update_project_rate_limits": {"max_requests_per_1_minute": 0},
        "update_project_model_permissions": {"mode": "allow_list", "model_ids": ["taken-over"]},
        **dict.fromkeys(("update_project_spend_limit", "update_organization_spend_limit"), SPENT),
        **{
            f"{verb}_{whose}_spend_alert": ALERT
            for verb in ("create", "update")
            for whose in ("project", "organization")
        },
    }
    return bodies.get(route.name, {"name": "taken over"}) if route.body is not None else None
