"""What is imported of dumps that have texts alone, and of documents that a mapping explains."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from everloom.context import Context
from everloom.objects.messages import Message, TextContent
from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.work.transfer.mapping import Mapping, WrongMapping
from everloom.work.transfer.reading import Reading
from everloom.work.transfer.stage import Stage
from everloom.work.transfer.taking import Taking
from everloom.work.transfer.texts import seconds
from tests.work.test_transfer import T0, Json, a_message, a_run, all_bodies, imported, order_of, served, written


def words(message: Message) -> str:
    (part,) = message.content
    assert isinstance(part, TextContent)
    return part.text.value


def test_lines_of_text_become_messages_and_no_runs(tmp_path: Path) -> None:
    lines = [
        {"thread_id": "t", "assistant_id": "a", "message_id": "m1", "role": "user", "text": "hi", "created_at": T0},
        {
            "thread_id": "t",
            "assistant_id": "a",
            "message_id": "m2",
            "role": "ASSISTANT",
            "text": "ho",
            "created_at": T0,
        },
        {"thread_id": "t", "role": "human", "content": "no id", "timestamp": "2023-11-14T22:13:25Z"},
        {"thread_id": "t", "role": "system", "text": "be brief", "created_at": T0},
        {"thread_id": "t", "role": "user", "text": "when?", "created_at": "tomorrow"},
        {"thread_id": "t", "role": "user", "created_at": T0},
    ]

    async def test(ctx: Context) -> None:
        folder = written(tmp_path, "dump.jsonl", *lines)
        report, faults = await imported(ctx, folder)
        assert report.taken == {"thread": 1, "thread.message": 3}
        assert [(fault["line"], fault["why"]) for fault in faults] == [
            (4, "role 'system': a message is a user's or an assistant's"),
            (5, "created_at 'tomorrow' is no time"),
            (6, "it has no text"),
        ]
        first, second, third = await ctx.store.all(Message, thread_id="t")
        assert [words(message) for message in (first, second, third)] == ["hi", "ho", "no id"]
        assert (first.assistant_id, second.assistant_id, second.role) == (None, "a", "assistant")
        assert third.created_at == T0 + 5
        assert await ctx.store.all(Run) == []
        before = await all_bodies(ctx)
        again, _ = await imported(ctx, folder)
        assert again.unchanged["thread.message"] == 3
        assert await all_bodies(ctx) == before

    served(tmp_path, test)


def test_a_table_of_texts(tmp_path: Path) -> None:
    rows = "﻿thread_id,message_id,role,text,created_at\r\n"
    rows += f't,m1,user,"two\nlines, ""quoted""",{T0}\r\n'
    rows += f"t,m2,assistant,{'x' * 200_000},{(T0 + 1) * 1000}\r\n"
    rows += "t,m3,user\r\n"

    async def test(ctx: Context) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "dump.csv").write_text(rows, encoding="utf-8", newline="")
        _, faults = await imported(ctx, tmp_path / "in")
        assert await order_of(ctx, "t") == ["m1", "m2"]
        first, second = await ctx.store.all(Message)
        assert words(first) == 'two\nlines, "quoted"'
        assert (len(words(second)), second.created_at) == (200_000, T0 + 1)
        assert [fault["line"] for fault in faults] == [5]

    served(tmp_path, test)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (T0, T0),
        (float(T0) + 0.9, T0),
        (T0 * 1000 + 999, T0),
        (str(T0), T0),
        (" 2023-11-14T22:13:20+00:00 ", T0),
        ("2023-11-14 22:13:20", T0),
        ("2023-11-14T23:13:20.123456+01:00", T0),
    ],
)
def test_times(given: Any, expected: int) -> None:
    assert seconds(given) == expected


MAPPING = """
[[documents]]
is = "thread"
when = { type = "conversation" }
id = "id"
created_at = "_ts"
metadata = { customer = "owner.name", source = { value = "cosmos" } }

[[documents]]
is = "message"
when = { type = "conversation" }
each = "turns"
thread_id = "..id"
role = { value = "user" }
text = "question.text"
created_at = "at"

[[documents]]
is = "message"
when = { type = "conversation" }
each = "turns"
thread_id = "..id"
role = "by"
roles = { clerk = "assistant" }
text = "answers.0"
created_at = "at"
assistant_id = "..agent"
"""


async def mapped(ctx: Context, folder: Path, given: Path) -> list[dict[str, Any]]:
    mapping = folder / "mapping.toml"
    stage = Stage(folder / "stage.db")
    await Reading(stage, Mapping(mapping).read).read([given])
    await Taking(ctx, stage).take()
    return list(stage.faults())


