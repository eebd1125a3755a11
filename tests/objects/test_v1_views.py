"""What v1 clients are shown of stored objects and of events, without a server around it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec import Struct

from everloom.api.v1 import DIALECT
from everloom.context import Context
from everloom.context.caller import Caller
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.assistants import Assistant
from everloom.objects.base import Deleted, Object, PageQuery, encode
from everloom.objects.files import AssistantFile
from everloom.objects.messages import (
    Attachment,
    FileCitation,
    FileCitationDelta,
    FileCitationSource,
    FilePath,
    FilePathDelta,
    FilePathTarget,
    ImageFile,
    ImageFileContent,
    ImageUrl,
    ImageUrlContent,
    IncompleteMessage,
    Message,
    MessageContentDelta,
    MessageDelta,
    RefusalContent,
    RefusalContentDelta,
    Text,
    TextContent,
    TextContentDelta,
    TextDelta,
)
from everloom.objects.runs import (
    FunctionCall,
    IncompleteRun,
    RequiredAction,
    RequiredCall,
    RequiredCalls,
    Run,
    RunError,
    RunStatus,
)
from everloom.objects.steps import (
    CallDelta,
    CodeInterpreterDelta,
    CodeInterpreterOutcome,
    CodeInterpreterStepCall,
    CodePiece,
    FileSearchDelta,
    FileSearchOutcome,
    FileSearchResult,
    FileSearchStepCall,
    FunctionCallDelta,
    FunctionOutcome,
    FunctionPiece,
    FunctionStepCall,
    ImageDelta,
    ImageOutput,
    ImageReference,
    Logs,
    LogsDelta,
    MessageCreation,
    MessageReference,
    RunStep,
    RunStepDelta,
    StepDetailsDelta,
    StepError,
    ToolCalls,
    ToolCallsDelta,
)
from everloom.objects.threads import Thread
from everloom.objects.tools import (
    CodeInterpreterTool,
    FileSearchTool,
    FunctionDefinition,
    FunctionName,
    FunctionTool,
    JsonSchemaFormat,
    NamedToolChoice,
    ResponseFormat,
    ResponseFormatJsonObject,
    ResponseFormatJsonSchema,
    ResponseFormatText,
    Tool,
    ToolChoice,
    Usage,
)
from everloom.store.base import Add
from everloom.store.sqlite import SqliteDatabase

Json = dict[str, Any]

CITATION = FileCitation(text="[1]", file_citation=FileCitationSource(file_id="file-1"), start_index=0, end_index=3)
PATH = FilePath(text="a.csv", file_path=FilePathTarget(file_id="file-2"), start_index=4, end_index=9)
FUNCTION = FunctionDefinition(name="weather", description="d", parameters={"type": "object"}, strict=True)
TOOLS: list[Tool] = [CodeInterpreterTool(), FileSearchTool(), FunctionTool(function=FUNCTION)]
SCHEMA = ResponseFormatJsonSchema(json_schema=JsonSchemaFormat(name="a"))
REQUIRED = RequiredCall(id="call_1", function=FunctionCall(name="weather", arguments="{}"))
FUNCTION_CALL = FunctionStepCall(id="call_1", function=FunctionOutcome(name="weather", arguments="{}", output="rain"))
CODE_CALL = CodeInterpreterStepCall(
    id="call_2",
    code_interpreter=CodeInterpreterOutcome(
        input="1", outputs=[Logs(logs="1"), ImageOutput(image=ImageReference(file_id="file-1"))]
    ),
)
SEARCH_CALL = FileSearchStepCall(
    id="call_3",
    file_search=FileSearchOutcome(results=[FileSearchResult(file_id="file-1", file_name="a", score=0.5)]),
)
TEXT_DELTA = TextContentDelta(
    index=0,
    text=TextDelta(
        value="[1]",
        annotations=[
            FileCitationDelta(
                index=0, text="[1]", file_citation=FileCitationSource(file_id="file-1"), start_index=0, end_index=3
            ),
            FilePathDelta(index=1, text="a", file_path=FilePathTarget(file_id="file-2"), start_index=4, end_index=9),
        ],
    ),
)
CALL_DELTAS: list[CallDelta] = [
    FunctionCallDelta(index=0, id="call_1", function=FunctionPiece(name="weather", arguments="{}", output="rain")),
    CodeInterpreterDelta(
        index=1,
        id="call_2",
        code_interpreter=CodePiece(
            input="1",
            outputs=[LogsDelta(index=0, logs="1"), ImageDelta(index=1, image=ImageReference(file_id="file-1"))],
        ),
    ),
    FileSearchDelta(index=2, id="call_3"),
]

RUN = Run(id="run_1", created_at=1, assistant_id="asst_1", thread_id="thread_1", model="m", started_at=2)


def step_with(details: MessageCreation | ToolCalls) -> RunStep:
    return RunStep(
        id="step_1",
        created_at=1,
        run_id="run_1",
        assistant_id="asst_1",
        thread_id="thread_1",
        type="message_creation" if isinstance(details, MessageCreation) else "tool_calls",
        step_details=details,
        last_error=StepError(code="server_error", message="m"),
        usage=Usage(),
    )


@pytest.fixture
def with_store(tmp_path: Path) -> Callable[[Callable[[Context], Awaitable[None]]], None]:
    """Runs a coroutine on a context whose store is real and empty; views ask for nothing else."""

    async def run(check: Callable[[Context], Awaitable[None]]) -> None:
        database = SqliteDatabase(tmp_path / "views.db", synchronous="NORMAL")
        await database.open()
        try:
            nothing: Any = None
            await check(Context(caller=Caller(project="proj_1"), store=database.store("proj_1"), ports=nothing))
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
def event(with_store: Callable[..., None]) -> Callable[[str, bytes], tuple[str, bytes] | None]:
    """An event as v1 is told it, None for one that it is not."""

    def told(name: str, data: bytes) -> tuple[str, bytes] | None:
        found: list[tuple[str, bytes] | None] = []

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
        ctx = Context(caller=ctx.caller, store=counted, ports=ctx.ports)

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


# --- what v1 never knew ----------------------------------------------------------------------------------------------

STORED: list[Object | MessageDelta | RunStepDelta] = [
    Assistant(id="asst_1", created_at=1, model="m", tools=TOOLS, response_format=SCHEMA),
    Thread(id="thread_1", created_at=1),
    msgspec.structs.replace(
        RUN,
        tools=TOOLS,
        tool_choice=NamedToolChoice(type="function", function=FunctionName(name="weather")),
        required_action=RequiredAction(submit_tool_outputs=RequiredCalls(tool_calls=[REQUIRED])),
        last_error=RunError(code="server_error", message="m"),
        incomplete_details=IncompleteRun(reason="max_prompt_tokens"),
        usage=Usage(),
    ),
    Message(
        id="msg_1",
        created_at=1,
        thread_id="thread_1",
        role="user",
        content=[
            TextContent(text=Text(value="[1] a.csv", annotations=[CITATION, PATH])),
            RefusalContent(refusal="No."),
            ImageFileContent(image_file=ImageFile(file_id="file-1", detail="low")),
            ImageUrlContent(image_url=ImageUrl(url="https://example.com/a.png", detail="low")),
        ],
        incomplete_details=IncompleteMessage(reason="run_failed"),
        attachments=[Attachment(file_id="file-1", tools=[CodeInterpreterTool()])],
    ),
    step_with(MessageCreation(message_creation=MessageReference(message_id="msg_1"))),
    step_with(ToolCalls(tool_calls=[FUNCTION_CALL, CODE_CALL, SEARCH_CALL])),
    MessageDelta(id="msg_1", delta=MessageContentDelta(content=[TEXT_DELTA, RefusalContentDelta(index=1, refusal="")])),
    RunStepDelta(id="step_1", delta=StepDetailsDelta(step_details=ToolCallsDelta(tool_calls=CALL_DELTAS))),
]
"""Every noun that v1 shows, with every part that it can have."""

FREE = {"metadata", "parameters"}
"""Members that are the caller's own JSON."""


