"""What ``benchmarks.growth`` fills a database with: a few small things that it asks for, among very many others."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from everloom.kit.ids import new_id, new_rank
from everloom.objects.assistants import Assistant
from everloom.objects.base import Object, encode
from everloom.objects.batches import Batch
from everloom.objects.files import File, Purpose
from everloom.objects.fine_tuning import (
    FineTuningJob,
    FineTuningJobCheckpoint,
    FineTuningJobEvent,
    FineTuningMethod,
    Hyperparameters,
    SupervisedMethod,
)
from everloom.objects.invites import Invite
from everloom.objects.messages import Message, Text, TextContent
from everloom.objects.projects import Project
from everloom.objects.runs import Run
from everloom.objects.service_accounts import ServiceAccount
from everloom.objects.steps import MessageCreation, MessageReference, RunStep
from everloom.objects.stored_completions import StoredCompletion, StoredPrompt
from everloom.objects.threads import Thread
from everloom.objects.tools import CodeInterpreterResources, ToolResources
from everloom.objects.users import Membership, User
from everloom.objects.vector_stores import FileBatch, FileBatchMember, FileStatus, StoreModel, VectorStore
from everloom.objects.vector_stores import VectorStoreFile as StoreFile
from everloom.store import sql
from everloom.store.base import SYSTEM
from everloom.store.kinds import KINDS, own_rank
from everloom.store.sqlite import SqliteDatabase
from everloom.store.terms import terms
from everloom.work.organization.establishing import DEFAULT_PROJECT
from everloom.work.organization.new_keys import new_key

MADE = 1_733_000_000
SMALL = 10
"""Things in each small list that is asked for."""

TOGETHER = 100
"""Messages of another thread, members of another project, events of another job."""

STORE_FILES = 5000
"""Files in another store."""

_COMMIT = 10_000
_WORDS = "You are a personal math tutor. When asked a question, write the solution in short sentences. "


def seed(data: Path, size: int) -> dict[str, str]:
    """Make the database of a data folder with ``size`` things of each kind; the ids of what is asked for, by name."""
    asyncio.run(_make(data / "everloom.db"))
    ids: dict[str, str] = {}
    with contextlib.closing(sqlite3.connect(data / "everloom.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        # What is asked for stands in the middle, as on a server that has gone on for as long again.
        half = size // 2
        for project, things in ((DEFAULT_PROJECT, _of_project), (SYSTEM, _of_organization)):
            insert(connection, project, things(half))
            insert(connection, project, _asked(ids) if project else _asked_of_organization(ids))
            insert(connection, project, things(size - half))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return ids


async def _make(file: Path) -> None:
    database = SqliteDatabase(file)
    await database.open()
    await database.close()


def insert(connection: sqlite3.Connection, project: str, things: Iterable[Object]) -> None:
    post = sql.post_many("sqlite", 1)
    connection.execute("BEGIN")
    for number, thing in enumerate(things):
        kind = KINDS[type(thing)]
        key = getattr(thing, kind.key)
        rank = own_rank(kind, key) or new_rank()
        columns = [getattr(thing, name) for name in kind.index]
        connection.execute(sql.add("sqlite", kind), [project, key, rank, encode(thing), *columns])
        if kind.terms:
            connection.executemany(post, [(each, rank, key) for each in terms(project, kind, thing)])
        if number % _COMMIT == _COMMIT - 1:
            connection.execute("COMMIT")
            connection.execute("BEGIN")
    connection.execute("COMMIT")


# --- very many -------------------------------------------------------------------------------------------------------


def _of_project(count: int) -> Iterator[Object]:
    thread, run, job, store = a_thread(), _run("thread_0"), _job("team"), _store()
    for number in range(count):
        if number % TOGETHER == 0:
            job = _job("team")
        if number % STORE_FILES == 0:
            store = _store()
            yield from (store, StoreModel(id=store.id, created_at=MADE, model="all-minilm-l6-v2"))
        thread = a_thread(user=f"u{number % 1000}", app="x")
        run = _run(thread.id)
        file = a_file()
        yield from (
            thread,
            run,
            _step(run),
            _message(thread.id, run.id),
            file,
            an_assistant(file.id),
            _job_or(job, number),
        )
        yield StoreFile(id=file.id, created_at=MADE, vector_store_id=store.id, status="completed")
        yield from (
            _batch(),
            FineTuningJobEvent(id=new_id("ftevent-"), created_at=MADE, message="Step", fine_tuning_job_id=job.id),
        )
        yield from a_completion("gpt-4o", user=f"u{number % 1000}", app="x")


def _job_or(job: FineTuningJob, number: int) -> Object:
    """The job the first time, then checkpoints of it."""
    if number % TOGETHER == 0:
        return job
    return FineTuningJobCheckpoint(
        id=new_id("ftckpt_"),
        created_at=MADE,
        fine_tuned_model_checkpoint="ft:small:everloom::1",
        fine_tuning_job_id=job.id,
        metrics={"train_loss": 1.0},
        step_number=number,
    )


def _of_organization(count: int) -> Iterator[Object]:
    project = _project()
    for number in range(count):
        if number % TOGETHER == 0:
            project = _project()
            yield project
        yield from _member(project.id)
        yield _invite()
        account = ServiceAccount(id=new_id("svc_acct_"), created_at=MADE, project_id=project.id, name="a program")
        yield from (account, new_key(new_id("sk-"), owner_id=account.id, project_id=project.id, name="a key"))


# --- what is asked for -----------------------------------------------------------------------------------------------


def _asked(ids: dict[str, str]) -> Iterator[Object]:
    thread = a_thread(user="needle", app="x")
    run = _run(thread.id)
    files = [a_file("batch") for _ in range(SMALL)]
    store, batch, job = _store(), FileBatch(id=new_id("vsfb_"), created_at=MADE, vector_store_id=""), _job("needle")
    batch.vector_store_id = store.id
    completion, prompt = a_completion("rare-model", user="needle", app="x")
    assistant, answered = an_assistant(), _batch()
    yield from (thread, run, store, batch, job, completion, prompt, assistant, answered, _job(""))
    yield StoreModel(id=store.id, created_at=MADE, model="all-minilm-l6-v2")
    messages = [_message(thread.id, run.id if number else None) for number in range(SMALL)]
    steps = [_step(run) for _ in range(SMALL)]
    yield from chain(messages, steps, files)
    for number, file in enumerate(files):
        status: FileStatus = "failed" if number % 2 else "completed"
        yield StoreFile(id=file.id, created_at=MADE, vector_store_id=store.id, status=status)
        member = {"batch_id": batch.id, "file_id": file.id, "vector_store_id": store.id}
        yield FileBatchMember(id=f"{batch.id}.{file.id}", created_at=MADE, **member)
        yield FineTuningJobEvent(id=new_id("ftevent-"), created_at=MADE, message="Step", fine_tuning_job_id=job.id)
    ids |= {
        "thread": thread.id,
        "message": messages[-1].id,
        "run": run.id,
        "step": steps[0].id,
        "file": files[0].id,
        "assistant": assistant.id,
        "store": store.id,
        "file_batch": batch.id,
        "batch": answered.id,
        "job": job.id,
        "completion": completion.id,
    }


def _asked_of_organization(ids: dict[str, str]) -> Iterator[Object]:
    project = _project()
    yield project
    for _ in range(SMALL):
        user, place = _member(project.id)
        account = ServiceAccount(id=new_id("svc_acct_"), created_at=MADE, project_id=project.id, name="a program")
        key = new_key(new_id("sk-"), owner_id=account.id, project_id=project.id, name="a key")
        invite = _invite()
        yield from (user, place, account, key, invite)
    assert isinstance(user, User)
    ids |= {"project": project.id, "user": user.id, "email": user.email, "account": account.id, "key": key.id}
    ids["invite"] = invite.id


# --- one of each -----------------------------------------------------------------------------------------------------


def a_thread(**metadata: str) -> Thread:
    return Thread(id=new_id("thread_"), created_at=MADE, metadata=metadata)


def an_assistant(*file_ids: str) -> Assistant:
    resources = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=list(file_ids)))
    made = {"id": new_id("asst_"), "created_at": MADE, "model": "gpt-4o", "instructions": _WORDS * 5}
    return Assistant(**made, tool_resources=resources if file_ids else ToolResources())


def a_file(purpose: Purpose = "assistants") -> File:
    return File(id=new_id("file-"), created_at=MADE, bytes=10, filename="notes.txt", purpose=purpose)


def a_completion(model: str, **metadata: str) -> tuple[StoredCompletion, StoredPrompt]:
    id = new_id("chatcmpl-")
    completion = StoredCompletion(id=id, created_at=MADE, model=model, choices=[], metadata=metadata)
    return completion, StoredPrompt(id=id, created_at=MADE, messages=[])


def _message(thread_id: str, run_id: str | None) -> Message:
    content = [TextContent(text=Text(value=_WORDS))]
    made = {"id": new_id("msg_"), "created_at": MADE, "thread_id": thread_id, "run_id": run_id}
    return Message(**made, role="user", content=list(content))


def _run(thread_id: str) -> Run:
    made = {"id": new_id("run_"), "created_at": MADE, "assistant_id": "asst_1", "thread_id": thread_id}
    return Run(**made, status="completed", model="gpt-4o", instructions=_WORDS)


def _step(run: Run) -> RunStep:
    details = MessageCreation(message_creation=MessageReference(message_id=new_id("msg_")))
    made = {"id": new_id("step_"), "created_at": MADE, "run_id": run.id, "assistant_id": "asst_1"}
    made |= {"thread_id": run.thread_id, "type": "message_creation", "status": "completed"}
    return RunStep(**made, step_details=details)


def _store() -> VectorStore:
    return VectorStore(id=new_id("vs_"), created_at=MADE, last_active_at=MADE)


def _batch() -> Batch:
    made = {"id": new_id("batch_"), "created_at": MADE, "endpoint": "/v1/chat/completions", "input_file_id": "file-1"}
    return Batch(**made, completion_window="24h", status="completed", expires_at=MADE)


def _job(team: str) -> FineTuningJob:
    method = FineTuningMethod(type="supervised", supervised=SupervisedMethod())
    made = {"id": new_id("ftjob-"), "created_at": MADE, "model": "small", "status": "succeeded", "seed": 1}
    made |= {"training_file": "file-1", "organization_id": "org-1", "metadata": {"team": team} if team else None}
    return FineTuningJob(**made, hyperparameters=Hyperparameters(), method=method)


def _project() -> Project:
    return Project(id=new_id("proj_"), created_at=MADE, name=new_id("a project "))


def _member(project_id: str) -> tuple[User, Membership]:
    id = new_id("user-")
    user = User(id=id, created_at=MADE, name="Ada", email=f"{id}@example.org", role="reader")
    return user, Membership(id=id, created_at=MADE, project_id=project_id, role="member")


def _invite() -> Invite:
    id = new_id("invite-")
    made = {"id": id, "created_at": MADE, "invited_at": MADE, "expires_at": MADE, "email": f"{id}@example.org"}
    return Invite(**made, role="reader")
