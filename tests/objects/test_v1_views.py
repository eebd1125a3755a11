"""What v1 clients are shown of stored objects and of events, without a server around it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.api.v1 import DIALECT
from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.assistants import Assistant
from everloom.objects.base import Deleted, PageQuery, encode
from everloom.objects.files import AssistantFile
from everloom.objects.messages import (
    FileCitation,
    FileCitationSource,
    FilePath,
    FilePathTarget,
    Message,
    RefusalContent,
    Text,
    TextContent,
)
from everloom.objects.runs import IncompleteRun, Run
from everloom.objects.steps import FileSearchOutcome, FileSearchResult, FileSearchStepCall, RunStep, ToolCalls
from everloom.objects.tools import FileSearchTool, NamedToolChoice
from everloom.store.base import Add
from everloom.store.sqlite import SqliteDatabase

Json = dict[str, Any]

RUN = Run(id="run_1", created_at=1, assistant_id="asst_1", thread_id="thread_1", model="m", started_at=2)


@pytest.fixture
def with_store(tmp_path: Path) -> Callable[[Callable[[Context], Awaitable[None]]], None]:
    """Runs a coroutine on a context whose store is real and empty; views ask for nothing else."""

    async def run(check: Callable[[Context], Awaitable[None]]) -> None:
        database = SqliteDatabase(tmp_path / "views.db", synchronous="NORMAL")
        await database.open()
        try:
            nothing: Any = None
            await check(Context(project="proj_1", store=database.store("proj_1"), ports=nothing))
        finally:
            await database.close()

    return lambda check: asyncio.run(run(check))


@pytest.fixture
def view(with_store: Callable[..., None]) -> Callable[[Any], Json]:
    """An answer as v1 shows it, decoded."""

    def shown(answer: Any) -> Json:
        found: list[bytes] = []

        async def check(ctx: Context) -> None:
            found.append(await DIALECT.down(ctx, answer))

        with_store(check)
        document: Json = msgspec.json.decode(found[0])
        return document

    return shown


@pytest.fixture
def event(with_store: Callable[..., None]) -> Callable[[str, bytes], tuple[str, bytes]]:
    """An event as v1 is told it."""

    def told(name: str, data: bytes) -> tuple[str, bytes]:
        found: list[tuple[str, bytes]] = []

        async def check(ctx: Context) -> None:
            found.append(await DIALECT.event(ctx, name, data))

        with_store(check)
        return found[0]

    return told


def test_a_page_asks_once_for_the_files_of_all_its_assistants(with_store: Callable[..., None]) -> None:
    async def check(ctx: Context) -> None:
        made = [Assistant(id=new_id("asst_"), created_at=now(), model="m") for _ in range(3)]
        rows = [
            AssistantFile(id=f"asstfile_{number}_{name}", created_at=now(), assistant_id=assistant.id, file_id=name)
            for number, assistant in enumerate(made[:2])
            for name in (f"file-b{number}", f"file-a{number}")
        ]
        await ctx.store.write(*map(Add, made), *map(Add, rows))
        counted = Counted(ctx.store)
        ctx = Context(project=ctx.project, store=counted, ports=ctx.ports)

        page = await DIALECT.down(ctx, await ctx.store.find(Assistant, PageQuery(order="asc")))

        document = msgspec.json.decode(page.encode())
        assert [each["file_ids"] for each in document["data"]] == [["file-b0", "file-a0"], ["file-b1", "file-a1"], []]
        assert (document["first_id"], document["last_id"]) == (made[0].id, made[2].id)
        assert counted.lists == 1

    with_store(check)


class Counted:
    """A store that counts what ``all`` is asked; the store behind it is the real one."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.lists = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def all(self, *asked: Any, **where: Any) -> Any:
        self.lists += 1
        return await self._store.all(*asked, **where)


def test_an_incomplete_run_is_completed_and_keeps_its_details(view: Callable[[Any], Json]) -> None:
    run = msgspec.structs.replace(
        RUN, status="incomplete", incomplete_details=IncompleteRun(reason="max_prompt_tokens"), completed_at=3
    )
    shown = view(run)
    assert (shown["status"], shown["completed_at"]) == ("completed", 3)
    assert shown["incomplete_details"] == {"reason": "max_prompt_tokens"}
    assert view(msgspec.structs.replace(run, completed_at=None))["completed_at"] == 2
    assert run.status == "incomplete"


