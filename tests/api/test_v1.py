"""Assistants v1 through HTTP: one store, seen under both headers, on either database."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.builders import WEATHER, Json, a_run, a_thread, an_assistant, events_of, fetched, posted, refused, settled
from tests.builders import run_path as path_of
from tests.replies import Calls, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of

CODE = {"type": "code_interpreter"}
RETRIEVAL = {"type": "retrieval"}
_uploaded: dict[str, list[str]] = {}


@pytest.fixture
def old(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server, beta="assistants=v1") as client:
        yield client


@pytest.fixture
def new(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server) as client:
        yield client


@pytest.fixture
def files(each_server: Everloom, new: httpx.Client) -> list[str]:
    """The ids of twenty-five files that stay."""
    if each_server.url not in _uploaded:
        _uploaded[each_server.url] = [upload(new) for _ in range(25)]
    return _uploaded[each_server.url]


def upload(http: httpx.Client) -> str:
    answer = http.post("/files", data={"purpose": "assistants"}, files={"file": ("a.txt", b"a")})
    assert answer.status_code == 200, answer.text
    id: str = answer.json()["id"]
    return id


def changed(http: httpx.Client, assistant: Json, **changes: Any) -> Json:
    return posted(http, f"/assistants/{assistant['id']}", changes)


def resources(http: httpx.Client, assistant: Json) -> Json:
    """What an assistant's code interpreter may reach, which v2 alone shows. Retrieval: ``test_tool_resources.py``."""
    found: Json = fetched(http, f"/assistants/{assistant['id']}")["tool_resources"]
    found.pop("file_search", None)
    return found


def code_files(*file_ids: str) -> Json:
    return {"code_interpreter": {"file_ids": list(file_ids)}}


# --- assistants ------------------------------------------------------------------------------------------------------

ASSISTANT_KEYS = {
    *("id", "object", "created_at", "name", "description", "model", "instructions", "tools", "file_ids"),
    *("metadata", "top_p", "temperature", "response_format"),
}


def test_an_assistant_of_v1_is_seen_under_both_headers(old: httpx.Client, new: httpx.Client, files: list[str]) -> None:
    made = an_assistant(old, tools=[CODE, RETRIEVAL, WEATHER], file_ids=files[:3])
    assert set(made) == ASSISTANT_KEYS
    assert made["file_ids"] == files[:3]
    assert made["tools"] == [CODE, RETRIEVAL, WEATHER]
    assert fetched(old, f"/assistants/{made['id']}") == made
    assert fetched(old, "/assistants", limit=1)["data"] == [made]

    seen = fetched(new, f"/assistants/{made['id']}")
    assert "file_ids" not in seen
    ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.0}
    assert seen["tools"] == [CODE, {"type": "file_search", "file_search": {"ranking_options": ranking}}, WEATHER]
    assert seen["tool_resources"]["code_interpreter"] == {"file_ids": files[:3]}


def test_an_assistant_of_v2_is_seen_with_what_v1_knows(old: httpx.Client, new: httpx.Client, files: list[str]) -> None:
    made = an_assistant(
        new,
        tools=[
            {"type": "file_search", "file_search": {"max_num_results": 5}},
            {"type": "function", "function": {"name": "weather", "strict": True}},
        ],
        tool_resources=code_files(files[0]),
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    )
    seen = fetched(old, f"/assistants/{made['id']}")
    assert set(seen) == ASSISTANT_KEYS
    assert seen["tools"] == [RETRIEVAL, {"type": "function", "function": {"name": "weather"}}]
    assert seen["response_format"] == {"type": "json_object"}
    assert seen["file_ids"] == []

    fields = ("name", "model", "tools", "file_ids", "response_format", "metadata")
    changed(old, made, **{name: seen[name] for name in fields})
    assert fetched(new, f"/assistants/{made['id']}") == made, "who writes back what it read changes nothing"


def test_modify_replaces_the_attachments(old: httpx.Client, new: httpx.Client, files: list[str]) -> None:
    made = an_assistant(old, tools=[CODE], file_ids=files[:3])
    assert changed(old, made, file_ids=[files[2], files[4]])["file_ids"] == [files[2], files[4]]
    assert resources(new, made) == code_files(files[2], files[4])
    assert changed(old, made, name="a name")["file_ids"] == [files[2], files[4]]
    assert changed(old, made, file_ids=files[5:25])["file_ids"] == files[5:25]
    assert changed(old, made, file_ids=[])["file_ids"] == []
    assert resources(new, made) == code_files()


