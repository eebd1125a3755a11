"""The hot queries are answered from an index, whatever the tables hold: SQLite's planner says so."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from everloom.kit.ids import new_id, new_rank, rank_at
from everloom.objects.assistants import Assistant
from everloom.objects.base import PageQuery
from everloom.objects.files import AssistantFile, File
from everloom.objects.fine_tuning import FineTuningJob
from everloom.objects.messages import Message
from everloom.objects.runs import EndedLog, Run
from everloom.objects.steps import RunStep
from everloom.objects.threads import Thread
from everloom.objects.vector_stores import FileBatchMember, IndexTask, VectorStore, VectorStoreFile
from everloom.store import packing, pages, procedures
from everloom.store.base import Absent, Database, Remove
from everloom.store.few import few
from everloom.store.kinds import KINDS, Kind, own_rank
from everloom.store.schema import column_type
from everloom.store.sql import Statement
from tests.store.databases import opened

THREAD = {"thread_id": "thread_1"}
ACTIVE = THREAD | {"active": True}
MEMBER = {"vector_store_id": "vs_1", "file_id": "file-1"}
ATTACHED = {"assistant_id": "asst_1", "file_id": "file-1"}


Planner = Callable[[Generator[Statement, Any, Any]], list[str]]


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planner]:
    """What SQLite does for a procedure's first statement, step by step."""
    path = tmp_path_factory.mktemp("plans") / "everloom.db"

    async def check(database: Database) -> None:
        assert await database.across(Run) == []

    asyncio.run(opened(str(path), check))
    with contextlib.closing(sqlite3.connect(path)) as connection:

        def plan(procedure: Generator[Statement, Any, Any]) -> list[str]:
            statement = next(procedure)
            return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters)]

        yield plan


def _find(cls: type[Any], where: dict[str, Any], **query: str) -> Generator[Statement, Any, Any]:
    return pages.find("sqlite", "proj_a", cls, PageQuery(**query), None, where)


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
        (few("proj_a", Message, THREAD), "ix_messages_thread_id (project=? AND thread_id=?)"),
        (few("proj_a", RunStep, {"run_id": "run_1"}), "PRIMARY KEY (project=? AND run_id=?)"),
        (procedures.across("sqlite", Run, 1000, {"active": True}), "ix_runs_active"),
        (procedures.piece("sqlite", VectorStore, (), {}), "sqlite_autoindex_vector_stores_1 ((project,id)>(?,?))"),
        (procedures.across("sqlite", IndexTask, 1000, {}), "ix_index_tasks_all"),
        (procedures.across("sqlite", VectorStoreFile, 1000, {"open": True}), "ix_vector_store_files_open"),
        (procedures.across("sqlite", FineTuningJob, 16, {"running": True}), "ix_fine_tuning_jobs_running"),
        (
            _find(VectorStoreFile, {"vector_store_id": "vs_1", "status": "completed"}),
            "ix_vector_store_files_vector_store_id_status (project=? AND vector_store_id=? AND status=?)",
        ),
        (_find(Message, THREAD | {"run_id": "run_1"}), "ix_messages_run_id (project=? AND run_id=?)"),
        (_find(File, {"purpose": "batch"}), "ix_files_purpose (project=? AND purpose=?)"),
        (
            pages.find("sqlite", "proj_a", Thread, PageQuery(after="thread_1"), {"user": "a"}, {}),
            "p USING PRIMARY KEY (term=? AND (rank,id)<(?,?))",
        ),
        (procedures.across("sqlite", EndedLog, 400, {"waiting": True}), "ix_ended_logs_waiting"),
        (procedures.get("sqlite", "proj_a", Run, "run_1", THREAD), "sqlite_autoindex_runs_1 (project=? AND id=?)"),
        (packing.events("sqlite", "proj_a", "run_1", 7, 1000), "PRIMARY KEY (project=? AND log=? AND seq>?)"),
        (packing.last_seq("sqlite", "proj_a", "run_1"), "PRIMARY KEY (project=? AND log=?)"),
    ],
)
def test_a_hot_query_walks_its_index_and_sorts_nothing(
    procedure: Generator[Statement, Any, Any], index: str, planner: Planner
) -> None:
    steps = planner(procedure)
    assert steps[0].endswith(index)
    assert not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize(
    ("procedure", "index"),
    [
        (procedures.everything("sqlite", "proj_a", File, {"id": ["file-1"] * 3}), "sqlite_autoindex_files_1"),
        (procedures.everything("sqlite", "proj_a", File, {"id": ["file-1"] * 500}), "sqlite_autoindex_files_1"),
        (
            procedures.everything(
                "sqlite", "proj_a", VectorStoreFile, {"id": ["vs_1.file-1"], "status": "in_progress"}
            ),
            "sqlite_autoindex_vector_store_files_1",
        ),
        (procedures.everything("sqlite", "proj_a", Assistant, {"code_file_ids": "file-1"}), "sqlite_autoindex_assist"),
        (procedures.everything("sqlite", "proj_a", RunStep, {"run_id": ["run_1", "run_2"]}), "PRIMARY KEY"),
        (procedures.everything("sqlite", "proj_a", FineTuningJob, {"status": ["queued", "running"]}), "_status "),
        (procedures.piece("sqlite", VectorStore, (7, "vs_1", "proj_a"), {"mortal": True}), "ix_vector_stores_mortal "),
        (procedures.everything("sqlite", "proj_a", IndexTask, MEMBER), "ix_index_tasks_file_id"),
        (
            procedures.write("sqlite", "proj_a", [Remove(FileBatchMember, **MEMBER)], None),
            "ix_file_batch_members_file_id",
        ),
        (procedures.write("sqlite", "proj_a", [Remove(AssistantFile, **ATTACHED)], None), "ix_assistant_files_file_id"),
    ],
)
def test_few_of_many_are_found_by_what_fewest_have(
    procedure: Generator[Statement, Any, Any], index: str, planner: Planner
) -> None:
    steps = planner(procedure)
    assert steps[0].startswith("SEARCH")
    assert index in steps[0]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.table)
def test_every_list_of_every_kind_walks_the_index_of_its_column(kind: Kind, planner: Planner) -> None:
    columns = [name for name in kind.index if column_type(kind.cls, name) is not bool and name not in dict(kind.within)]
    for column in (None, *columns):
        where = {} if column is None else {column: "x"}
        index = f"INDEX ix_{kind.table}_{column or 'rank'} "
        if column and column == kind.clustered_by:
            index = "PRIMARY KEY"
        for query in ({}, {"after": "x_1"}, {"before": "x_1", "order": "asc"}):
            steps = planner(_find(kind.cls, where, **query))
            assert index in steps[0]
            assert not any("TEMP B-TREE" in step for step in steps)
    for flag in set(kind.index) - {*columns, *dict(kind.within)}:
        assert planner(procedures.across("sqlite", kind.cls, 10, {flag: True}))[0].endswith(f" ix_{kind.table}_{flag}")
    for count in (1, 3, 500):
        assert "id=?" in planner(procedures.everything("sqlite", "proj_a", kind.cls, {"id": ["x_1"] * count}))[0]


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
