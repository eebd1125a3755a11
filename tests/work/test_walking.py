"""Lists that are read while what they list is deleted, with ids that say nothing of their place."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from everloom.context import Context
from everloom.objects.base import Page, PageQuery
from everloom.objects.messages import Message
from everloom.objects.threads import Thread
from everloom.store.base import Add, Remove, Store
from everloom.work.runs.prompt import build
from everloom.work.runs.state import RunState
from everloom.work.walking import pages
from tests.scripted import ScriptedUpstream
from tests.store.things import a_message, a_run
from tests.work.test_ingest import a_server


class EatingStore:
    """A store that deletes the last ``bite`` messages of the first page that it has shown."""

    def __init__(self, inner: Store, bite: int) -> None:
        self._inner = inner
        self._bite = bite

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def find(self, cls: type[Any], page: PageQuery, **where: Any) -> Page[Any]:
        found = await self._inner.find(cls, page, **where)
        if cls is Message and self._bite and found.has_more:
            eaten, self._bite = found.decode()[-self._bite :], 0
            await self._inner.write(Remove(Message, [message.id for message in eaten]))
        return found


class EatingDatabase:
    def __init__(self, inner: Any, bite: int) -> None:
        self._inner = inner
        self._bite = bite

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def store(self, project: str) -> Any:
        return EatingStore(self._inner.store(project), self._bite)


def test_what_is_deleted_while_it_is_read_costs_nothing_else(tmp_path: Path) -> None:
    """Ids that came from elsewhere, in another order than the messages; the end of a page goes before the next one."""

    async def main() -> None:
        with ScriptedUpstream() as upstream:
            async with a_server(tmp_path, upstream) as ctx:
                for bite in (0, 1, 2, 99):
                    thread = Thread(id=f"thread-{bite}", created_at=1)
                    ids = [f"message-{bite}-{number * 7919 % 1000:03}" for number in range(250)]
                    messages = [a_message(thread.id, id, id=id) for id in ids]
                    adding = [Add(message, rank=rank) for rank, message in enumerate(messages)]
                    await ctx.store.write(Add(thread), *adding)
                    eating: Any = EatingDatabase(ctx.ports.database, bite)
                    eaten = Context.of(msgspec.structs.replace(ctx.ports, database=eating), ctx.project)
                    found = await build(eaten, RunState(a_run(thread.id, instructions=None), [], [], []))
                    assert [message["content"] for message in found.body["messages"]] == ids

    asyncio.run(main())


def test_a_walk_ends_where_nothing_of_a_page_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        with ScriptedUpstream() as upstream:
            async with a_server(tmp_path, upstream) as ctx:
                ids = [f"m{number}" for number in range(30)]
                adding = [Add(a_message("t", id, id=id), rank=rank) for rank, id in enumerate(ids)]
                await ctx.store.write(*adding)
                eating: Any = EatingStore(ctx.store, 10)
                query = PageQuery(limit=10, order="asc")
                found = [page.decode() async for page in pages(eating, Message, query, thread_id="t")]
                assert [message.id for page in found for message in page] == ids[:10]

    asyncio.run(main())
