"""What programs send as null is answered as if it had not been sent: each member of each body, one at a time."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from everloom.api.v1 import DIALECT
from everloom.app.http import ROUTES
from everloom.requests import chat, completions, embeddings, images, moderations, speech
from tests.api.test_uploads import a_part, an_upload
from tests.batches import an_input
from tests.builders import WEATHER, Json, a_run, a_thread, an_assistant, posted, run_path, settled
from tests.fine_tuning import BASE, a_training_file
from tests.offers import serve_all, wav
from tests.organization import (
    ADMIN_KEYS,
    ALERT,
    INVITES,
    PROJECTS,
    SPENT,
    USERS,
    a_name,
    a_project,
    a_user,
    admin_of,
    an_account,
    an_email,
)
from tests.replies import Calls, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.stores import a_file, a_store
from tests.world import ENDPOINT

Asked = tuple[str, Json]
Make = Callable[[httpx.Client, ScriptedUpstream], Asked]


def at(path: str, **body: Any) -> Make:
    return lambda http, upstream: (path, body)


def on(make: Callable[[httpx.Client], str], **body: Any) -> Make:
    return lambda http, upstream: (make(http), body)


def _assistant(http: httpx.Client, **fields: Any) -> str:
    return f"/assistants/{an_assistant(http, **fields)['id']}"


def _thread(http: httpx.Client) -> str:
    return f"/threads/{a_thread(http, 'Hi')['id']}"


def _message(http: httpx.Client) -> str:
    thread = _thread(http)
    return f"{thread}/messages/{posted(http, f'{thread}/messages', {'role': 'user', 'content': 'Hi'})['id']}"


def _run(http: httpx.Client, upstream: ScriptedUpstream) -> Asked:
    return f"{_thread(http)}/runs", {"assistant_id": an_assistant(http)["id"]}


def _thread_run(http: httpx.Client, upstream: ScriptedUpstream) -> Asked:
    return "/threads/runs", {"assistant_id": an_assistant(http)["id"]}


def _outputs(http: httpx.Client, upstream: ScriptedUpstream) -> Asked:
    upstream.rule(_weather)
    run = settled(http, a_run(http, tools=[WEATHER]), "requires_action")
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "rain"}]
    return f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs}


def _weather(body: Json) -> Calls | Says:
    """By the request alone: what is left in a script may be taken by another run."""
    told = body["messages"][-1]["role"] == "tool"
    return Calls(("weather", {"city": "Oslo"})) if body.get("tools") and not told else Says("Rain.")


def _upload(http: httpx.Client, upstream: ScriptedUpstream) -> Asked:
    upload = an_upload(http, 5)
    return f"/uploads/{upload}/complete", {"part_ids": [a_part(http, upload, b"Hello")]}


def _store(rest: str = "", **body: Any) -> Make:
    return on(lambda http: f"/vector_stores/{a_store(http, 'Hello')['id']}{rest}", **body)


def _file_in_store(http: httpx.Client, upstream: ScriptedUpstream) -> Asked:
    file, store = a_file(http), a_store(http)
    posted(http, f"/vector_stores/{store['id']}/files", {"file_id": file})
    return f"/vector_stores/{store['id']}/files/{file}", {"attributes": {"a": 1}}


def _into_store(rest: str, member: str, *, several: bool = False) -> Make:
    def make(http: httpx.Client, upstream: ScriptedUpstream) -> Asked:
        file = a_file(http)
        return f"/vector_stores/{a_store(http)['id']}/{rest}", {member: [file] if several else file}

    return make


def _completion(http: httpx.Client, upstream: ScriptedUpstream) -> Asked:
    kept = posted(http, "/chat/completions", {**HELLO, "store": True})
    return f"/chat/completions/{kept['id']}", {"metadata": {"a": "b"}}


def _webhook(http: httpx.Client) -> str:
    page = http.get("/webhook_endpoints", params={"limit": 1}).json()["data"]  # There may be no more than twenty.
    return f"/webhook_endpoints/{(page[0] if page else posted(http, '/webhook_endpoints', ENDPOINT))['id']}"


HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}

CASES: dict[str, Make] = {
    "create_assistant": at("/assistants", model="gpt-4o"),
    "modify_assistant": on(_assistant, model="gpt-4o"),
    "create_thread": at("/threads"),
    "modify_thread": on(_thread),
    "create_message": on(lambda http: f"{_thread(http)}/messages", role="user", content="Hi"),
    "modify_message": on(_message),
    "create_run": _run,
    "create_thread_and_run": _thread_run,
    "modify_run": lambda http, upstream: (run_path(settled(http, a_run(http))), {}),
    "submit_tool_outputs": _outputs,
    "create_upload": at("/uploads", filename="a.txt", purpose="assistants", bytes=1, mime_type="text/plain"),
    "complete_upload": _upload,
    "create_vector_store": at("/vector_stores"),
    "modify_vector_store": _store(),
    "search_vector_store": _store("/search", query="Hello"),
    "create_vector_store_file": _into_store("files", "file_id"),
    "create_vector_store_file_batch": _into_store("file_batches", "file_ids", several=True),
    "update_vector_store_file_attributes": _file_in_store,
    "update_chat_completion": _completion,
    "create_chat_completion": at("/chat/completions", **HELLO),
    "create_completion": at("/completions", model="gpt-4o", prompt="Hi"),
    "create_embedding": at("/embeddings", model="text-embedding-3-small", input="Hi"),
    "create_image": at("/images/generations", prompt="a cat"),
    "create_moderation": at("/moderations", input="Hi", model="omni-moderation-latest"),
    "create_speech": at("/audio/speech", model="tts-1", voice="alloy", input="Hi"),
    "create_batch": lambda http, upstream: (
        "/batches",
        {"input_file_id": an_input(http, []), "endpoint": "/v1/chat/completions", "completion_window": "24h"},
    ),
    "create_fine_tuning_job": lambda http, upstream: (
        "/fine_tuning/jobs",
        {"model": BASE, "training_file": a_training_file(http)},
    ),
    "create_webhook_endpoint": at("/webhook_endpoints", **ENDPOINT),
    "update_webhook_endpoint": on(_webhook),
    "rotate_webhook_endpoint_secret": on(lambda http: f"{_webhook(http)}/rotate_secret"),
}
OWN = {"create_assistant_file", "retry_batch", "test_webhook_endpoint"}
"""Have nothing that need not be given."""

READ = {
    "create_chat_completion": chat.NewChatCompletion,
    "create_completion": completions.NewCompletion,
    "create_embedding": embeddings.NewEmbedding,
    "create_image": images.NewImage,
    "create_moderation": moderations.NewModeration,
    "create_speech": speech.NewSpeech,
}
COMMON = {
    route.name: READ.get(route.name, route.body)
    for route in ROUTES
    if route.body is not None and route.access == "project" and route.name not in OWN
}
ADMIN = {route.name: route.body for route in ROUTES if route.body is not None and route.access == "admin"}
V1: dict[str, Any] = {name: form for name, (form, _) in DIALECT.bodies.items()} | {
    route.name: route.body for route in DIALECT.routes if route.body is not None
}


def _in_project(admin: httpx.Client, rest: str = "") -> str:
    return f"{PROJECTS}/{a_project(admin)['id']}{rest}"


def _account(admin: httpx.Client, rest: str = "") -> str:
    project = a_project(admin)
    return f"{PROJECTS}/{project['id']}/service_accounts/{an_account(admin, project)['id']}{rest}"


def _member(admin: httpx.Client) -> str:
    path, user = _in_project(admin, "/users"), a_user(admin)["id"]
    return f"{path}/{posted(admin, path, {'user_id': user, 'role': 'member'})['id']}"


def _alert(admin: httpx.Client, where: str) -> str:
    return f"{where}/spend_alerts/{posted(admin, f'{where}/spend_alerts', ALERT)['id']}"


ADMIN_CASES: dict[str, Callable[[httpx.Client], Asked]] = {
    "create_admin_api_key": lambda admin: (ADMIN_KEYS, {"name": a_name()}),
    "invite_user": lambda admin: (INVITES, {"email": an_email(), "role": "reader"}),
    "create_project_user": lambda admin: (
        _in_project(admin, "/users"),
        {"user_id": a_user(admin)["id"], "role": "member"},
    ),
    "modify_project_user": lambda admin: (_member(admin), {"role": "owner"}),
    "create_project": lambda admin: (PROJECTS, {"name": a_name()}),
    "modify_project": lambda admin: (_in_project(admin), {"name": a_name()}),
    "create_project_service_account": lambda admin: (_in_project(admin, "/service_accounts"), {"name": a_name()}),
    "update_project_service_account": lambda admin: (_account(admin), {"name": a_name()}),
    "create_project_service_account_api_key": lambda admin: (_account(admin, "/api_keys"), {}),
    "modify_user": lambda admin: (f"{USERS}/{a_user(admin)['id']}", {"role": "reader"}),
    "update_project_rate_limits": lambda admin: (_in_project(admin, "/rate_limits/rl-gpt-4o"), {}),
    "update_project_model_permissions": lambda admin: (
        _in_project(admin, "/model_permissions"),
        {"mode": "deny_list", "model_ids": []},
    ),
    "update_project_spend_limit": lambda admin: (_in_project(admin, "/spend_limit"), SPENT),
    "update_organization_spend_limit": lambda admin: ("/organization/spend_limit", SPENT),
    "create_project_spend_alert": lambda admin: (_in_project(admin, "/spend_alerts"), ALERT),
    "update_project_spend_alert": lambda admin: (_alert(admin, _in_project(admin)), ALERT),
    "create_organization_spend_alert": lambda admin: ("/organization/spend_alerts", ALERT),
    "update_organization_spend_alert": lambda admin: (_alert(admin, "/organization"), ALERT),
}


@pytest.mark.parametrize("name", ADMIN_CASES)
def test_null_is_answered_as_nothing_in_the_organization(name: str, server: Everloom) -> None:
    with admin_of(server) as admin:
        optional = [field.encode_name for field in msgspec.structs.fields(ADMIN[name]) if not field.required]
        for field in [*optional, "unheard_of"]:
            path, body = ADMIN_CASES[name](admin)
            answered(admin.post(path, json={field: None, **body}))


def test_every_operation_that_takes_a_body_is_walked() -> None:
    assert CASES.keys() == COMMON.keys()
    assert ADMIN_CASES.keys() == ADMIN.keys()
    assert V1.keys() - OWN <= CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_null_is_answered_as_nothing(name: str, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    serve_all(upstream)
    walk(http, http, upstream, name, COMMON[name])


@pytest.mark.parametrize("name", sorted(V1.keys() - OWN))
def test_null_is_answered_as_nothing_in_v1(
    name: str, http: httpx.Client, old_http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    walk(http, old_http, upstream, name, V1[name])


def walk(http: httpx.Client, asking: httpx.Client, upstream: ScriptedUpstream, name: str, form: Any) -> None:
    path, body = CASES[name](http, upstream)
    without = answered(asking.post(path, json=body))
    for field in msgspec.structs.fields(form):
        if field.required or (name, field.encode_name) == ("create_vector_store_file_batch", "file_ids"):
            continue
        path, body = CASES[name](http, upstream)
        answer = answered(asking.post(path, json={**body, field.encode_name: None}))
        if not (name.startswith("modify_") and field.encode_name in CLEARED):
            assert answer == without, field.encode_name


CLEARED = {"name", "description", "instructions"}
"""What a modification takes away with null."""


def answered(answer: httpx.Response) -> Any:
    """What is said, without what is another one every time."""
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] != "application/json":
        return answer.content
    kinds = "asst|thread|msg|run|file|vs|vsfb|upload|chatcmpl|cmpl|modr|call|batch|whe|ftjob"
    text = re.sub(rf"\b({kinds})[-_]\w+", r"\1", answer.text)
    text = re.sub(r"whsec_[\w+/=.]+", "whsec", text)
    text = re.sub(r"(_at\"|\"created\"|\"seed\"): ?\d+", r"\1:0", text)
    return msgspec.json.decode(text)


@pytest.mark.parametrize(
    "field", ["language", "prompt", "response_format", "temperature", "stream", "chunking_strategy"]
)
def test_null_in_a_form(field: str, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    """As openai-node writes it. What has to be given is what it says."""
    serve_all(upstream)
    files = {"file": ("a.wav", wav(), "audio/wav")}
    answer = http.post("/audio/transcriptions", data={"model": "whisper-1", field: "null"}, files=files)
    assert answer.status_code == 200, answer.text
    assert [part.name for part in upstream.others[-1].form if part.filename is None] == ["model"]
