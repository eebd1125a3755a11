"""Assistants v1 through HTTP: one store, seen under both headers."""

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from everloom.api import assistants, messages, runs, threads
from everloom.api.auth import Auth
from everloom.api.http import ROUTES
from everloom.api.server import Server
from everloom.api.v1 import DIALECT
from everloom.blobs.obstore import ObjectBlobs
from everloom.bus.memory import MemoryBus
from everloom.context import Context, Limits, Ports
from everloom.jobs.dbos import DbosJobs
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.models.registry import Models
from everloom.models.upstream import UpstreamBackend
from everloom.objects.files import AssistantFile, File
from everloom.store.base import Add
from everloom.store.sqlite import SqliteDatabase
from everloom.work.execution import execute
from everloom.work.keys import DEFAULT_PROJECT, create_key, first_start
from everloom.work.runs import RUN_JOB
from tests.replies import Calls, Says
from tests.scripted import ScriptedUpstream

Json = dict[str, Any]

TAGS = (assistants, messages, runs, threads)
CODE = {"type": "code_interpreter"}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


class Served:
    """A whole server in a thread of its own, on real ports: HTTP in, HTTP to a scripted upstream out."""

    def __init__(self, folder: Path, upstream: ScriptedUpstream) -> None:
        self._folder = folder
        self.upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self.url = ""

    def __enter__(self) -> "Served":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine beside the server."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _serve(self) -> None:
        self.ports = Ports(
            database=SqliteDatabase(self._folder / "everloom.db"),
            bus=MemoryBus(),
            jobs=DbosJobs(self._folder / "jobs.db", executor_id="embedded"),
            blobs=ObjectBlobs.at("memory:///"),
            models=Models([], default=UpstreamBackend(self.upstream.url)),
            limits=Limits(),
        )
        await self.ports.database.open()
        await self.ports.bus.open()
        await self.ports.models.open()
        await self.ports.jobs.launch({RUN_JOB: partial(execute, self.ports)}, work=True)
        await first_start(self.ports.database, api_key="sk-v1-test")
        self.ctx = Context.of(self.ports, DEFAULT_PROJECT)
        app = Server(self.ports, Auth(self.ports.database), ROUTES, [DIALECT])
        self._server = _Uvicorn(uvicorn.Config(app, port=0, lifespan="off", log_config=None), self._ready)
        try:
            await self._server.serve()
        finally:
            await self.ports.jobs.stop(0)
            await self.ports.models.close()
            await self.ports.bus.close()
            await self.ports.database.close()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}/v1"


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._ready.set()


class Client:
    """Calls under one version's header; a status of 400 and above is an error unless it is asked for."""

    def __init__(self, served: Served, version: str, key: str = "sk-v1-test") -> None:
        headers = {"authorization": f"Bearer {key}", "openai-beta": f"assistants={version}"}
        self.http = httpx.Client(base_url=served.base, headers=headers, timeout=30)

    def get(self, path: str, **query: Any) -> Json:
        return self._good(self.http.get(path, params=query))

    def post(self, path: str, **body: Any) -> Json:
        return self._good(self.http.post(path, json=body))

    def delete(self, path: str) -> Json:
        return self._good(self.http.delete(path))

    def refused(self, method: str, path: str, **body: Any) -> tuple[int, Json]:
        """The status and the error of a call that must fail."""
        answer = self.http.request(method, path, json=body or None)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json()["error"]

    def events(self, path: str, **body: Any) -> list[tuple[str, Any]]:
        """The events of a streamed answer, without the last one (``done``)."""
        answer = self.http.post(path, json={**body, "stream": True})
        assert answer.status_code == 200, answer.text
        blocks = [
            dict(line.split(": ", 1) for line in block.split("\n")) for block in answer.text.strip().split("\n\n")
        ]
        assert (blocks[-1]["event"], blocks[-1]["data"]) == ("done", "[DONE]")
        return [(block["event"], json.loads(block["data"])) for block in blocks[:-1]]

    @staticmethod
    def _good(answer: httpx.Response) -> Json:
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        return body


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ScriptedUpstream() as upstream, Served(tmp_path_factory.mktemp("v1"), upstream) as served:
        yield served