def with_strays(value: Any) -> Any:
    """The document with one member more in every object, at every depth, as if v2's nouns had gained a field each."""
    if isinstance(value, list):
        return [with_strays(item) for item in value]
    if isinstance(value, dict):
        return {name: item if name in FREE else with_strays(item) for name, item in value.items()} | {"stray": 1}
    return value


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: f"{stored.object}")
def test_what_v2_gains_is_unseen_at_every_depth(
    view: Callable[[Any], Json], event: Callable[[str, bytes], tuple[str, bytes] | None], stored: Any
) -> None:
    body = encode(with_strays(msgspec.to_builtins(stored)))
    assert body.count(b"stray") > 1 or isinstance(stored, Thread)
    shown = view(body)
    assert b"stray" not in encode(shown)
    assert shown == view(encode(stored))

    name = stored.object if stored.object.endswith(".delta") else f"{stored.object}.created"
    told = event(name, body)
    assert told is None if name == "assistant.created" else told == (name, encode_like(told, shown))


def encode_like(told: tuple[str, bytes] | None, shown: Json) -> bytes:
    """What was told, if it says what is shown: the order of members is no part of that."""
    assert told is not None
    assert msgspec.json.decode(told[1]) == shown
    return told[1]


def test_a_page_shows_no_more_than_its_objects(with_store: Callable[..., None]) -> None:
    async def check(ctx: Context) -> None:
        await ctx.store.write(Add(RUN))
        page = await ctx.store.find(Run, PageQuery())
        page = page.with_bodies([encode(with_strays(msgspec.json.decode(body))) for body in page.bodies])
        shown = (await DIALECT.down(ctx, page)).encode()
        assert b"stray" not in shown
        assert set(msgspec.json.decode(shown)) == {"object", "data", "first_id", "last_id", "has_more"}

    with_store(check)


