"""What is imported, from files as scripts save them: order, older shapes, broken records, ids that are taken, kills."""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from everloom.context import Context
from everloom.kit.ids import _encode, rank_at
from everloom.kit.process_identity import has_ended, this_process
from everloom.objects.assistants import Assistant
from everloom.objects.base import PageQuery, encode
from everloom.objects.files import AssistantFile, File
from everloom.objects.messages import Message
from everloom.objects.projects import Project
from everloom.objects.runs import Run
from everloom.objects.steps import RunStep
from everloom.objects.threads import Thread
from everloom.objects.uploads import BlobDraft
from everloom.objects.vector_stores import IndexTask, VectorStore, VectorStoreFile
from everloom.store.base import SYSTEM, Add, Change
from everloom.store.kinds import KINDS, own_rank
from everloom.store.sql import Statement
from everloom.work.files.blobs import read_file
from everloom.work.threads.threads import remove_thread
from everloom.work.transfer import content, taking
from everloom.work.transfer.reading import Reading
from everloom.work.transfer.shapes import NOUNS
from everloom.work.transfer.stage import Stage
from everloom.work.transfer.taking import Report, Taking
from tests.scripted import ScriptedUpstream
from tests.work.test_ingest import a_server

Json = dict[str, Any]
T0 = 1_700_000_000


def served(folder: Path, test: Callable[[Context], Any]) -> None:
    """Run a test with everything below the API."""

    async def main() -> None:
        with ScriptedUpstream() as upstream:
            async with a_server(folder, upstream) as ctx:
                await test(ctx)

    asyncio.run(main())


@asynccontextmanager
async def a_stage(folder: Path, *paths: Path) -> AsyncIterator[Stage]:
    stage = Stage(folder / f"stage-{random.random()}.db")
    await Reading(stage).read(paths)
    try:
        yield stage
    finally:
        stage.close()


async def imported(ctx: Context, *paths: Path, dry: bool = False) -> tuple[Report, list[Json]]:
    """What came of an import, and its faults without their paths."""
    async with a_stage(paths[0].parent.parent, *paths) as stage:
        one = Taking(ctx, stage, dry=dry)
        await one.take()
        return one.report, [{**fault, "file": Path(fault["file"]).name} for fault in stage.faults()]


def written(folder: Path, name: str, *values: Any) -> Path:
    """A file of lines, or of one value."""
    (folder / "in").mkdir(exist_ok=True)
    path = folder / "in" / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".jsonl"):
        path.write_text("".join((v if isinstance(v, str) else json.dumps(v)) + "\n" for v in values))
    else:
        path.write_text(values[0] if isinstance(values[0], str) else json.dumps(values[0], indent=2))
    return folder / "in"


def a_thread(id: str = "thread_a", at: int = T0, **fields: Any) -> Json:
    return {"id": id, "object": "thread", "created_at": at, "metadata": {}, "tool_resources": {}, **fields}


def a_message(id: str, at: int = T0, thread: str = "thread_a", text: str = "", **fields: Any) -> Json:
    content = [{"type": "text", "text": {"value": text or id, "annotations": []}}]
    own = {"id": id, "object": "thread.message", "created_at": at, "thread_id": thread, "role": "user"}
    return {**own, "content": content, "attachments": [], "metadata": {}, **fields}


def a_run(id: str, at: int = T0, **fields: Any) -> Json:
    own = {"id": id, "object": "thread.run", "created_at": at, "thread_id": "thread_a", "assistant_id": "asst_a"}
    return {**own, "status": "completed", "model": "gpt-4o", "tools": [], "metadata": {}, **fields}


def page(*things: Json) -> Json:
    ends = {"first_id": things[0]["id"], "last_id": things[-1]["id"], "has_more": False}
    return {"object": "list", "data": list(things), **ends}


async def order_of(ctx: Context, thread: str = "thread_a") -> list[str]:
    found = await ctx.store.find(Message, PageQuery(limit=1000, order="asc"), thread_id=thread)
    return [message.id for message in found.decode()]