@pytest.fixture
def old(served: Served) -> Iterator[Client]:
    client = Client(served, "v1")
    with client.http:
        yield client


@pytest.fixture
def new(served: Served) -> Iterator[Client]:
    client = Client(served, "v2")
    with client.http:
        yield client


@pytest.fixture
def files(served: Served) -> list[str]:
    """The ids of thirty files of the project."""
    made = [
        File(id=new_id("file-"), created_at=now(), bytes=1, filename=f"{number}.txt", purpose="assistants")
        for number in range(30)
    ]
    served.do(served.ctx.store.write(*map(Add, made)))
    return [file.id for file in made]


def ended(client: Client, run: Json) -> Json:
    """The run once it has ended or waits for its caller."""
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    for _ in range(400):
        run = client.get(path)
        if run["status"] not in ("queued", "in_progress", "cancelling"):
            return run
        threading.Event().wait(0.025)
    raise AssertionError(f"the run does not end: {run}")


# --- assistants --------------------------------------------------------------------------------------------------------


def test_an_assistant_of_v1_is_seen_under_both_headers(old: Client, new: Client, files: list[str]) -> None:
    made = old.post("/assistants", model="gpt-4o", tools=[CODE, {"type": "retrieval"}, WEATHER], file_ids=files[:3])

    assert set(made) == {
        *("id", "object", "created_at", "name", "description", "model", "instructions", "tools", "file_ids"),
        *("metadata", "top_p", "temperature", "response_format"),
    }
    assert made["file_ids"] == files[:3]
    assert made["tools"] == [CODE, {"type": "retrieval"}, WEATHER]
    assert old.get(f"/assistants/{made['id']}") == made
    assert old.get("/assistants", limit=1)["data"] == [made]

    other = new.get(f"/assistants/{made['id']}")
    assert "file_ids" not in other
    assert other["tools"] == [CODE, {"type": "file_search"}, WEATHER]
    assert other["tool_resources"] == {"code_interpreter": {"file_ids": files[:3]}}


def test_an_assistant_of_v2_is_seen_in_v1_with_what_v1_knows(old: Client, new: Client, files: list[str]) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    strict = {"type": "function", "function": {"name": "weather", "strict": True}}
    search = {"type": "file_search", "file_search": {"max_num_results": 5}}
    resources = {"code_interpreter": {"file_ids": files[:1]}}
    made = new.post(
        "/assistants", model="gpt-4o", tools=[CODE, search, strict], tool_resources=resources, response_format=schema
    )

    seen = old.get(f"/assistants/{made['id']}")

    assert seen["tools"] == [CODE, {"type": "retrieval"}, {"type": "function", "function": {"name": "weather"}}]
    assert seen["response_format"] == {"type": "json_object"}
    assert seen["file_ids"] == []
    assert "tool_resources" not in seen

    fields = {name: seen[name] for name in ("name", "tools", "file_ids", "response_format", "metadata")}
    old.post(f"/assistants/{made['id']}", **fields)
    assert new.get(f"/assistants/{made['id']}") == made, "a client that writes back what it read changes nothing"


def test_modify_replaces_the_attachments(old: Client, new: Client, files: list[str]) -> None:
    id = old.post("/assistants", model="gpt-4o", tools=[CODE], file_ids=files[:3])["id"]

    assert old.post(f"/assistants/{id}", file_ids=[files[2], files[4]])["file_ids"] == [files[2], files[4]]
    assert new.get(f"/assistants/{id}")["tool_resources"] == {"code_interpreter": {"file_ids": [files[2], files[4]]}}

    assert old.post(f"/assistants/{id}", name="a name")["file_ids"] == [files[2], files[4]]
    assert old.post(f"/assistants/{id}", file_ids=files[10:30])["file_ids"] == files[10:30]
    assert old.post(f"/assistants/{id}", file_ids=[])["file_ids"] == []
    assert new.get(f"/assistants/{id}")["tool_resources"] == {"code_interpreter": {"file_ids": []}}