def test_null_brings_an_assistants_own_settings_back(old: httpx.Client) -> None:
    given = {"name": "n", "instructions": "i", "temperature": 0.5, "metadata": {"a": "b"}}
    made = an_assistant(old, response_format={"type": "json_object"}, **given)
    back = changed(old, made, response_format=None, **dict.fromkeys(given))
    assert [back[name] for name in given] == [None, None, 1.0, {}]
    assert back["response_format"] == "auto"


def test_the_code_interpreter_comes_and_goes_with_its_files(
    old: httpx.Client, new: httpx.Client, files: list[str]
) -> None:
    made = an_assistant(old, tools=[RETRIEVAL], file_ids=files[:2])
    assert resources(new, made) == {}
    assert changed(old, made, tools=[CODE])["file_ids"] == files[:2]
    assert resources(new, made) == code_files(*files[:2])
    assert changed(old, made, tools=[])["file_ids"] == files[:2]
    assert resources(new, made) == code_files()


def test_what_v2_changes_is_not_shown_in_v1_nor_undone(old: httpx.Client, new: httpx.Client, files: list[str]) -> None:
    made = an_assistant(old, tools=[CODE], file_ids=files[:2])
    changed(new, made, tool_resources=code_files(files[1], files[5]))
    assert fetched(old, f"/assistants/{made['id']}")["file_ids"] == files[:2]
    changed(old, made, name="another", tools=[CODE], file_ids=files[:2])
    assert resources(new, made) == code_files(files[1], files[5])
    assert old.delete(f"/assistants/{made['id']}/files/{files[1]}").status_code == 200
    assert resources(new, made) == code_files(files[5])


def test_a_file_that_is_not_there_is_refused_and_nothing_is_kept(old: httpx.Client, files: list[str]) -> None:
    made = an_assistant(old, name="kept", file_ids=files[:1])
    missing = "No such File object: file-missing"
    refused(old.post("/assistants", json={"model": "gpt-4o", "file_ids": [files[0], "file-missing"]}), 404, missing)
    assert fetched(old, "/assistants", limit=1)["data"] == [made]
    path = f"/assistants/{made['id']}"
    refused(old.post(path, json={"name": "lost", "file_ids": ["file-missing"]}), 404, missing)
    refused(old.post(f"{path}/files", json={"file_id": "file-missing"}), 404, missing)
    assert fetched(old, path) == made


def test_a_deleted_file_goes_from_every_view(old: httpx.Client, new: httpx.Client, files: list[str]) -> None:
    file_id = upload(new)
    made = an_assistant(old, tools=[CODE], file_ids=[files[0], file_id])
    assert new.delete(f"/files/{file_id}").status_code == 200
    assert fetched(old, f"/assistants/{made['id']}")["file_ids"] == files[:1]
    assert resources(new, made) == code_files(files[0])


# --- assistant files -------------------------------------------------------------------------------------------------


def test_assistant_files(old: httpx.Client, new: httpx.Client, files: list[str]) -> None:
    assistant = an_assistant(old, tools=[CODE])
    path = f"/assistants/{assistant['id']}/files"
    made = posted(old, path, {"file_id": files[0]})
    line = {"id": files[0], "object": "assistant.file", "assistant_id": assistant["id"]}
    assert made == {**line, "created_at": made["created_at"]}
    assert posted(old, path, {"file_id": files[0]}) == made
    assert fetched(old, f"{path}/{files[0]}") == made
    assert fetched(old, f"/assistants/{assistant['id']}")["file_ids"] == [files[0]]
    assert resources(new, assistant) == code_files(files[0])

    gone = old.delete(f"{path}/{files[0]}").json()
    assert gone == {"id": files[0], "object": "assistant.file.deleted", "deleted": True}
    assert resources(new, assistant) == code_files()
    assert fetched(new, f"/files/{files[0]}")["id"] == files[0]
    for answer in (old.get(f"{path}/{files[0]}"), old.delete(f"{path}/{files[0]}")):
        refused(answer, 404, f"No assistant file found with id '{files[0]}'.")
    old.delete(f"/assistants/{assistant['id']}")
    refused(old.get(path), 404, f"No assistant found with id '{assistant['id']}'.")


