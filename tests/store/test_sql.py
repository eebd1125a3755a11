"""The hot queries are answered from an index, whatever the tables hold: SQLite's planner says so."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from everloom.kit.ids import new_id, new_rank, rank_at
from everloom.objects.base import PageQuery
from everloom.objects.messages import Message
from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.store import procedures
from everloom.store.base import Absent, Database
from everloom.store.kinds import KINDS
from everloom.store.procedures import own_rank
from everloom.store.sql import Statement
from tests.store.databases import opened

THREAD = {"thread_id": "thread_1"}
ACTIVE = THREAD | {"active": True}


def _find(cls: type[Any], where: dict[str, Any], **query: str) -> Generator[Statement, Any, Any]:
    return procedures.find("sqlite", "proj_a", cls, PageQuery(**query), None, where)


@pytest.mark.parametrize(
    ("procedure", "index"),
    [
        (_find(Message, THREAD), "ix_messages_thread_id (project=? AND thread_id=?)"),
        (_find(Message, THREAD, order="asc"), "ix_messages_thread_id (project=? AND thread_id=?)"),
        (
            _find(Message, THREAD, after="msg_1"),
            "ix_messages_thread_id (project=? AND thread_id=? AND (rank,id)<(?,?))",
        ),
        (
            _find(Message, THREAD, before="msg_1"),
            "ix_messages_thread_id (project=? AND thread_id=? AND (rank,id)>(?,?))",
        ),
        (_find(Thread, {}, after="thread_1"), "ix_threads_rank (project=? AND (rank,id)<(?,?))"),
        (
            procedures.write("sqlite", "proj_a", [Absent(Run, lambda run: ValueError(), **ACTIVE)], None),
            "ix_runs_thread_id_active (project=? AND thread_id=?)",
        ),
        (procedures.across("sqlite", Run, 1000, {"active": True}), "ix_runs_active"),
        (procedures.get("sqlite", "proj_a", Run, "run_1", THREAD), "sqlite_autoindex_runs_1 (project=? AND id=?)"),
        (procedures.events("sqlite", "proj_a", "run_1", 7, 1000), "PRIMARY KEY (project=? AND log=? AND seq>?)"),
        (procedures.last_seq("sqlite", "proj_a", "run_1"), "PRIMARY KEY (project=? AND log=?)"),
    ],
)
def test_a_hot_query_walks_its_index_and_sorts_nothing(
    procedure: Generator[Statement, Any, Any], index: str, tmp_path: Path
) -> None:
    async def check(database: Database) -> None:
        assert await database.across(Run) == []

    asyncio.run(opened(str(tmp_path / "everloom.db"), check))
    statement = next(procedure)
    with contextlib.closing(sqlite3.connect(tmp_path / "everloom.db")) as connection:
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters)]
    assert steps[0].endswith(index)
    assert not any("TEMP B-TREE" in step for step in steps)


def test_only_an_id_of_our_own_make_has_a_rank() -> None:
    kind = KINDS[Message]
    before = new_rank()
    assert before < (own_rank(kind, new_id("msg_")) or 0) < new_rank()
    assert own_rank(kind, new_id("run_")) is None
    assert own_rank(kind, "msg_abc") is None
    assert own_rank(kind, "msg_" + "0" * 24) is None
    assert own_rank(kind, "msg_" + "z" * 24) is None
    assert own_rank(kind, "msg_" + "é" * 24) is None
    assert rank_at(1) < rank_at(2)