def test_null_brings_an_assistants_own_settings_back(old: Client) -> None:
    given = {"name": "n", "instructions": "i", "temperature": 0.5, "metadata": {"a": "b"}}
    id = old.post("/assistants", model="gpt-4o", response_format={"type": "json_object"}, **given)["id"]
    changed = old.post(f"/assistants/{id}", response_format=None, **dict.fromkeys(given))
    assert [changed[name] for name in given] == [None, None, 1.0, {}]
    assert changed["response_format"] == "auto"


def test_the_code_interpreter_comes_and_goes_with_its_files(old: Client, new: Client, files: list[str]) -> None:
    id = old.post("/assistants", model="gpt-4o", tools=[{"type": "retrieval"}], file_ids=files[:2])["id"]
    assert new.get(f"/assistants/{id}")["tool_resources"] == {}

    assert old.post(f"/assistants/{id}", tools=[CODE])["file_ids"] == files[:2]
    assert new.get(f"/assistants/{id}")["tool_resources"] == {"code_interpreter": {"file_ids": files[:2]}}

    assert old.post(f"/assistants/{id}", tools=[])["file_ids"] == files[:2]
    assert new.get(f"/assistants/{id}")["tool_resources"] == {"code_interpreter": {"file_ids": []}}


def test_what_v2_changes_is_not_shown_in_v1_and_not_undone_by_it(old: Client, new: Client, files: list[str]) -> None:
    id = old.post("/assistants", model="gpt-4o", tools=[CODE], file_ids=files[:2])["id"]
    resources = {"code_interpreter": {"file_ids": [files[1], files[5]]}}
    new.post(f"/assistants/{id}", tool_resources=resources)

    assert old.get(f"/assistants/{id}")["file_ids"] == files[:2]
    old.post(f"/assistants/{id}", name="another", tools=[CODE], file_ids=files[:2])
    assert new.get(f"/assistants/{id}")["tool_resources"] == resources

    old.delete(f"/assistants/{id}/files/{files[1]}")
    assert new.get(f"/assistants/{id}")["tool_resources"] == {"code_interpreter": {"file_ids": [files[5]]}}


def test_a_file_that_is_not_there_is_refused_and_nothing_is_kept(served: Served, old: Client, files: list[str]) -> None:
    before = old.get("/assistants", limit=1)["first_id"]
    missing = "No such File object: file-missing"
    status, error = old.refused("POST", "/assistants", model="gpt-4o", file_ids=[files[0], "file-missing"])
    assert (status, error["message"]) == (404, missing)
    assert old.get("/assistants", limit=1)["first_id"] == before

    id = old.post("/assistants", model="gpt-4o", name="kept", file_ids=files[:1])["id"]
    status, error = old.refused("POST", f"/assistants/{id}", name="lost", file_ids=["file-missing"])
    assert (status, error["message"]) == (404, missing)
    assert (old.get(f"/assistants/{id}")["name"], old.get(f"/assistants/{id}")["file_ids"]) == ("kept", files[:1])
    assert old.refused("POST", f"/assistants/{id}/files", file_id="file-missing")[0] == 404


def test_the_end_of_an_assistant_is_the_end_of_its_attachments(served: Served, old: Client, files: list[str]) -> None:
    id = old.post("/assistants", model="gpt-4o", file_ids=files[:2])["id"]
    assert old.delete(f"/assistants/{id}") == {"id": id, "object": "assistant.deleted", "deleted": True}
    assert served.do(served.ctx.store.all(AssistantFile, assistant_id=id)) == []
    status, error = old.refused("GET", f"/assistants/{id}/files")
    assert (status, error["message"]) == (404, f"No assistant found with id '{id}'.")


# --- assistant files ---------------------------------------------------------------------------------------------------