def test_assistant_files_are_listed_page_by_page(old: httpx.Client, files: list[str]) -> None:
    path = f"/assistants/{an_assistant(old, file_ids=files[:5])['id']}/files"

    def ids(**query: Any) -> list[str]:
        page = fetched(old, path, **query)
        found = [line["id"] for line in page["data"]]
        assert page["object"] == "list"
        assert [page["first_id"], page["last_id"]] == ([found[0], found[-1]] if found else [None, None])
        return found

    assert ids() == files[4::-1]
    assert ids(order="asc") == files[:5]
    assert ids(order="asc", limit=2) == files[:2]
    assert ids(order="asc", limit=2, after=files[1]) == files[2:4]
    assert ids(order="asc", after=files[4]) == []
    assert ids(order="asc", limit=2, before=files[4]) == files[2:4]
    assert ids(limit=2, before=files[0]) == [files[2], files[1]]
    assert ids(order="asc", after=files[0], before=files[3]) == files[1:3]
    assert [fetched(old, path, limit=limit)["has_more"] for limit in (4, 5, 6)] == [True, False, False]


def test_twenty_files_and_no_more_whoever_is_first(old: httpx.Client, new: httpx.Client, files: list[str]) -> None:
    answer = old.post("/assistants", json={"model": "gpt-4o", "file_ids": files[:21]})
    refused(answer, 400, param="file_ids", code="array_above_max_length")

    assistant = an_assistant(old, tools=[CODE], file_ids=files[:17])
    path = f"/assistants/{assistant['id']}/files"
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda file_id: old.post(path, json={"file_id": file_id}), files[17:23] * 2))
    seen = fetched(old, f"/assistants/{assistant['id']}")["file_ids"]
    assert {answer.status_code for answer in answers} == {200, 400}
    assert {answer.json()["id"] for answer in answers if answer.status_code == 200} == set(seen[17:])
    assert len(seen) == 20
    assert resources(new, assistant) == code_files(*seen)


# --- threads and messages --------------------------------------------------------------------------------------------

MESSAGE_KEYS = {
    *("id", "object", "created_at", "thread_id", "status", "incomplete_details", "completed_at", "incomplete_at"),
    *("role", "content", "assistant_id", "run_id", "file_ids", "metadata"),
}


def test_threads_show_no_tool_resources_and_metadata_as_texts(old: httpx.Client, new: httpx.Client) -> None:
    thread = a_thread(old, metadata={"a": True, "b": 1, "c": 0.5, "d": None, "e": "text"})
    assert set(thread) == {"id", "object", "created_at", "metadata"}
    assert thread["metadata"] == {"a": "True", "b": "1", "c": "0.5", "d": "None", "e": "text"}
    path = f"/threads/{thread['id']}"
    assert fetched(new, path)["tool_resources"] == {}
    assert posted(old, path, {"metadata": {"modified": True}})["metadata"] == {"modified": "True"}
    assert posted(old, path)["metadata"] == {"modified": "True"}
    assert posted(old, path, {"metadata": None})["metadata"] == {}
    refused(new.post(path, json={"metadata": {"modified": True}}), 400, param="metadata.modified", code="invalid_type")