def test_documents_are_read_by_a_mapping(tmp_path: Path) -> None:
    turns = [
        {"question": {"text": "how?"}, "answers": ["so"], "by": "clerk", "at": T0 + 1},
        {"question": {"text": "why?"}, "answers": ["because"], "by": "clerk", "at": T0 + 2},
    ]
    documents = [
        {"id": "c1", "type": "conversation", "_ts": T0, "owner": {"name": "Ada"}, "agent": "asst_a", "turns": turns},
        {"id": "c2", "type": "invoice", "_ts": T0},
    ]
    (tmp_path / "mapping.toml").write_text(MAPPING)

    async def test(ctx: Context) -> None:
        faults = await mapped(ctx, tmp_path, written(tmp_path, "docs.json", {"Documents": documents, "_count": 2}))
        assert [fault["why"] for fault in faults] == ["no table of the mapping fits this document"]
        thread = await ctx.store.get(Thread, "c1")
        assert (thread.created_at, thread.metadata) == (T0, {"customer": "Ada", "source": "cosmos"})
        found = await ctx.store.all(Message, thread_id="c1")
        assert [(message.role, words(message)) for message in found] == [
            ("user", "how?"), ("assistant", "so"), ("user", "why?"), ("assistant", "because"),
        ]  # fmt: skip
        assert found[1].assistant_id == "asst_a"

    served(tmp_path, test)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("documents = 7", "Expected `array`"),
        ("[[documents]]\nis = 'run'\ncreated_at = 'x'", "Invalid enum value 'run'"),
        ("[[documents]]\nis = 'message'\ncreated_at = 'x'\nrole = 'r'", "thread_id, text"),
        ("[[documents]]\nis = 'thread'\ncreated_at = 'x'\nid = 'y'\ncolour = 'z'", "unknown field `colour`"),
        ("[[", "mapping.toml"),
    ],
)
def test_a_mapping_that_says_nothing(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text(text)
    with pytest.raises(WrongMapping, match=why.replace("[", r"\[")):
        Mapping(tmp_path / "mapping.toml")


# --- whatever records are made of -------------------------------------------------------------------------------------

VALUES: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**25, "", "x", "x" * 2000, "\0", "a/b", [], {}, [[]], [{}], [None], {"type": 7}),
    *(
        {"type": "text"},
        [{"type": "text", "text": 7}],
        [{"type": ["x"]}],
        {"value": None},
        [{"id": {}}],
        2**63,
        -(2**70),
    ),
]


def mutated(record: Any, chance: random.Random) -> Any:
    """The record with some of its members others, at any depth."""
    if isinstance(record, dict) and record and chance.random() < 0.9:
        name = chance.choice([*record, "file_ids", "tools", "metadata", "expires_at"])
        return {**record, name: mutated(record.get(name), chance)}
    if isinstance(record, list) and record and chance.random() < 0.8:
        return [mutated(record[0], chance), *record[1:]]
    return chance.choice(VALUES)


def test_no_record_breaks_an_import(tmp_path: Path) -> None:
    """Members of other types, sizes and depths cost their record, or are taken as they are."""
    code = {"input": "1", "outputs": [{"type": "logs", "logs": ""}]}
    call = {"id": "c", "type": "code_interpreter", "code_interpreter": code}
    quote = {"type": "file_citation", "text": "x", "file_citation": {"file_id": "f", "quote": None}}
    part = {"type": "text", "text": {"value": "x", "annotations": [quote | {"start_index": 0, "end_index": 1}]}}
    function = {"type": "function", "function": {"name": "f", "parameters": {"a": None}}}
    records: list[Json] = [
        a_message("m", content=[part], file_ids=["f"]),
        a_run("r", tools=[function], status="queued"),
        {"object": "assistant", "id": "a", "model": "m", "tools": [{"type": "retrieval"}], "file_ids": ["f"]},
        {"object": "file", "id": "f", "bytes": 1, "filename": "f.txt", "purpose": "assistants", "expires_at": T0},
        {"object": "vector_store", "id": "v", "name": None, "expires_after": None, "expires_at": T0},
        {"object": "vector_store.file", "id": "f", "vector_store_id": "v", "status": "completed"},
        {"object": "thread", "id": "thread_a"},
        {"object": "assistant.file", "id": "f", "assistant_id": "a"},
        {"thread_id": "t", "role": "user", "text": "x"},
        {"object": "thread.run.step", "id": "s", "run_id": "r", "assistant_id": "a", "thread_id": "thread_a"}
        | {"type": "tool_calls", "status": "in_progress", "step_details": {"type": "tool_calls", "tool_calls": [call]}},
    ]
    records = [{"created_at": T0, **record} for record in records]
    chance = random.Random(11)
    lines = [json.dumps(mutated(record, chance)) for record in records for _ in range(150)]
    deep = '{"object": "thread", "id": "x", "created_at": 1, "metadata": ' + '{"a":' * 900 + "1" + "}" * 901

    async def test(ctx: Context) -> None:
        written(tmp_path, "f.txt", "1")
        report, faults = await imported(ctx, written(tmp_path, "m.jsonl", *lines, deep))
        assert report.taken.total() > 20
        assert len(faults) > 300
        assert all(fault["why"] for fault in faults)
        again, later = await imported(ctx, tmp_path / "in")
        assert again.taken == {}
        assert len(later) == len(faults)

    served(tmp_path, test)


def test_names_of_files_in_any_bytes(tmp_path: Path) -> None:
    async def test(ctx: Context) -> None:
        folder = written(tmp_path, "m.jsonl", a_message("m"))
        (folder / os.fsdecode(b"caf\xe9.jsonl")).write_text("{}\n")
        _, faults = await imported(ctx, folder)
        assert [fault["file"] for fault in faults] == ["caf�.jsonl"]

    served(tmp_path, test)