def test_a_run_names_retrieval_where_v2_has_file_search(view: Callable[[Any], Json]) -> None:
    choice = NamedToolChoice(type="file_search")
    shown = view(msgspec.structs.replace(RUN, tools=[FileSearchTool()], tool_choice=choice))
    assert (shown["tools"], shown["tool_choice"]) == ([{"type": "retrieval"}], {"type": "retrieval"})
    assert view(msgspec.structs.replace(RUN, tool_choice="required"))["tool_choice"] == "auto"
    assert not {"tool_resources", "parallel_tool_calls"} & set(shown)


def test_a_search_shows_nothing_of_what_it_found(view: Callable[[Any], Json]) -> None:
    found = FileSearchOutcome(results=[FileSearchResult(file_id="file-1", file_name="a", score=0.5)])
    step = RunStep(
        id="step_1",
        created_at=1,
        run_id="run_1",
        assistant_id="asst_1",
        thread_id="thread_1",
        type="tool_calls",
        step_details=ToolCalls(tool_calls=[FileSearchStepCall(id="call_1", file_search=found)]),
    )
    (call,) = view(step)["step_details"]["tool_calls"]
    assert call == {"id": "call_1", "type": "retrieval", "retrieval": {}}


def test_a_messages_parts_are_texts_with_quoted_citations(view: Callable[[Any], Json]) -> None:
    citation = FileCitation(text="[1]", file_citation=FileCitationSource(file_id="file-1"), start_index=0, end_index=3)
    path = FilePath(text="a.csv", file_path=FilePathTarget(file_id="file-2"), start_index=4, end_index=9)
    text = TextContent(text=Text(value="[1] a.csv", annotations=[citation, path]))
    message = Message(
        id="msg_1", created_at=1, thread_id="thread_1", role="assistant", content=[text, RefusalContent(refusal="No.")]
    )
    content = view(message)["content"]
    assert content[0]["text"]["annotations"][0]["file_citation"] == {"file_id": "file-1", "quote": ""}
    assert content[0]["text"]["annotations"][1]["file_path"] == {"file_id": "file-2"}
    assert content[1] == {"type": "text", "text": {"value": "No.", "annotations": []}}


def test_answers_without_a_form_of_v1_pass(with_store: Callable[..., None]) -> None:
    deleted = Deleted(id="asst_1", object="assistant.deleted")

    async def check(ctx: Context) -> None:
        assert await DIALECT.down(ctx, deleted) is deleted

    with_store(check)


PASSED = [
    ("done", b"[DONE]"),
    ("error", b'{"error":{"message":"m"}}'),
    ("thread.message.delta", b'{"id":"msg_1","object":"thread.message.delta","delta":{"content":[{"index":0}]}}'),
    ("thread.run.step.delta", b'{"id":"step_1","object":"thread.run.step.delta","delta":{"step_details":{}}}'),
]


@pytest.mark.parametrize(("name", "data"), PASSED, ids=[name for name, _ in PASSED])
def test_events_that_do_not_differ_pass_byte_for_byte(
    event: Callable[[str, bytes], tuple[str, bytes]], name: str, data: bytes
) -> None:
    assert event(name, data) == (name, data)


def test_the_end_of_an_incomplete_run_is_told_as_completed(event: Callable[[str, bytes], tuple[str, bytes]]) -> None:
    run = msgspec.structs.replace(RUN, status="incomplete", completed_at=3)
    name, data = event("thread.run.incomplete", encode(run))
    assert name == "thread.run.completed"
    assert msgspec.json.decode(data)["status"] == "completed"


def test_deltas_of_v2_are_told_in_v1s_words(event: Callable[[str, bytes], tuple[str, bytes]]) -> None:
    refusal = {"index": 0, "type": "refusal", "refusal": "No"}
    name, data = event("thread.message.delta", _delta("thread.message.delta", content=[refusal]))
    assert name == "thread.message.delta"
    (part,) = msgspec.json.decode(data)["delta"]["content"]
    assert part == {"index": 0, "type": "text", "text": {"value": "No", "annotations": []}}

    search = {"index": 0, "id": "call_1", "type": "file_search", "file_search": {}}
    details = {"type": "tool_calls", "tool_calls": [search]}
    _, data = event("thread.run.step.delta", _delta("thread.run.step.delta", step_details=details))
    (call,) = msgspec.json.decode(data)["delta"]["step_details"]["tool_calls"]
    assert call == {"index": 0, "id": "call_1", "type": "retrieval", "retrieval": {}}


def _delta(object: str, **delta: Any) -> bytes:
    return encode({"id": "x_1", "object": object, "delta": delta})