def test_a_messages_files_are_its_attachments(old: httpx.Client, new: httpx.Client, files: list[str]) -> None:
    thread = posted(old, "/threads", {"messages": [{"role": "user", "content": "a", "file_ids": files[:1]}]})["id"]
    made = posted(old, f"/threads/{thread}/messages", {"role": "user", "content": "b", "file_ids": files[:3]})
    assert set(made) == MESSAGE_KEYS
    assert made["content"] == [{"type": "text", "text": {"value": "b", "annotations": []}}]
    listed = fetched(old, f"/threads/{thread}/messages", order="asc")["data"]
    assert [message["file_ids"] for message in listed] == [files[:1], files[:3]]

    path = f"/threads/{thread}/messages/{made['id']}"
    tools = [CODE, {"type": "file_search"}]
    assert fetched(new, path)["attachments"] == [{"file_id": file, "tools": tools} for file in files[:3]]
    line = {"object": "thread.message.file", "created_at": made["created_at"], "message_id": made["id"]}
    assert fetched(old, f"{path}/files", order="asc")["data"] == [{"id": file, **line} for file in files[:3]]
    assert [each["id"] for each in fetched(old, f"{path}/files", limit=2)["data"]] == [files[2], files[1]]
    assert fetched(old, f"{path}/files/{files[1]}") == {"id": files[1], **line}
    refused(old.get(f"{path}/files/{files[7]}"), 404, f"No message file found with id '{files[7]}'.")
    assert posted(old, path, {"metadata": {"modified": True}})["metadata"] == {"modified": "True"}


def test_parts_that_v1_never_knew_are_shown_as_text(old: httpx.Client, new: httpx.Client, files: list[str]) -> None:
    thread = a_thread(new)["id"]
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    file = {"type": "image_file", "image_file": {"file_id": files[0], "detail": "high"}}
    made = posted(new, f"/threads/{thread}/messages", {"role": "user", "content": [picture, file]})
    assert fetched(old, f"/threads/{thread}/messages/{made['id']}")["content"] == [
        {"type": "text", "text": {"value": "https://example.com/a.png", "annotations": []}},
        {"type": "image_file", "image_file": {"file_id": files[0]}},
    ]


# --- what v1 refuses -------------------------------------------------------------------------------------------------

ASSISTANT = {"model": "gpt-4o"}
MESSAGE = {"role": "user", "content": "a"}
RUN = {"assistant_id": "asst_1"}
REFUSED = [
    ("/assistants", {}, "model", "missing_required_parameter"),
    ("/assistants", ASSISTANT | {"tool_resources": {}}, "tool_resources", "unknown_parameter"),
    ("/assistants", ASSISTANT | {"metadata": {"a": []}}, "metadata.a", "invalid_type"),
    ("/assistants", ASSISTANT | {"metadata": {"a": "x" * 513}}, "metadata.a", "string_above_max_length"),
    ("/assistants", ASSISTANT | {"metadata": {"a": 10**600}}, "metadata.a", "string_above_max_length"),
    ("/assistants", ASSISTANT | {"response_format": {"type": "json_schema"}}, "response_format.type", "invalid_value"),
    ("messages", MESSAGE | {"content": [{"type": "text", "text": "a"}]}, "content", "invalid_type"),
    ("messages", MESSAGE | {"content": ""}, "content", "empty_string"),
    ("messages", MESSAGE | {"content": "x" * 256_001}, "content", "string_above_max_length"),
    ("messages", MESSAGE | {"attachments": []}, "attachments", "unknown_parameter"),
    ("messages", MESSAGE | {"file_ids": ["file-1"] * 11}, "file_ids", "array_above_max_length"),
    ("/threads", {"tool_resources": {}}, "tool_resources", "unknown_parameter"),
    ("runs", RUN | {"parallel_tool_calls": True}, "parallel_tool_calls", "unknown_parameter"),
    ("runs", RUN | {"tool_choice": "required"}, "tool_choice", "invalid_value"),
    ("runs", RUN | {"tools": [CODE] * 21}, "tools", "array_above_max_length"),
]


@pytest.mark.parametrize(("path", "body", "param", "code"), REFUSED)
def test_what_v1_never_knew_is_refused(old_http: httpx.Client, path: str, body: Json, param: str, code: str) -> None:
    if not path.startswith("/"):
        path = f"/threads/{a_thread(old_http)['id']}/{path}"
    refused(old_http.post(path, json=body), 400, param=param, code=code)


def test_a_tool_of_v2_is_refused_in_the_platforms_words(old_http: httpx.Client) -> None:
    answer = old_http.post("/assistants", json=ASSISTANT | {"tools": [CODE, {"type": "file_search"}]})
    supported = "Supported values are: 'code_interpreter', 'function', and 'retrieval'."
    refused(answer, 400, f"Invalid value: 'file_search'. {supported}", param="tools[1].type", code="invalid_value")