def test_assistant_files(old: Client, new: Client, files: list[str]) -> None:
    id = old.post("/assistants", model="gpt-4o", tools=[CODE])["id"]
    made = old.post(f"/assistants/{id}/files", file_id=files[0])
    assert made == {"id": files[0], "object": "assistant.file", "created_at": made["created_at"], "assistant_id": id}
    assert old.post(f"/assistants/{id}/files", file_id=files[0]) == made
    assert old.get(f"/assistants/{id}/files/{files[0]}") == made
    assert old.get(f"/assistants/{id}")["file_ids"] == [files[0]]
    assert new.get(f"/assistants/{id}")["tool_resources"] == {"code_interpreter": {"file_ids": [files[0]]}}

    deleted = old.delete(f"/assistants/{id}/files/{files[0]}")
    assert deleted == {"id": files[0], "object": "assistant.file.deleted", "deleted": True}
    assert new.get(f"/assistants/{id}")["tool_resources"] == {"code_interpreter": {"file_ids": []}}
    for method in ("GET", "DELETE"):
        status, error = old.refused(method, f"/assistants/{id}/files/{files[0]}")
        assert (status, error["message"]) == (404, f"No assistant file found with id '{files[0]}'.")


def test_assistant_files_are_listed_page_by_page(old: Client, files: list[str]) -> None:
    id = old.post("/assistants", model="gpt-4o", file_ids=files[:5])["id"]
    path = f"/assistants/{id}/files"

    def ids(**query: Any) -> list[str]:
        page = old.get(path, **query)
        found = [line["id"] for line in page["data"]]
        assert (page["object"], page["first_id"], page["last_id"]) == (
            "list",
            *((found[0], found[-1]) if found else (None,) * 2),
        )
        return found

    assert ids() == files[4::-1]
    assert ids(order="asc") == files[:5]
    assert ids(order="asc", limit=2) == files[:2]
    assert ids(order="asc", limit=2, after=files[1]) == files[2:4]
    assert ids(order="asc", after=files[4]) == []
    assert ids(order="asc", limit=2, before=files[4]) == files[2:4]
    assert ids(limit=2, before=files[0]) == [files[2], files[1]]
    assert ids(order="asc", after=files[0], before=files[3]) == files[1:3]
    assert [old.get(path, limit=limit)["has_more"] for limit in (4, 5, 6)] == [True, False, False]


def test_twenty_files_and_no_more(old: Client, files: list[str]) -> None:
    status, error = old.refused("POST", "/assistants", model="gpt-4o", file_ids=files[:21])
    assert (status, error["param"], error["code"]) == (400, "file_ids", "array_above_max_length")

    id = old.post("/assistants", model="gpt-4o", file_ids=files[:19])["id"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda file: old.http.post(f"/assistants/{id}/files", json={"file_id": file}), files[19:27])
        )
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
    assert len(old.get(f"/assistants/{id}")["file_ids"]) == 20


def test_attaching_at_once_loses_nothing(old: Client, new: Client, files: list[str]) -> None:
    id = old.post("/assistants", model="gpt-4o", tools=[CODE])["id"]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda file: old.post(f"/assistants/{id}/files", file_id=file), files[:6] * 2))
    assert sorted(old.get(f"/assistants/{id}")["file_ids"]) == sorted(files[:6])
    assert sorted(new.get(f"/assistants/{id}")["tool_resources"]["code_interpreter"]["file_ids"]) == sorted(files[:6])


# --- threads and messages ----------------------------------------------------------------------------------------------


def test_threads_show_no_tool_resources(old: Client, new: Client) -> None:
    thread = old.post("/threads", metadata={"a": True, "b": 1, "c": 0.5, "d": None, "e": "text"})
    assert set(thread) == {"id", "object", "created_at", "metadata"}
    assert thread["metadata"] == {"a": "True", "b": "1", "c": "0.5", "d": "None", "e": "text"}
    assert new.get(f"/threads/{thread['id']}")["tool_resources"] == {}
    assert old.post(f"/threads/{thread['id']}", metadata={"modified": True})["metadata"] == {"modified": "True"}
    assert old.post(f"/threads/{thread['id']}", metadata=None)["metadata"] == {}
    assert old.delete(f"/threads/{thread['id']}")["object"] == "thread.deleted"