async def all_bodies(ctx: Context) -> list[Any]:
    """Everything that stands, with its place."""
    found: list[Any] = []
    for cls in NOUNS.values():
        found += [encode(thing) for thing in await ctx.store.all(cls)]
    return found


# --- order -----------------------------------------------------------------------------------------------------------

IDS = [f"msg_{letter}" for letter in "qazwsxedcrfv"]
"""In the order in which they were said, four a second."""

SAID = [a_message(id, T0 + place // 4) for place, id in enumerate(IDS)]
NEWEST_FIRST = SAID[::-1]


def _lines_newest_first(folder: Path) -> Path:
    return written(folder, "messages.jsonl", *NEWEST_FIRST)


def _lines_oldest_first(folder: Path) -> Path:
    return written(folder, "messages.jsonl", *SAID)


def _pages(folder: Path) -> Path:
    for number in range(0, 12, 1):
        written(folder, f"page_{number}.json", page(NEWEST_FIRST[number]))
    return folder / "in"


def _one_page(folder: Path) -> Path:
    return written(folder, "page.json", page(*NEWEST_FIRST))


def _array(folder: Path) -> Path:
    return written(folder, "messages.json", SAID)


def _box(folder: Path) -> Path:
    return written(folder, "thread.json", {"thread": a_thread(), "messages": page(*NEWEST_FIRST), "runs": []})


def _hung(folder: Path) -> Path:
    return written(folder, "threads.jsonl", a_thread(messages=NEWEST_FIRST))


def _one_second_pages(folder: Path) -> Path:
    things = [{**thing, "created_at": T0} for thing in NEWEST_FIRST]
    written(folder, "1.json", page(*things[:6]))
    return written(folder, "2.json", page(*things[6:]))


@pytest.mark.parametrize(
    "given",
    [
        *(_lines_newest_first, _lines_oldest_first, _pages, _one_page, _array, _box, _hung, _one_second_pages),
    ],
)
def test_messages_stand_where_they_stood(given: Callable[[Path], Path], tmp_path: Path) -> None:
    async def test(ctx: Context) -> None:
        report, faults = await imported(ctx, given(tmp_path))
        assert faults == []
        assert report.taken == {"thread": 1, "thread.message": 12}
        assert await order_of(ctx) == IDS
        thread = await ctx.store.get(Thread, "thread_a")
        assert thread.created_at == T0

    served(tmp_path, test)


def test_an_id_that_looks_like_ours_by_chance_has_no_other_place(tmp_path: Path) -> None:
    """Of foreign ids of 24 characters one in some hundred says a time of the last years, and it means nothing."""
    lookalike = f"msg_{_encode(rank_at(1_750_000_000), 10)}abcdefghijklmn"

    async def test(ctx: Context) -> None:
        said = [a_message("msg_1"), a_message(lookalike, T0 + 1), a_message("msg_2", T0 + 2)]
        await imported(ctx, written(tmp_path, "m.jsonl", *said))
        assert await order_of(ctx) == ["msg_1", lookalike, "msg_2"]

    assert own_rank(KINDS[Message], lookalike) is not None
    served(tmp_path, test)


def test_records_come_in_any_order_and_in_many_files(tmp_path: Path) -> None:
    step = {
        "id": "step_1", "object": "thread.run.step", "created_at": T0, "run_id": "run_1", "assistant_id": "asst_a",
        "thread_id": "thread_a", "type": "message_creation", "status": "completed",
        "step_details": {"type": "message_creation", "message_creation": {"message_id": "msg_1"}},
    }  # fmt: skip
    written(tmp_path, "1.json", step)
    written(tmp_path, "2.jsonl", a_message("msg_1"), a_run("run_1"))
    written(tmp_path, "3.json", {"object": "assistant", "id": "asst_a", "created_at": T0, "model": "m", "tools": []})

    async def test(ctx: Context) -> None:
        report, faults = await imported(ctx, written(tmp_path, "4.json", a_thread()))
        assert faults == []
        assert report.taken.total() == 5
        assert (await ctx.store.get(RunStep, "step_1")).run_id == "run_1"
        again, faults = await imported(ctx, tmp_path / "in")
        assert (again.taken, again.unchanged, faults) == ({}, report.taken, [])

    served(tmp_path, test)


# --- what is wrong, and what is left out -----------------------------------------------------------------------------


def test_a_broken_record_costs_itself(tmp_path: Path) -> None:
    lines = [
        a_message("msg_1"),
        '{"id": "msg_2", "object": "thread.message"',
        a_message("msg_3", created_at="yesterday"),
        a_message("../../etc/passwd"),
        a_message("m" * 129),
        a_message("msg_4", at=T0 * 1000),
        a_message("msg_5", role="robot"),
        a_message("msg_6", content=[{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]),
        {"id": "x", "object": "model", "created_at": 1},
        {"hello": "world"},
        "7",
        {"id": "msg_9", "object": "thread.message.deleted", "deleted": True},
        a_message("msg_7", thread="thread/a"),
        "[" * 10_000,
        a_message("msg_8", T0 + 1),
    ]

    async def test(ctx: Context) -> None:
        report, faults = await imported(ctx, written(tmp_path, "m.jsonl", *lines))
        assert report.taken == {"thread": 1, "thread.message": 2}
        assert await order_of(ctx) == ["msg_1", "msg_8"]
        assert [fault["line"] for fault in faults] == list(range(2, 15))
        said = {fault["line"]: fault["why"] for fault in faults}
        assert "no JSON" in said[2]
        assert said[3] == "Expected `int`, got `str` - at `$.created_at`"
        assert "characters that ids have not" in said[4]
        assert said[5] == "id has 129 characters; an id has 1 to 128"
        assert "Unix seconds" in said[6]
        assert said[8] == "content[0].image_url.url is no URL of the web"
        assert said[9] == "objects of the kind 'model' are not taken"
        assert all(fault["file"] == "m.jsonl" for fault in faults)

    served(tmp_path, test)


def test_a_broken_object_in_an_array_costs_itself(tmp_path: Path) -> None:
    text = json.dumps([a_message("msg_1"), a_message("msg_2"), a_message("msg_3", T0 + 1, text='}"{[\\')])
    text = text.replace('"id": "msg_2"', '"id": msg_2')

    async def test(ctx: Context) -> None:
        _, faults = await imported(ctx, written(tmp_path, "m.json", text))
        assert await order_of(ctx) == ["msg_1", "msg_3"]
        assert len(faults) == 1
        broken = text[: text.index("msg_3")]
        _, faults = await imported(ctx, written(tmp_path, "m.json", broken))
        assert [fault["why"] for fault in faults][-1] == "the file ends within an object"

    served(tmp_path, test)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_values_are_cut_alike_whatever_the_blocks_are(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from everloom.work.transfer import documents

    things = [{"id": f"{n}", "object": "thread", "text": '\\"{}[]\\\\' * n, "in": [{"a": ["]"]}]} for n in range(9)]
    path = written(tmp_path, "a.json", "\n [ " + ",\n".join(json.dumps(each) for each in things) + "]\n") / "a.json"
    monkeypatch.setattr(documents, "_BLOCK", block)
    assert [found.value for found in documents.found_in(path)] == things
    assert [found.line for found in documents.found_in(path)] == list(range(2, 11))


def test_what_hangs_on_nothing_is_not_taken(tmp_path: Path) -> None:
    step = {
        "id": "step_1", "object": "thread.run.step", "created_at": T0, "run_id": "run_1", "assistant_id": "asst_a",
        "thread_id": "thread_a", "type": "tool_calls", "status": "completed",
        "step_details": {"type": "tool_calls", "tool_calls": []},
    }  # fmt: skip

    async def test(ctx: Context) -> None:
        report, faults = await imported(ctx, written(tmp_path, "s.json", step))
        assert report.taken == {}
        assert [fault["why"] for fault in faults] == ["its run run_1 is not here"]

    served(tmp_path, test)


def test_what_this_server_has_not_is_left_out(tmp_path: Path) -> None:
    tools = [{"type": "bing_grounding", "bing_grounding": {}}, {"type": "code_interpreter"}]
    annotation = {"type": "url_citation", "text": "x", "url_citation": {"url": "https://example.org"}}
    parts = [{"type": "text", "text": {"value": "x", "annotations": [annotation]}}, {"type": "hologram"}]

    async def test(ctx: Context) -> None:
        folder = written(
            tmp_path, "r.jsonl", a_run("run_1", tools=tools, response_format=None), a_message("m", content=parts)
        )
        stage = Stage(tmp_path / "stage.db")
        reading = Reading(stage)
        await reading.read([folder])
        await Taking(ctx, stage).take()
        assert list(stage.faults()) == []
        assert reading.left_out == {"tool 'bing_grounding'": 1, "annotation 'url_citation'": 1, "part 'hologram'": 1}
        assert len((await ctx.store.get(Run, "run_1")).tools) == 1

    served(tmp_path, test)


def test_a_run_that_had_not_ended_is_taken_as_expired(tmp_path: Path) -> None:
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": []}}
    runs = [
        a_run("run_1", status="queued", expires_at=T0 + 600),
        a_run("run_2", status="requires_action", required_action=action, started_at=T0 + 1),
        a_run("run_3", status="in_progress"),
        a_run("run_3", status="completed", completed_at=T0 + 5),
        a_run("run_4", status="completed", completed_at=T0 + 5),
        a_run("run_4", status="in_progress"),
    ]
    message = a_message("msg_1", status="in_progress")

    async def test(ctx: Context) -> None:
        await imported(ctx, written(tmp_path, "r.jsonl", *runs, message))
        found = {run.id: run for run in await ctx.store.all(Run)}
        assert [run.status for run in found.values()] == ["expired", "expired", "completed", "completed"]
        assert (found["run_1"].expires_at, found["run_2"].started_at) == (T0 + 600, T0 + 1)
        assert found["run_2"].required_action is None
        assert await ctx.store.all(Run, active=True) == []
        taken = await ctx.store.get(Message, "msg_1")
        assert (taken.status, taken.incomplete_at) == ("incomplete", T0)

    served(tmp_path, test)


# --- ids that are taken ----------------------------------------------------------------------------------------------


def test_what_stands_is_never_overwritten(tmp_path: Path) -> None:
    async def test(ctx: Context) -> None:
        other = Project(id="proj_other", created_at=1, name="other")
        await ctx.ports.database.store(SYSTEM).write(Add(other))
        elsewhere = ctx.ports.database.store("proj_other")
        await elsewhere.write(Add(Thread(id="thread_b", created_at=5)))
        await imported(ctx, written(tmp_path, "m.jsonl", a_thread(), a_message("msg_1"), a_message("msg_2")))
        before = await all_bodies(ctx)
        changed = [a_message("msg_1", text="other"), a_message("msg_2"), a_thread(at=T0 - 1), a_message("msg_3")]
        folder = written(tmp_path, "m.jsonl", *changed, a_thread("thread_b"), a_message("msg_4", thread="thread_b"))
        report, faults = await imported(ctx, folder)
        assert (report.taken, report.unchanged) == ({}, {})
        assert await all_bodies(ctx) == before
        assert sorted((fault["id"], fault["why"]) for fault in faults) == [
            ("msg_1", "its thread thread_a is another one here, made at another time"),
            ("msg_2", "its thread thread_a is another one here, made at another time"),
            ("msg_3", "its thread thread_a is another one here, made at another time"),
            ("msg_4", "its thread thread_b is not here"),
            ("thread_a", "id taken by other content"),
            ("thread_b", "id taken by another project"),
        ]
        report, faults = await imported(ctx, written(tmp_path, "m.jsonl", *changed[:2]))
        assert report.unchanged == {"thread.message": 1}
        assert [(fault["id"], fault["line"], fault["why"]) for fault in faults] == [
            ("msg_1", 1, "id taken by other content")
        ]

    served(tmp_path, test)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    async def test(ctx: Context) -> None:
        folder = written(tmp_path, "m.jsonl", a_message("msg_1"), a_run("run_1"))
        report, _ = await imported(ctx, folder, dry=True)
        assert report.taken == {"thread": 1, "thread.message": 1, "thread.run": 1}
        assert await all_bodies(ctx) == []

    served(tmp_path, test)


# --- files, vector stores and the older form -------------------------------------------------------------------------


def a_file(id: str, name: str, size: int) -> Json:
    own = {"id": id, "object": "file", "created_at": T0, "filename": name, "bytes": size}
    return {**own, "purpose": "assistants", "status": "processed", "status_details": None}


def test_files_are_found_by_id_or_name(tmp_path: Path) -> None:
    written(tmp_path, "file-1", "one")
    written(tmp_path, "file-2.txt", "two!")
    written(tmp_path, "three.json", '{"object": "thread", "id": "t", "created_at": 1}')
    size = (tmp_path / "in" / "three.json").stat().st_size
    records = [
        a_file("file-1", "a.txt", 3),
        a_file("file-2", "b.txt", 4),
        a_file("file-3", "three.json", size),
        a_file("file-4", "nowhere.txt", 1),
        a_file("file-5", "file-1", 99),
        a_file("file/6", "x", 1),
    ]

    async def test(ctx: Context) -> None:
        report, faults = await imported(ctx, written(tmp_path, "files.jsonl", *records))
        assert report.taken == {"file": 3}
        assert [fault["id"] for fault in faults] == ["file/6", "file-4", "file-5"]
        assert await ctx.store.all(Thread) == []
        file = await ctx.store.get(File, "file-2")
        assert b"".join([block async for block in read_file(ctx, file)]) == b"two!"
        assert await ctx.store.all(BlobDraft) == []
        (tmp_path / "in" / "file-1").write_text("ONE")
        again, faults = await imported(ctx, tmp_path / "in")
        assert again.unchanged == {"file": 2}
        assert ("file-1", "id taken by other content") in [(fault["id"], fault["why"]) for fault in faults]
        file = await ctx.store.get(File, "file-1")
        assert b"".join([block async for block in read_file(ctx, file)]) == b"one"

    served(tmp_path, test)


def test_a_file_of_another_project_keeps_its_bytes(tmp_path: Path) -> None:
    async def test(ctx: Context) -> None:
        await ctx.ports.database.store(SYSTEM).write(Add(Project(id="proj_other", created_at=1, name="other")))
        other = Context.of(ctx.ports, "proj_other")
        written(tmp_path, "file-1", "one")
        await imported(other, written(tmp_path, "files.jsonl", a_file("file-1", "a.txt", 3)))
        (tmp_path / "in" / "file-1").write_text("ONE")
        report, faults = await imported(ctx, tmp_path / "in")
        assert (report.taken, faults[0]["why"]) == ({}, "id taken by another project")
        file = await other.store.get(File, "file-1")
        assert b"".join([block async for block in read_file(other, file)]) == b"one"

    served(tmp_path, test)


def test_the_draft_of_a_killed_import_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "DEAD_SECONDS", 0.2)
    monkeypatch.setattr(content, "_LOOK_SECONDS", 0.05)

    async def test(ctx: Context) -> None:
        await ctx.store.write(Add(BlobDraft(id="file-1", created_at=T0, touched_at=T0)))
        written(tmp_path, "file-1", "one")
        report, _ = await imported(ctx, written(tmp_path, "files.jsonl", a_file("file-1", "a.txt", 3)))
        assert report.taken == {"file": 1}
        assert await ctx.store.all(BlobDraft) == []

    served(tmp_path, test)


def test_the_draft_of_an_import_that_is_seen_to_have_ended_is_taken_over_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "DEAD_SECONDS", 3600)
    tell = "from everloom.kit.process_identity import this_process; print(this_process())"
    gone = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True).stdout.strip()
    if not gone:
        pytest.skip("this system does not tell of processes")
    mine = this_process()
    assert has_ended(gone)
    assert not any(map(has_ended, (mine, f"elsewhere {mine}", "", "no process", f"{mine} x")))
    assert has_ended(f"{mine.rpartition(' ')[0]} 1")

    async def test(ctx: Context) -> None:
        await ctx.store.write(Add(BlobDraft(id="file-1", created_at=T0, touched_at=T0, writer=gone)))
        written(tmp_path, "file-1", "one")
        report, _ = await imported(ctx, written(tmp_path, "files.jsonl", a_file("file-1", "a.txt", 3)))
        assert report.taken == {"file": 1}
        assert await ctx.store.all(BlobDraft) == []

    served(tmp_path, test)


def test_the_older_form_becomes_what_its_server_would_show_now(tmp_path: Path) -> None:
    tools = [{"type": "retrieval"}, {"type": "code_interpreter"}]
    assistant = {
        "id": "asst_a", "object": "assistant", "created_at": T0, "model": "gpt-4", "tools": tools, "name": None,
        "file_ids": ["file-1", "file-2"], "metadata": {"modified": True}, "description": None, "instructions": "x",
    }  # fmt: skip
    thread = {"id": "thread_a", "object": "thread", "created_at": T0, "metadata": {}}
    message = a_message("msg_1", file_ids=["file-1"], assistant_id=None, run_id=None)
    del message["attachments"]
    run = a_run("run_1", tools=tools, file_ids=["file-1"], tool_choice={"type": "retrieval"})
    call = {"id": "call_1", "type": "retrieval", "retrieval": {}}
    step = {
        "id": "step_1", "object": "thread.run.step", "created_at": T0, "run_id": "run_1", "assistant_id": "asst_a",
        "thread_id": "thread_a", "type": "tool_calls", "status": "completed",
        "step_details": {"type": "tool_calls", "tool_calls": [call]},
    }  # fmt: skip
    files = [a_file("file-1", "a.txt", 3), a_file("file-2", "b.csv", 3)]
    attached = {"id": "file-2", "object": "assistant.file", "created_at": T0 + 5, "assistant_id": "asst_a"}

    async def test(ctx: Context) -> None:
        written(tmp_path, "file-1", "one")
        written(tmp_path, "file-2", "two")
        folder = written(tmp_path, "all.jsonl", assistant, thread, message, run, step, *files, attached)
        _, faults = await imported(ctx, folder)
        assert faults == []
        taken = await ctx.store.get(Assistant, "asst_a")
        assert taken.metadata == {"modified": "True"}
        assert taken.code_file_ids == ["file-1", "file-2"]
        rows = await ctx.store.all(AssistantFile, assistant_id="asst_a")
        assert [(row.file_id, row.created_at) for row in rows] == [("file-1", T0), ("file-2", T0 + 5)]
        stores = {store.id for store in await ctx.store.all(VectorStore)}
        held = await ctx.store.get(Thread, "thread_a")
        assert encode(held.tool_resources).startswith(b'{"code_interpreter":{"file_ids":["file-1"]},"file_search"')
        assert len(stores) == 2
        assert {row.id for row in await ctx.store.all(VectorStoreFile)} == {"file-1"}
        assert {task.moved for task in await ctx.store.all(IndexTask)} == {True}
        taken_step = await ctx.store.get(RunStep, "step_1")
        assert b'"type":"file_search"' in encode(taken_step)
        bodies = await all_bodies(ctx)
        again, faults = await imported(ctx, folder)
        assert (again.taken, faults) == ({}, [])
        assert await all_bodies(ctx) == bodies

    served(tmp_path, test)


# --- kills, and two at once ------------------------------------------------------------------------------------------


def many(folder: Path, count: int) -> Path:
    """Threads of some twenty messages, some of one second, newest first, with files beside them."""
    chance = random.Random(7)
    lines: list[Json] = []
    for number in range(count // 20):
        at = T0 + number * 50
        lines += [a_message(f"msg_{number}_{n}", at + n // 3, f"thread_{number}") for n in reversed(range(20))]
    chance.shuffle(threads := [a_thread(f"thread_{number}", T0 + number) for number in range(0, count // 20, 2)])
    for number in range(5):
        written(folder, f"file-{number}", f"content {number}")
    written(folder, "files.jsonl", *(a_file(f"file-{number}", f"{number}.txt", 9) for number in range(5)))
    written(folder, "threads.jsonl", *threads)
    return written(folder, "messages.jsonl", *lines)


async def everything(ctx: Context) -> list[Any]:
    """All rows with their ranks."""
    found: list[Any] = []
    database: Any = ctx.ports.database
    for table in ("messages", "threads", "files", "runs", "vector_stores"):

        def asked(table: str = table) -> Any:
            return (yield Statement(f"SELECT id, rank, body FROM {table} ORDER BY id", []))

        found += await database.aside(asked())
    return found


class Killed(BaseException):
    pass


class DyingStore:
    """A store under which the process dies right before or behind its nth write that comes about."""

    def __init__(self, inner: Any, writes: int, *, behind: bool) -> None:
        self._inner = inner
        self._left = writes
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def write(self, *operations: Any, **more: Any) -> Any:
        if self._left == 1 and not self._behind:
            raise Killed
        result = await self._inner.write(*operations, **more)
        self._left -= 1
        if not self._left:
            raise Killed
        return result


def test_an_import_that_is_killed_and_begun_again_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "GROUP", 17)
    monkeypatch.setattr(content, "DEAD_SECONDS", 0.1)
    monkeypatch.setattr(content, "_LOOK_SECONDS", 0.02)
    ends: list[Any] = []

    async def whole(ctx: Context) -> None:
        await imported(ctx, many(tmp_path, 400))
        ends.append(await everything(ctx))

    async def killed(ctx: Context) -> None:
        for kills in range(100):
            dying: Any = DyingStore(ctx.store, 1 + kills % 5, behind=kills % 2 == 0)
            try:
                await imported(replace(ctx, store=dying), many(tmp_path, 400))
                break
            except Killed:
                continue
        assert 5 < kills < 99
        ends.append(await everything(ctx))

    for name, test in (("a", whole), ("b", killed)):
        (tmp_path / name).mkdir()
        served(tmp_path / name, test)
    assert len(ends[0]) == 425
    assert ends[0] == ends[1]


def test_two_imports_at_once_end_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "GROUP", 7)
    given = many(tmp_path, 400)

    async def test(ctx: Context) -> None:
        reports = await asyncio.gather(*(imported(ctx, given) for _ in range(3)))
        assert [faults for _, faults in reports] == [[], [], []]
        together = sum((report.taken for report, _ in reports), start=reports[0][0].taken.__class__())
        assert together == {"file": 5, "thread": 20, "thread.message": 400}
        for number in range(20):
            assert await order_of(ctx, f"thread_{number}") == [f"msg_{number}_{n}" for n in range(20)]
        for file in await ctx.store.all(File):
            assert b"".join([block async for block in read_file(ctx, file)]).startswith(b"content")

    served(tmp_path, test)


def test_a_thread_that_lives_on_takes_what_was_said_before(tmp_path: Path) -> None:
    async def test(ctx: Context) -> None:
        await imported(ctx, written(tmp_path, "m.jsonl", a_message("msg_2", T0 + 9)))
        await ctx.store.write(Change(Thread, "thread_a", lambda thread: thread.metadata.update(seen="yes")))
        report, faults = await imported(
            ctx, written(tmp_path, "m.jsonl", a_message("msg_1"), a_message("msg_2", T0 + 9))
        )
        assert (report.taken, report.unchanged, faults) == ({"thread.message": 1}, {"thread.message": 1}, [])
        assert await order_of(ctx) == ["msg_1", "msg_2"]

    served(tmp_path, test)


def test_a_thread_that_is_deleted_meanwhile_leaves_nothing_behind(tmp_path: Path) -> None:
    class DeletingStore(DyingStore):
        async def write(self, *operations: Any, **more: Any) -> Any:
            if any(isinstance(operation, Add) and isinstance(operation.object, Message) for operation in operations):
                await remove_thread(ctx_of[0], "thread_a")
            return await self._inner.write(*operations, **more)

    ctx_of: list[Context] = []

    async def test(ctx: Context) -> None:
        ctx_of.append(ctx)
        deleting: Any = DeletingStore(ctx.store, 0, behind=False)
        folder = written(tmp_path, "m.jsonl", a_thread(), a_message("msg_1"))
        report, faults = await imported(replace(ctx, store=deleting), folder)
        assert report.taken == {"thread": 1}
        assert [fault["why"] for fault in faults] == ["its thread thread_a is not here"]
        assert await all_bodies(ctx) == []

    served(tmp_path, test)