def test_what_only_v1_had_is_unknown_to_v2(old: httpx.Client, new: httpx.Client, files: list[str]) -> None:
    path = f"/assistants/{an_assistant(old, file_ids=files[:1])['id']}"
    refused(new.get(f"{path}/files"), 404, "Invalid URL")
    refused(new.post(path, json={"file_ids": []}), 400, "Unknown parameter: 'file_ids'.", code="unknown_parameter")
    refused(new.post(path, json={"tools": [RETRIEVAL]}), 400, param="tools[0].type", code="invalid_value")


# --- runs ------------------------------------------------------------------------------------------------------------

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


def test_a_run_from_its_start_to_its_steps(
    old: httpx.Client, new: httpx.Client, upstream: ScriptedUpstream, files: list[str]
) -> None:
    upstream.script(Calls(("weather", {"city": "Oslo"})), Says("It rains."))
    assistant = an_assistant(old, tools=[WEATHER], file_ids=files[:2])
    choice = {"type": "function", "function": {"name": "weather"}}
    message = {"role": "user", "content": "The weather?", "file_ids": files[:1]}
    run = a_run(
        old,
        assistant=assistant,
        metadata={"run": True},
        tool_choice=choice,
        response_format="none",
        additional_messages=[message],
    )
    assert set(run) == RUN_KEYS
    assert (run["status"], run["file_ids"], run["metadata"]) == ("queued", files[:2], {"run": "True"})
    assert (run["tool_choice"], run["response_format"]) == (choice, "auto")

    run = settled(old, run)
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    output = {"tool_call_id": call["id"], "output": "rain"}
    posted(old, f"{path_of(run)}/submit_tool_outputs", {"tool_outputs": [output]})
    run = settled(old, run)
    assert (run["status"], run["incomplete_details"]) == ("completed", None)
    assert fetched(old, f"/threads/{run['thread_id']}/runs")["data"] == [run]
    assert {"tool_resources", "parallel_tool_calls"} <= set(fetched(new, path_of(run)))
    steps = fetched(old, f"{path_of(run)}/steps", order="asc")["data"]
    assert [step["type"] for step in steps] == ["tool_calls", "message_creation"]
    assert all(set(step) == STEP_KEYS for step in steps)
    assert fetched(old, f"{path_of(run)}/steps/{steps[0]['id']}") == steps[0]
    assert posted(old, path_of(run), {"metadata": {"m": False}})["metadata"] == {"m": "False"}


def test_v1_runs_on_an_empty_thread(old: httpx.Client, new: httpx.Client) -> None:
    assistant = an_assistant(old, instructions=None)
    thread = a_thread(old)
    answer = new.post(f"/threads/{thread['id']}/runs", json={"assistant_id": assistant["id"]})
    refused(answer, 400, code="invalid_thread")
    assert settled(old, a_run(old, thread, assistant))["status"] == "completed"


def test_an_incomplete_run_is_a_completed_one_with_details(
    old: httpx.Client, new: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Says("one two three", finish="length"))
    thread = {"messages": [{"role": "user", "content": "Count."}]}
    body = {"assistant_id": an_assistant(old)["id"], "thread": thread, "max_completion_tokens": 256, "stream": True}
    events = events_of(old.post("/threads/runs", json=body))
    assert [name for name, _ in events if name != "thread.message.delta"] == [
        *("thread.created", "thread.run.created", "thread.run.queued", "thread.run.in_progress"),
        *("thread.run.step.created", "thread.run.step.in_progress", "thread.message.created"),
        *("thread.message.in_progress", "thread.message.incomplete", "thread.run.step.completed"),
        *("thread.run.completed", "done"),
    ]
    told = dict(events)
    assert set(told["thread.created"]) == {"id", "object", "created_at", "metadata"}
    assert set(told["thread.message.incomplete"]) == MESSAGE_KEYS
    run = told["thread.run.completed"]
    assert set(run) == RUN_KEYS
    assert (run["status"], run["incomplete_details"]) == ("completed", {"reason": "max_completion_tokens"})
    assert isinstance(run["completed_at"], int)
    assert fetched(old, path_of(run)) == run
    assert fetched(new, path_of(run))["status"] == "incomplete"