class LaterTool(Struct, tag="later"):
    """A tool as v2 may gain one."""


class LaterPart(Struct, tag="later"):
    index: int = 0


def test_tools_parts_and_calls_of_other_kinds_are_left_out(view: Callable[[Any], Json]) -> None:
    tools: Any = [LaterTool(), CodeInterpreterTool()]
    choice: Any = {"type": "later"}
    shown = view(msgspec.structs.replace(RUN, tools=tools, tool_choice=choice))
    assert (shown["tools"], shown["tool_choice"]) == ([{"type": "code_interpreter"}], "auto")
    assert view(Assistant(id="asst_1", created_at=1, model="m", tools=tools))["tools"] == [{"type": "code_interpreter"}]
    parts: Any = [LaterPart(), RefusalContent(refusal="No.")]
    message = Message(id="msg_1", created_at=1, thread_id="thread_1", role="user", content=parts)
    assert [part["type"] for part in view(message)["content"]] == ["text"]
    calls: Any = [LaterPart(), FUNCTION_CALL]
    assert len(view(step_with(ToolCalls(tool_calls=calls)))["step_details"]["tool_calls"]) == 1


def test_events_that_v1_never_had_are_not_told(event: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    assert event("thread.run.paused", encode(RUN)) is None
    assert event("thread.message.liked", b"{}") is None


@pytest.mark.parametrize("status", get_args(RunStatus))
def test_every_state_of_a_run_has_a_form_in_v1(view: Callable[[Any], Json], status: RunStatus) -> None:
    shown = view(msgspec.structs.replace(RUN, status=status))["status"]
    assert shown == ("completed" if status == "incomplete" else status)


FORMATS: list[ResponseFormat] = ["auto", ResponseFormatText(), ResponseFormatJsonObject(), SCHEMA]


def test_every_format_and_tool_choice_has_a_form_in_v1(view: Callable[[Any], Json]) -> None:
    assert {type(format) for format in FORMATS} - {str} == set(get_args(ResponseFormat)[1:])
    shown = [view(msgspec.structs.replace(RUN, response_format=format))["response_format"] for format in FORMATS]
    assert shown == ["auto", {"type": "text"}, {"type": "json_object"}, {"type": "json_object"}]
    for choice in get_args(get_args(ToolChoice)[0]):
        assert view(msgspec.structs.replace(RUN, tool_choice=choice))["tool_choice"] in ("none", "auto")