def test_a_messages_files_are_its_attachments(old: Client, new: Client, files: list[str]) -> None:
    thread = old.post("/threads", messages=[{"role": "user", "content": "first", "file_ids": files[:1]}])["id"]
    made = old.post(f"/threads/{thread}/messages", role="user", content="hello", file_ids=files[:3])
    assert set(made) == {
        *("id", "object", "created_at", "thread_id", "status", "incomplete_details", "completed_at", "incomplete_at"),
        *("role", "content", "assistant_id", "run_id", "file_ids", "metadata"),
    }
    assert made["content"] == [{"type": "text", "text": {"value": "hello", "annotations": []}}]
    listed = old.get(f"/threads/{thread}/messages", order="asc")["data"]
    assert [message["file_ids"] for message in listed] == [files[:1], files[:3]]

    tools = [CODE, {"type": "file_search"}]
    seen = new.get(f"/threads/{thread}/messages/{made['id']}")
    assert seen["attachments"] == [{"file_id": file, "tools": tools} for file in files[:3]]

    path = f"/threads/{thread}/messages/{made['id']}"
    line = {"object": "thread.message.file", "created_at": made["created_at"], "message_id": made["id"]}
    assert old.get(f"{path}/files", order="asc")["data"] == [{"id": file, **line} for file in files[:3]]
    assert [each["id"] for each in old.get(f"{path}/files", limit=2)["data"]] == [files[2], files[1]]
    assert old.get(f"{path}/files/{files[1]}") == {"id": files[1], **line}
    status, error = old.refused("GET", f"{path}/files/{files[7]}")
    assert (status, error["message"]) == (404, f"No message file found with id '{files[7]}'.")
    assert old.post(path, metadata={"modified": True})["metadata"] == {"modified": "True"}


def test_parts_that_v1_never_knew_are_shown_as_text(old: Client, new: Client, files: list[str]) -> None:
    thread = new.post("/threads")["id"]
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    file = {"type": "image_file", "image_file": {"file_id": files[0], "detail": "high"}}
    made = new.post(f"/threads/{thread}/messages", role="user", content=[{"type": "text", "text": "a"}, picture, file])
    assert old.get(f"/threads/{thread}/messages/{made['id']}")["content"] == [
        {"type": "text", "text": {"value": "a", "annotations": []}},
        {"type": "text", "text": {"value": "https://example.com/a.png", "annotations": []}},
        {"type": "image_file", "image_file": {"file_id": files[0]}},
    ]


# --- what v1 refuses ---------------------------------------------------------------------------------------------------

MESSAGE = "/threads/{thread}/messages"
RUN = "/threads/{thread}/runs"
REFUSED = [
    ("/assistants", {"model": "gpt-4o", "tool_resources": {}}, "tool_resources", "unknown_parameter"),
    ("/assistants", {"model": "gpt-4o", "metadata": {"a": []}}, "metadata.a", "invalid_type"),
    ("/assistants", {"model": "gpt-4o", "metadata": {"a": "x" * 513}}, "metadata.a", "string_above_max_length"),
    (
        "/assistants",
        {"model": "gpt-4o", "response_format": {"type": "json_schema"}},
        "response_format.type",
        "invalid_value",
    ),
    ("/assistants", {}, "model", "missing_required_parameter"),
    (MESSAGE, {"role": "user", "content": [{"type": "text", "text": "a"}]}, "content", "invalid_type"),
    (MESSAGE, {"role": "user", "content": ""}, "content", "empty_string"),
    (MESSAGE, {"role": "user", "content": "x" * 256_001}, "content", "string_above_max_length"),
    (MESSAGE, {"role": "user", "content": "a", "attachments": []}, "attachments", "unknown_parameter"),
    (MESSAGE, {"role": "user", "content": "a", "file_ids": ["file-1"] * 11}, "file_ids", "array_above_max_length"),
    ("/threads", {"tool_resources": {}}, "tool_resources", "unknown_parameter"),
    (RUN, {"assistant_id": "asst_1", "parallel_tool_calls": True}, "parallel_tool_calls", "unknown_parameter"),
    (RUN, {"assistant_id": "asst_1", "tool_choice": "required"}, "tool_choice", "invalid_value"),
    (RUN, {"assistant_id": "asst_1", "tools": [CODE] * 21}, "tools", "array_above_max_length"),
]


