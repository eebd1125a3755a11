"""Retrieval as the first form of the API had it: the first run answers, and its marks are those of that time."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.test_run_search import citing
from tests.builders import Json, a_run, a_thread, an_assistant, events_of, fetched, posted, settled
from tests.replies import Calls, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.stores import a_file

BOATS = "The harbour holds many boats in summer."
SLOW = 1.0
"""Seconds that a file takes to be read: far longer than a run takes to begin."""


@pytest.fixture
def old(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server, beta="assistants=v1") as client:
        yield client


@pytest.fixture
def new(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server) as client:
        yield client


def a_reader(old: httpx.Client, *texts: str) -> Json:
    """An assistant with files to read, made as programs of that time made one."""
    ids = [a_file(old, text, f"file{place}.txt") for place, text in enumerate(texts)]
    body = {"model": "gpt-4o", "tools": [{"type": "retrieval"}], "file_ids": ids}
    return posted(old, "/assistants", body)


def cited_in(http: httpx.Client, run: Json) -> list[Json]:
    """The annotations of the run's answer."""
    message = fetched(http, f"/threads/{run['thread_id']}/messages")["data"][0]
    found: list[Json] = message["content"][0]["text"]["annotations"]
    return found


def test_the_first_run_knows_the_assistants_files(old: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(citing)
    upstream.embedding_delay = SLOW
    assistant = a_reader(old, BOATS)
    run = settled(old, a_run(old, a_thread(old, "What lies in the harbour?"), assistant))
    assert run["status"] == "completed", run
    assert [cited["file_citation"]["file_id"] for cited in cited_in(old, run)] == assistant["file_ids"]


def test_it_knows_a_file_that_was_attached_later(
    old: httpx.Client, new: httpx.Client, upstream: ScriptedUpstream
) -> None:
    """Into the store that the newer form gave the assistant, and asked in the newer form."""
    upstream.rule(citing)
    assistant = an_assistant(new, tools=[{"type": "file_search"}])
    upstream.embedding_delay = SLOW
    file_id = a_file(old, BOATS, "boats.txt")
    posted(old, f"/assistants/{assistant['id']}/files", {"file_id": file_id})
    run = settled(new, a_run(new, a_thread(new, "What lies in the harbour?"), assistant))
    assert [cited["file_citation"]["file_id"] for cited in cited_in(new, run)] == [file_id]


def test_nobody_waits_for_what_the_newer_form_put_into_a_store(new: httpx.Client, upstream: ScriptedUpstream) -> None:
    """As the reference says: whoever fills an assistant's store looks after it."""
    upstream.rule(lambda body: Says("At once."))
    upstream.embedding_delay = 3 * SLOW
    store = posted(new, "/vector_stores", {"file_ids": [a_file(new, BOATS)]})
    resources = {"file_search": {"vector_store_ids": [store["id"]]}}
    assistant = an_assistant(new, tools=[{"type": "file_search"}], tool_resources=resources)
    settled(new, a_run(new, a_thread(new, "Hello"), assistant))
    assert fetched(new, f"/vector_stores/{store['id']}")["status"] == "in_progress"


# --- marks -----------------------------------------------------------------------------------------------------------


def streamed(http: httpx.Client, assistant: Json, question: str) -> tuple[str, list[Json], Json]:
    """What a program adds up of a run's stream: its text and its annotations; and the whole message at the end."""
    thread = a_thread(http, question)
    body = {"assistant_id": assistant["id"], "stream": True}
    events = events_of(http.post(f"/threads/{thread['id']}/runs", json=body))
    texts = [data["delta"]["content"][0]["text"] for name, data in events if name == "thread.message.delta"]
    annotations = [annotation for text in texts for annotation in text.get("annotations", [])]
    for text in texts:
        assert [each["text"] for each in text.get("annotations", [])] in ([], [text["value"]])
    return "".join(text["value"] for text in texts), annotations, dict(events)["thread.message.completed"]


def plain(annotations: list[Json]) -> list[Any]:
    return [(each["text"], each["start_index"], each["end_index"]) for each in annotations]


def test_marks_are_those_of_their_time(old: httpx.Client, new: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(citing)
    assistant = a_reader(old, BOATS, "Trains leave the station every hour.")
    marks = {}
    for http, form in ((old, "【\\d+†source】"), (new, "【\\d+:\\d+†source】")):
        value, annotations, message = streamed(http, assistant, "What lies in the harbour?")
        (part,) = message["content"]
        assert part["text"]["value"] == value
        assert plain(part["text"]["annotations"]) == plain(annotations)
        (cited,) = annotations
        assert re.fullmatch(form, cited["text"])
        assert value[cited["start_index"] : cited["end_index"]] == cited["text"]
        assert value == f"Boats lie in the harbour{cited['text']}. Nobody said【9:9†no.txt】 more."
        marks[form] = cited["text"], len(value)
    (_, one), (_, other) = marks.values()
    assert one == other


def test_one_message_in_both_forms(old: httpx.Client, new: httpx.Client, upstream: ScriptedUpstream) -> None:
    def all_of_them(body: Json) -> Calls | Says:
        results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
        if not results:
            return Calls(("file_search", {"query": "harbour boats trains"}))
        found = re.findall("【[^】]+】", results[-1])
        return Says(f"Both{found[0]}{found[1]}, and the first again{found[0]}.")

    upstream.rule(all_of_them)
    assistant = a_reader(old, BOATS, "Trains leave the station every hour.")
    run = settled(old, a_run(old, a_thread(old, "【1:0†source】 says what?"), assistant))
    path = f"/threads/{run['thread_id']}/messages"
    seen = {}
    for http in (old, new):
        answer, question = fetched(http, path)["data"]
        text = answer["content"][0]["text"]
        for each in text["annotations"]:
            assert text["value"][each["start_index"] : each["end_index"]] == each["text"]
        assert fetched(http, f"{path}/{answer['id']}")["content"] == answer["content"]
        assert question["content"][0]["text"]["value"] == "【1:0†source】 says what?"
        seen[http] = text
    assert seen[new]["value"] == "Both【1:0†source】【1:1†source】, and the first again【1:0†source】."
    assert seen[old]["value"] == "Both【100†source】【101†source】, and the first again【100†source】."
    assert [each["text"] for each in seen[old]["annotations"]] == ["【100†source】", "【101†source】", "【100†source】"]
