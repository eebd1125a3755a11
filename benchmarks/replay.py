"""What replays of a run's long log make another client's requests wait for, on embedded SQLite.

The log is made long in the file itself; it is read by processes of their own, so that the client waits for the server
alone.
"""

import asyncio
import sqlite3
import statistics
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.measure import API_KEY, Program, Row, everloom, folder, machine, median, note, options, table, upstream

HEADERS = {"authorization": f"Bearer {API_KEY}", "openai-beta": "assistants=v2"}
REPLAYS = 4
"""At a time."""

BUDGET_MS = 8.0
"""The p50 of a small request beside them."""

Json = dict[str, Any]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="of the log")
    chosen = parser.parse_args()
    print(f"{table(measure(chosen.repetitions, chosen.events))}\n\n{machine()}")


def measure(repetitions: int, events: int) -> list[Row]:
    """The table's rows."""
    note(f"replays of {events} events")
    with folder() as home, upstream(words=20) as up, everloom(home, upstream=up.url) as server:
        path = asyncio.run(_ended_run(server))
        _lengthen(home / "everloom.db", path.rpartition("/")[2], events)
        found = [asyncio.run(_once(server.url + path)) for _ in range(repetitions)]
    alone, beside, worst, seconds = (median(values) for values in zip(*found, strict=True))
    return [
        Row(
            f"a small request at p50 beside {REPLAYS} replays of {events} events",
            f"{beside * 1e3:.1f} ms",
            f"at worst {worst * 1e3:.1f} ms; alone {alone * 1e3:.1f} ms; the replays {seconds:.2f} s",
            f"at most {BUDGET_MS:g} ms",
            beside * 1e3 <= BUDGET_MS,
        )
    ]


async def _ended_run(server: Program) -> str:
    """The path of a run that has ended."""
    async with aiohttp.ClientSession(headers=HEADERS) as http:

        async def post(path: str, body: Json) -> Json:
            async with http.post(server.url + path, json=body) as answer:
                assert answer.status == 200, await answer.text()
                found: Json = await answer.json()
                return found

        assistant = await post("/assistants", {"model": "gpt-4o"})
        thread = await post("/threads", {"messages": [{"role": "user", "content": "Say something."}]})
        run = await post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
        path = f"/threads/{thread['id']}/runs/{run['id']}"
        async with http.get(f"{server.url}{path}/events") as events:
            assert b"thread.run.completed" in await events.read()
        return path


def _lengthen(file: Path, run_id: str, events: int) -> None:
    """Put so many events more into a log, all of them deltas but the last."""
    with closing(sqlite3.connect(file, timeout=30)) as database, database:
        row = "SELECT project, log, name, data FROM events WHERE log = ? AND name = 'thread.message.delta' LIMIT 1"
        project, log, name, data = database.execute(row, (run_id,)).fetchone()
        rows = [(project, log, 1000 + seq, name, data) for seq in range(1, events)]
        rows.append((project, log, 1000 + events, "thread.run.completed", b"{}"))
        database.executemany("INSERT INTO events (project, log, seq, name, data) VALUES (?, ?, ?, ?, ?)", rows)


async def _once(url: str) -> tuple[float, float, float, float]:
    """Seconds: a request at p50 alone, at p50 and at worst beside the replays, and the replays themselves."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(headers=HEADERS) as http:
        alone = [await _fetch(http, url) for _ in range(200)]
        with ProcessPoolExecutor(REPLAYS) as elsewhere:
            replays = [loop.run_in_executor(elsewhere, _replay, f"{url}/events") for _ in range(REPLAYS)]
            beside = [await _fetch(http, url)]
            while not all(replay.done() for replay in replays):
                beside.append(await _fetch(http, url))
            seconds = await asyncio.gather(*replays)
    return statistics.median(alone), statistics.median(beside), max(beside), max(seconds)


async def _fetch(http: aiohttp.ClientSession, url: str) -> float:
    started = time.perf_counter()
    async with http.get(url) as answer:
        await answer.read()
    return time.perf_counter() - started


def _replay(url: str) -> float:
    """The seconds that a whole log takes to be read."""
    started = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS)) as answer:
        while answer.read(2**20):
            pass
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