@pytest.mark.parametrize(("path", "body", "param", "code"), REFUSED)
def test_what_v1_never_knew_is_refused(old: Client, path: str, body: Json, param: str, code: str) -> None:
    thread = old.post("/threads")["id"]
    status, error = old.refused("POST", path.format(thread=thread), **(body or {"name": "a"}))
    assert (status, error["param"], error["code"]) == (400, param, code)


def test_a_tool_of_v2_is_refused_in_the_platforms_words(old: Client) -> None:
    status, error = old.refused("POST", "/assistants", model="gpt-4o", tools=[CODE, {"type": "file_search"}])
    supported = "Supported values are: 'code_interpreter', 'function', and 'retrieval'."
    assert (status, error["message"]) == (400, f"Invalid value: 'file_search'. {supported}")
    assert (error["param"], error["code"]) == ("tools[1].type", "invalid_value")


def test_the_operations_that_only_v1_had_are_unknown_to_v2(old: Client, new: Client, files: list[str]) -> None:
    id = old.post("/assistants", model="gpt-4o", file_ids=files[:1])["id"]
    assert new.refused("GET", f"/assistants/{id}/files")[0] == 404
    status, error = new.refused("POST", f"/assistants/{id}", file_ids=[])
    assert (status, error["message"]) == (400, "Unknown parameter: 'file_ids'.")


def test_another_project_sees_none_of_it(served: Served, old: Client, files: list[str]) -> None:
    key, _ = served.do(create_key(served.ports.database, project="other"))
    made = old.post("/assistants", model="gpt-4o", file_ids=files[:1])
    thread = old.post("/threads")["id"]
    message = old.post(f"/threads/{thread}/messages", role="user", content="a", file_ids=files[:1])["id"]
    other = Client(served, "v1", key)
    with other.http:
        paths = (f"/assistants/{made['id']}", f"/threads/{thread}/messages/{message}")
        for path in paths:
            assert other.refused("POST", path, metadata={})[0] == 404
            assert other.refused("GET", f"{path}/files")[0] == 404
            assert other.refused("GET", f"{path}/files/{files[0]}")[0] == 404
        assert other.refused("POST", f"/assistants/{made['id']}/files", file_id=files[1])[0] == 404
        assert other.refused("DELETE", f"/assistants/{made['id']}/files/{files[0]}")[0] == 404
        status, error = other.refused("POST", "/assistants", model="gpt-4o", file_ids=files[:1])
        assert (status, error["message"]) == (404, f"No such File object: {files[0]}")
    assert old.get(f"/assistants/{made['id']}") == made


# --- runs --------------------------------------------------------------------------------------------------------------

RUN_KEYS = {
    *("id", "object", "created_at", "assistant_id", "thread_id", "status", "started_at", "expires_at"),
    *("cancelled_at", "failed_at", "completed_at", "required_action", "last_error", "model", "instructions", "tools"),
    *("file_ids", "metadata", "temperature", "top_p", "max_completion_tokens", "max_prompt_tokens"),
    *("truncation_strategy", "incomplete_details", "usage", "response_format", "tool_choice"),
}
STEP_KEYS = {
    *("id", "object", "created_at", "assistant_id", "thread_id", "run_id", "type", "status", "step_details"),
    *("last_error", "expired_at", "expires_at", "cancelled_at", "failed_at", "completed_at", "metadata", "usage"),
}


