"""Whose a request to a model is: a batch's line that is read below HTTP, and jobs that go on for whoever began them."""

import asyncio
from pathlib import Path

import msgspec

from everloom.api.http.auth import Auth
from everloom.context import Context
from everloom.context.bound_models import ModelGate
from everloom.context.caller import Caller
from everloom.context.known_keys import KnownKeys
from everloom.objects.assistants import Assistant
from everloom.objects.messages import Message, Text, TextContent
from everloom.objects.runs import NewRun, Run, RunLease
from everloom.objects.threads import Thread
from everloom.objects.vector_stores import IndexTask
from everloom.requests import chat as chat_requests
from everloom.requests import embeddings as embedding_requests
from everloom.store.base import Add
from everloom.store.sqlite import SqliteDatabase
from everloom.work.inference import chat, embeddings
from everloom.work.organization.establishing import DEFAULT_PROJECT, FIRST_OWNER, first_start
from everloom.work.runs import verbs
from everloom.work.runs.execution import execute
from tests.asking import CALLER, Ledger
from tests.scripted import ScriptedUpstream
from tests.work.test_ingest import a_store, on_a_server, work


def counted(ctx: Context) -> tuple[Context, Ledger]:
    """``CALLER``'s view of the same server, and what it is found to have used."""
    ledger = Ledger()
    ports = msgspec.structs.replace(ctx.ports, gate=ModelGate(meter=ledger))
    return Context.for_caller(ports, CALLER), ledger


LINES = [
    ("/v1/chat/completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}),
    ("/v1/embeddings", {"model": "scripted", "input": "Hello!"}),
]


@on_a_server
async def test_lines_of_a_batch_are_read_and_answered_below_http(ctx: Context, upstream: ScriptedUpstream) -> None:
    ctx, ledger = counted(ctx)
    for number, (url, body) in enumerate(LINES):
        line = msgspec.json.encode({"custom_id": str(number), "method": "POST", "url": url, "body": body})
        raw = bytes(msgspec.json.decode(line, type=dict[str, msgspec.Raw])["body"])
        if url.endswith("/embeddings"):
            whole = await embeddings.embeddings(ctx, embedding_requests.read(raw))
        else:
            answer = await chat.ask(ctx, chat_requests.read(raw), raw)
            whole = await answer.whole()
            await answer.close()
        assert msgspec.json.decode(whole)["object"] in ("chat.completion", "list")
    assert [(record.capability, record.caller) for record in ledger.records] == [("chat", CALLER), ("embed", CALLER)]


@on_a_server
async def test_reading_a_file_is_counted_to_who_put_it_there(ctx: Context, upstream: ScriptedUpstream) -> None:
    ctx, ledger = counted(ctx)
    await a_store(ctx, "apples")
    (task,) = await ctx.store.all(IndexTask)
    assert (task.key_id, task.user) == (CALLER.key_id, CALLER.user)
    await work(Context.of(ctx.ports, ctx.project))
    assert [(record.capability, record.caller) for record in ledger.records] == [("embed", CALLER)]


@on_a_server
async def test_a_run_is_counted_to_who_began_it(ctx: Context, upstream: ScriptedUpstream) -> None:
    ctx, ledger = counted(ctx)
    content = [TextContent(text=Text(value="Hello!"))]
    await ctx.store.write(
        Add(Assistant(id="asst_1", created_at=1, model="gpt-4o")),
        Add(Thread(id="thread_1", created_at=1)),
        Add(Message(id="msg_1", created_at=1, thread_id="thread_1", role="user", content=content)),
    )
    run = await verbs.begin(ctx, "thread_1", NewRun(assistant_id="asst_1"))
    assert b"a key" not in msgspec.json.encode(await ctx.store.get(Run, run.id))
    lease = await ctx.store.get(RunLease, run.id)
    assert (lease.key_id, lease.user) == (CALLER.key_id, CALLER.user)
    await execute(ctx.ports, ctx.project, run.id)
    done = await ctx.store.get(Run, run.id)
    assert done.status == "completed"
    (record,) = ledger.records
    assert (record.caller, record.capability, record.outcome) == (CALLER, "chat", "completed")
    assert record.usage == done.usage


def test_leases_and_tasks_of_earlier_servers_are_nobodys() -> None:
    lease = msgspec.json.decode(b'{"id":"run_1","created_at":1,"holder":"h"}', type=RunLease)
    assert (lease.key_id, lease.user) == ("", "")
    body = b'{"id":"task_1","created_at":1,"job":"j","vector_store_id":"vs_1","file_id":"file-1","verb":"put"}'
    assert msgspec.json.decode(body, type=IndexTask).key_id == ""


def test_the_key_behind_a_request_names_its_caller(tmp_path: Path) -> None:
    async def main() -> Caller:
        database = SqliteDatabase(tmp_path / "everloom.db", synchronous="NORMAL")
        await database.open()
        try:
            await first_start(database, api_key="sk-test", admin_key="sk-admin")
            auth = Auth(database, KnownKeys())
            return await auth.caller({b"authorization": b"Bearer sk-test"}, "project", "model.request")
        finally:
            await database.close()

    assert asyncio.run(main()) == Caller(
        project=DEFAULT_PROJECT, key_id="key_everloom_api_key", user=FIRST_OWNER, email="owner@localhost"
    )
