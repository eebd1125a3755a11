"""For each recorded request: the objects that it speaks of, made through the API and in the recorded state."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.batches import a_batch, a_line, an_input, ended
from tests.builders import WEATHER, Json, a_thread, an_assistant, fetched, posted, run_path, settled
from tests.fine_tuning import a_job, until
from tests.pictures import drawing
from tests.replies import Calls, Hangs, Reply, Says
from tests.scripted import ScriptedUpstream
from tests.spec.comparison import events
from tests.spec.traffic import Exchange
from tests.stores import ready

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@dataclass
class World:
    """The server under test and the model behind it."""

    http: httpx.Client
    upstream: ScriptedUpstream
    held: list[Json] = field(default_factory=list)
    working: list[Json] = field(default_factory=list)

    def hold(self, answer: httpx.Response) -> None:
        """Hold a run that the recorded request has begun: what the next test tells the model is not for it to hear."""
        if answer.request.method == "POST" and answer.headers["content-type"] == "application/json":
            made = answer.json()
            if made.get("object") == "thread.run":
                self.held.append(made)

    def release(self) -> None:
        """Let the runs and batches go that were held for the sake of their state."""
        for run in self.held:
            self.http.post(run_path(run) + "/cancel")
            settled(self.http, run)
        for batch in self.working:
            self.http.post(f"/batches/{batch['id']}/cancel")
            ended(self.http, batch)


@dataclass(frozen=True)
class Request:
    """The recorded request as it is sent here: its ids are those of objects that are here."""

    path: str
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def world(http: httpx.Client, upstream: ScriptedUpstream) -> Iterator[World]:
    """A world for one exchange; nothing it held stays held."""
    made = World(http, upstream)
    try:
        yield made
    finally:
        made.release()


def request(world: World, exchange: Exchange) -> Request:
    """Make what the recorded request needs, and the request. ``KeyError`` for an operation nobody prepared."""
    return PREPARED[exchange.template](world, exchange)


def _as_it_was(world: World, exchange: Exchange) -> Request:
    return _json(exchange, exchange.path)


def _json(exchange: Exchange, path: str, **ids: str) -> Request:
    path += f"?{exchange.query}" if exchange.query else ""
    if not exchange.request:
        return Request(path)
    body = json.dumps(json.loads(exchange.request) | ids) if ids else exchange.request
    return Request(path, body.encode(), {"content-type": "application/json"})


# --- assistants, threads, messages -----------------------------------------------------------------------------------


def _modify_assistant(world: World, exchange: Exchange) -> Request:
    return _json(exchange, f"/assistants/{an_assistant(world.http, instructions=None)['id']}")


def _on_thread(world: World, exchange: Exchange) -> Request:
    thread = a_thread(world.http)
    return _json(exchange, re.sub(r"thread_\w+", thread["id"], exchange.path))


def _modify_message(world: World, exchange: Exchange) -> Request:
    text = "Can you help me write an API library to interact with the OpenAI API please?"
    thread = a_thread(world.http, text)
    (message,) = fetched(world.http, f"/threads/{thread['id']}/messages")["data"]
    return _json(exchange, f"/threads/{thread['id']}/messages/{message['id']}")


# --- runs ------------------------------------------------------------------------------------------------------------


def _recorded_run(exchange: Exchange) -> Json:
    """The run that the answer shows, or an empty one where it shows none."""
    if exchange.headers["content-type"].startswith("text/event-stream"):
        run: Json = events(exchange.body)[0][1]
        return run
    answer = exchange.json()
    if answer.get("object") == "list":
        answer = answer["data"][0] if answer["data"] else {}
    return answer if answer.get("object") == "thread.run" else {}


def _assistant_of(world: World, exchange: Exchange) -> str:
    """The id of an assistant like the recorded run's."""
    run = _recorded_run(exchange)
    fields = {name: run[name] for name in ("model", "tool_resources") if name in run}
    made: str = an_assistant(world.http, instructions=run.get("instructions"), **fields)["id"]
    return made


def _create_run(world: World, exchange: Exchange) -> Request:
    world.upstream.rule(lambda body: Says(" ".join(["word"] * 20)))
    path = exchange.path
    if "thread_" in path:
        path = re.sub(r"thread_\w+", a_thread(world.http)["id"], path)
    return _json(exchange, path, assistant_id=_assistant_of(world, exchange))