def test_a_run_from_its_start_to_its_steps(served: Served, old: Client, new: Client, files: list[str]) -> None:
    served.upstream.script(Calls(("weather", {"city": "Oslo"})), Says("It rains."))
    assistant = old.post("/assistants", model="gpt-4o", tools=[WEATHER], file_ids=files[:2])["id"]
    thread = old.post("/threads", messages=[{"role": "user", "content": "The weather?"}])["id"]
    run = old.post(f"/threads/{thread}/runs", assistant_id=assistant, metadata={"run": True})
    assert set(run) == RUN_KEYS
    assert (run["status"], run["file_ids"], run["metadata"]) == ("queued", files[:2], {"run": "True"})

    run = ended(old, run)
    assert run["status"] == "requires_action"
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    output = {"tool_call_id": call["id"], "output": "rain"}
    old.post(f"/threads/{thread}/runs/{run['id']}/submit_tool_outputs", tool_outputs=[output])
    run = ended(old, run)
    assert (run["status"], run["incomplete_details"]) == ("completed", None)
    assert old.get(f"/threads/{thread}/runs")["data"] == [run]
    assert {"tool_resources", "parallel_tool_calls"} <= set(new.get(f"/threads/{thread}/runs/{run['id']}"))

    steps = old.get(f"/threads/{thread}/runs/{run['id']}/steps", order="asc")["data"]
    assert [step["type"] for step in steps] == ["tool_calls", "message_creation"]
    assert all(set(step) == STEP_KEYS for step in steps)
    assert old.get(f"/threads/{thread}/runs/{run['id']}/steps/{steps[0]['id']}") == steps[0]


def test_v1_runs_on_an_empty_thread(served: Served, old: Client, new: Client) -> None:
    assistant = old.post("/assistants", model="gpt-4o")["id"]
    thread = old.post("/threads")["id"]
    status, error = new.refused("POST", f"/threads/{thread}/runs", assistant_id=assistant)
    assert (status, error["code"]) == (400, "invalid_thread")
    assert ended(old, old.post(f"/threads/{thread}/runs", assistant_id=assistant))["status"] == "completed"


def test_an_incomplete_run_is_a_completed_one_with_details(served: Served, old: Client, new: Client) -> None:
    served.upstream.script(Says("one two three", finish="length"))
    assistant = old.post("/assistants", model="gpt-4o")["id"]
    events = old.events(
        "/threads/runs",
        assistant_id=assistant,
        thread={"messages": [{"role": "user", "content": "Count."}]},
        max_completion_tokens=256,
    )
    names = [name for name, _ in events if name != "thread.message.delta"]
    assert names == [
        *("thread.created", "thread.run.created", "thread.run.queued", "thread.run.in_progress"),
        *("thread.run.step.created", "thread.run.step.in_progress", "thread.message.created"),
        *("thread.message.in_progress", "thread.message.incomplete", "thread.run.step.completed"),
        "thread.run.completed",
    ]
    by_name = dict(events)
    assert set(by_name["thread.created"]) == {"id", "object", "created_at", "metadata"}
    run = by_name["thread.run.completed"]
    assert set(run) == RUN_KEYS
    assert (run["status"], run["incomplete_details"]) == ("completed", {"reason": "max_completion_tokens"})
    assert isinstance(run["completed_at"], int)
    assert old.get(f"/threads/{run['thread_id']}/runs/{run['id']}") == run
    assert new.get(f"/threads/{run['thread_id']}/runs/{run['id']}")["status"] == "incomplete"
    message = by_name["thread.message.incomplete"]
    assert (message["file_ids"], message["incomplete_details"]) == ([], {"reason": "max_tokens"})


def test_a_named_tool_is_forced_by_its_v1_name(served: Served, old: Client, new: Client) -> None:
    served.upstream.script(Calls(("weather", {})))
    assistant = old.post("/assistants", model="gpt-4o", tools=[WEATHER], instructions="i")["id"]
    choice = {"type": "function", "function": {"name": "weather"}}
    message = {"role": "user", "content": "more", "metadata": {"n": 1}}
    run = old.post(
        "/threads/runs",
        assistant_id=assistant,
        tool_choice=choice,
        thread={"messages": [message]},
        response_format="none",
    )
    assert (run["tool_choice"], run["response_format"]) == (choice, "auto")
    assert ended(new, run)["status"] == "requires_action"
    assert old.post(f"/threads/{run['thread_id']}/runs/{run['id']}", metadata={"m": False})["metadata"] == {
        "m": "False"
    }
