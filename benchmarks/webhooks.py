"""Webhooks: how many are delivered a second to a receiver on this machine, and what announcing costs with no endpoint.

``python -m benchmarks.webhooks --events 5000``: so many events, announced by writes of their own with 16 writers at a
time, to ``--endpoints`` endpoints, on both databases. A receiver of another process answers 204; then the same again
with an endpoint beside them that answers nothing at all.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from everloom.app import build
from everloom.config import Settings
from everloom.context import Context
from everloom.objects.projects import Project
from everloom.objects.webhooks import NewWebhookEndpoint
from everloom.store.base import Add, Operation
from everloom.work.webhooks.announcing import announced
from everloom.work.webhooks.endpoints import create

WRITERS = 16
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--endpoints", default="1,8", help="numbers of endpoints, in turn")
    parser.add_argument("--databases", default="sqlite,postgresql")
    chosen = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    receiver = multiprocessing.Process(target=receive, args=(theirs,), daemon=True)
    receiver.start()
    port: int = ours.recv()
    for name in chosen.databases.split(","):
        with tempfile.TemporaryDirectory() as folder:
            counts = [int(count) for count in chosen.endpoints.split(",")]
            asyncio.run(_measure(name, Path(folder), port, ours, chosen.events, counts))
    receiver.kill()


def receive(pipe: Connection) -> None:
    """A receiver: what is sent to ``/silent`` is never answered; how much else came is told to whoever asks."""
    from aiohttp import web

    came = 0

    async def take(request: web.Request) -> web.Response:
        nonlocal came
        await request.read()
        if request.path == "/silent":
            await asyncio.sleep(3600)
        came += 1
        return web.Response(status=204)

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/{tail:.*}", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server: Any = site._server
        pipe.send(server.sockets[0].getsockname()[1])
        while True:
            if pipe.poll():
                pipe.recv()
                pipe.send(came)
            await asyncio.sleep(0.005)

    asyncio.run(serve())


async def _measure(name: str, folder: Path, port: int, pipe: Connection, events: int, counts: list[int]) -> None:
    def show(what: str, value: float, unit: str) -> None:
        print(f"{name:12}{what:60}{value:>10,.1f} {unit}", flush=True)

    app = build(Settings(data=folder, database=_database(name, folder), webhooks_allow_private=True))
    await app.start(worker=True)
    try:
        await _unheard(app.ports.database.store("proj_unheard"), show)
        for silent in (False, True):
            for count in counts:
                ctx = await _a_project(app.ports, f"proj_{count}_{silent}", port, count, silent)
                pipe.send(None)
                before: int = pipe.recv()
                began = time.perf_counter()
                await asyncio.gather(*(_announce(ctx, events // WRITERS) for _ in range(WRITERS)))
                written = time.perf_counter() - began
                wanted = events // WRITERS * WRITERS * count
                while (await _came(pipe)) - before < wanted:  # noqa: ASYNC110 - another process counts
                    await asyncio.sleep(0.02)
                taken = time.perf_counter() - began
                beside = ", one silent beside them" if silent else ""
                show(f"announced, {count} endpoints{beside}", wanted / count / written, "events/s")
                show(f"delivered, {count} endpoints{beside}", wanted / taken, "webhooks/s")
    finally:
        await app.stop(0)


async def _came(pipe: Connection) -> int:
    pipe.send(None)
    count: int = await asyncio.to_thread(pipe.recv)
    return count


def _database(name: str, folder: Path) -> str:
    if name == "sqlite":
        return f"sqlite:///{folder / 'everloom.db'}"
    from tests.postgres import fresh_database

    return fresh_database()


async def _a_project(ports: Any, project: str, port: int, count: int, silent: bool) -> Context:
    ctx = Context.of(ports, project)
    urls = [f"http://127.0.0.1:{port}/{number}" for number in range(count)]
    for url in [*urls, *([f"http://127.0.0.1:{port}/silent"] if silent else [])]:
        await create(ctx, NewWebhookEndpoint(url=url, name="n", event_types=["thread.run.completed"]))
    return ctx


async def _announce(ctx: Context, count: int) -> None:
    for number in range(count):
        await ctx.store.write(announced("thread.run.completed", id=f"run_{number}", thread_id="thread_1"))


async def _unheard(store: Any, show: Any) -> None:
    """What a write costs more that announces something in a project without endpoints."""

    async def written(*more: Operation) -> float:
        began = time.perf_counter()
        for _ in range(300):
            await store.write(Add(Project(id=f"proj_{time.time_ns()}", created_at=1, name="a")), *more)
        return (time.perf_counter() - began) / 300 * 1000

    rounds = [(await written(), await written(announced("thread.run.completed", id="run_1"))) for _ in range(ROUNDS)]
    plain, announcing = (statistics.median(times) for times in zip(*rounds, strict=True))
    show("a write", plain, "ms")
    show("a write that announces what nobody hears of", announcing, "ms")


if __name__ == "__main__":
    main()