def _held_run(world: World, exchange: Exchange, reply: Reply, **fields: Any) -> Json:
    """A run in progress, which stays so: its model has gone silent."""
    world.upstream.rule(lambda body: reply)
    recorded = _recorded_run(exchange)
    limits = {name: recorded[name] for name in ("max_prompt_tokens", "max_completion_tokens") if name in recorded}
    thread = a_thread(world.http, "Hi")
    body = {"assistant_id": _assistant_of(world, exchange), **limits, **fields}
    run = posted(world.http, f"/threads/{thread['id']}/runs", body)
    world.held.append(run)
    assert world.upstream.wait(lambda: world.upstream.active > 0)
    return settled(world.http, run, "in_progress")


def _with_run(world: World, exchange: Exchange) -> Request:
    run = _held_run(world, exchange, Hangs())
    return _json(exchange, _at(run, exchange.path))


def _at(run: Json, path: str) -> str:
    return re.sub(r"run_\w+", run["id"], re.sub(r"thread_\w+", run["thread_id"], path))


def _list_steps(world: World, exchange: Exchange) -> Request:
    steps = exchange.json()["data"]
    if not steps:
        return _with_run(world, exchange)
    reply = Hangs(3) if steps[0]["type"] == "message_creation" else Hangs(1, Calls(("weather", {"city": "Oslo"})))
    run = _held_run(world, exchange, reply, tools=[WEATHER])
    path = run_path(run) + "/steps"
    assert world.upstream.wait(lambda: bool(fetched(world.http, path)["data"])), "no step came about"
    return _json(exchange, _at(run, exchange.path))


# --- files, models, chat ---------------------------------------------------------------------------------------------


def _upload(world: World, exchange: Exchange) -> Request:
    boundary = exchange.request.partition("\r\n")[0].removeprefix("--")
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return Request(exchange.path, exchange.request.encode(), headers)


def _uploaded(world: World, name: str, purpose: str, data: bytes) -> str:
    answer = world.http.post("/files", files={"file": (name, data)}, data={"purpose": purpose})
    assert answer.status_code == 200, answer.text
    made: str = answer.json()["id"]
    return made


def _on_file(world: World, exchange: Exchange) -> Request:
    file = exchange.json()
    file = file["data"][0] if file["object"] == "list" else file
    if file["purpose"] == "fine-tune-results":
        until(world.http, a_job(world.http))
        return _json(exchange, exchange.path)
    id = _uploaded(world, file["filename"], file["purpose"], b"\n" * file["bytes"])
    return _json(exchange, re.sub(r"file-\w+", id, exchange.path))


def _file_content(world: World, exchange: Exchange) -> Request:
    return Request(f"/files/{_uploaded(world, 'image.png', 'vision', PNG)}/content")


def _model(world: World, exchange: Exchange) -> Request:
    return Request("/models/gpt-4o")


def _chat(world: World, exchange: Exchange) -> Request:
    if "tools" in json.loads(exchange.request):
        world.upstream.script(Calls(("get_current_weather", {"location": "Peak District"})))
    return _json(exchange, exchange.path)


def _image(world: World, exchange: Exchange) -> Request:
    world.upstream.serve("/images/generations", drawing)
    return _json(exchange, exchange.path)


def _searching_assistant(world: World, exchange: Exchange) -> Request:
    """A store for the one that the request names."""
    body = exchange.request
    if "vs_" in body:
        body = re.sub(r"vs_\w+", posted(world.http, "/vector_stores")["id"], body)
    return Request(exchange.path, body.encode(), {"content-type": "application/json"})


# --- vector stores ---------------------------------------------------------------------------------------------------


def _on_store(world: World, exchange: Exchange) -> Request:
    store = posted(world.http, "/vector_stores")
    return _json(exchange, re.sub(r"vs_\w+", store["id"], exchange.path))


def _into_store(world: World, exchange: Exchange) -> Request:
    file_id = _uploaded(world, "text.txt", "assistants", b"Hello world!")
    asked = _on_store(world, exchange)
    assert asked.content is not None
    return Request(asked.path, re.sub(rb"file-\w+", file_id.encode(), asked.content), asked.headers)


def _of_store(world: World, exchange: Exchange) -> Request:
    """A request about what has been read into a store: a file, or a batch of one."""
    store, file_id = posted(world.http, "/vector_stores"), _uploaded(world, "text.txt", "assistants", b"Hello world!")
    batch = posted(world.http, f"/vector_stores/{store['id']}/file_batches", {"file_ids": [file_id]})
    ready(world.http, store)
    path = re.sub(r"vs_\w+", store["id"], exchange.path)
    path = re.sub(r"vsfb_\w+", batch["id"], path)
    return _json(exchange, re.sub(r"file-\w+", file_id, path))


# --- batches ---------------------------------------------------------------------------------------------------------


def is_untouched(exchange: Exchange) -> bool:
    """Whether nobody had begun with the batch that was answered, or with the first of those in a list."""
    return _recorded_batch(exchange)["in_progress_at"] is None


def _recorded_batch(exchange: Exchange) -> Json:
    answer = exchange.json()
    batch: Json = answer["data"][0] if answer["object"] == "list" else answer
    return batch


def _new_batch(world: World, exchange: Exchange) -> Json:
    """A batch with as many requests as the recorded one, as far as that one."""
    world.upstream.rule(lambda body: Hangs())
    batch = a_batch(world.http, [a_line(1), a_line(2)])
    if not is_untouched(exchange):
        world.working.append(batch)
        path = f"/batches/{batch['id']}"
        assert world.upstream.wait(lambda: fetched(world.http, path)["status"] == "in_progress")
    return batch


def _create_batch(world: World, exchange: Exchange) -> Request:
    return _json(exchange, exchange.path, input_file_id=an_input(world.http, [a_line(1), a_line(2)]))


def _on_batch(world: World, exchange: Exchange) -> Request:
    return _json(exchange, re.sub(r"batch_\w+", _new_batch(world, exchange)["id"], exchange.path))


def _list_batches(world: World, exchange: Exchange) -> Request:
    answer = exchange.json()
    for _ in answer["data"] if answer["has_more"] else ():
        a_batch(world.http, b"")
    _new_batch(world, exchange)
    if "after=" not in exchange.query:
        return _json(exchange, exchange.path)
    newest = a_batch(world.http, b"")["id"]
    return Request(f"{exchange.path}?{re.sub('batch_[a-zA-Z0-9]+', newest, exchange.query)}")


PREPARED: dict[str, Callable[[World, Exchange], Request]] = {
    "POST /assistants": _searching_assistant,
    "POST /assistants/{}": _modify_assistant,
    "POST /threads": _as_it_was,
    "DELETE /threads/{}": _on_thread,
    "POST /threads/{}/messages": _on_thread,
    "POST /threads/{}/messages/{}": _modify_message,
    "POST /threads/{}/runs": _create_run,
    "POST /threads/runs": _create_run,
    "GET /threads/{}/runs": _with_run,
    "GET /threads/{}/runs/{}": _with_run,
    "POST /threads/{}/runs/{}": _with_run,
    "POST /threads/{}/runs/{}/cancel": _with_run,
    "POST /threads/{}/runs/{}/submit_tool_outputs": _with_run,
    "GET /threads/{}/runs/{}/steps": _list_steps,
    "POST /files": _upload,
    "GET /files": _on_file,
    "GET /files/{}": _on_file,
    "GET /files/{}/content": _file_content,
    "POST /vector_stores": _as_it_was,
    "GET /vector_stores/{}": _on_store,
    "POST /vector_stores/{}": _on_store,
    "POST /vector_stores/{}/files": _into_store,
    "GET /vector_stores/{}/files": _of_store,
    "GET /vector_stores/{}/files/{}": _of_store,
    "DELETE /vector_stores/{}/files/{}": _of_store,
    "POST /vector_stores/{}/file_batches": _into_store,
    "GET /vector_stores/{}/file_batches/{}": _of_store,
    "POST /vector_stores/{}/file_batches/{}/cancel": _of_store,
    "GET /vector_stores/{}/file_batches/{}/files": _of_store,
    "POST /batches": _create_batch,
    "GET /batches": _list_batches,
    "GET /batches/{}": _on_batch,
    "POST /batches/{}/cancel": _on_batch,
    "GET /fine_tuning/jobs/{}": _as_it_was,
    "GET /fine_tuning/jobs/{}/events": _as_it_was,
    "POST /fine_tuning/jobs/{}/cancel": _as_it_was,
    "POST /chat/completions": _chat,
    "POST /images/generations": _image,
    "POST /embeddings": _as_it_was,
    "POST /moderations": _as_it_was,
    "GET /models": _as_it_was,
    "GET /models/{}": _model,
}
"""Operation -> how its request is prepared."""
