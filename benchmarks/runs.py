"""What a run costs beyond its model: from createRun to completed, streamed and polled, beside the upstream alone.

Every run has a thread and a message of its own, made before its time begins, and an upstream that answers at once.
The time the same client needs for the same completion straight from the upstream is taken off.

Beside that, how many runs a second there are, and what one costs the server's processor: there thread, message and run
are made by one request (createThreadAndRun), whose stream is read to its end.
"""

import asyncio
import json
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.load import Result
from benchmarks.measure import (
    API_KEY,
    HEADERS,
    Program,
    Row,
    everloom,
    folder,
    machine,
    median,
    note,
    options,
    put,
    table,
    upstream,
)

WORDS = 20
"""Of the model's answer, each a chunk."""

CLIENTS = (1, 8)
POLL_SECONDS = 0.005
BUDGET_MS = {"embedded SQLite": 35.0, "PostgreSQL": 60.0}
"""The budget of what is added to a run, on a machine that does nothing else."""

CPU_MS = {"embedded SQLite": 4.0}
"""That of the server's CPU for a run."""

Json = dict[str, Any]
Ask = Callable[[], Awaitable[float]]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=40, help="of each client in each repetition")
    chosen = parser.parse_args()
    print(f"{table(measure(chosen.repetitions, chosen.runs, chosen.seconds))}\n\n{machine()}")


def measure(repetitions: int, runs: int, seconds: float = 2.0) -> list[Row]:
    """The table's rows."""
    rows = []
    for database, budget in BUDGET_MS.items():
        note(f"runs on {database}")
        with folder() as home, url_of(database) as url, upstream(words=WORDS) as up:
            if url is None:
                rows.append(Row(f"run overhead, {database}", "skipped: no PostgreSQL here"))
                continue
            settings: Json = {"upstream": up.url} | ({"database": url} if url else {})
            with everloom(home, **settings) as server:
                times = asyncio.run(_times(server, up, repetitions, runs))
                loads = _loads(server, repetitions, seconds)
            commit = f"; a commit to this disk {_commit(home):.1f} ms" if not url else ""
        rows += [*_rows(database, budget, times, commit), *_load_rows(database, loads)]
    return rows


@contextmanager
def url_of(database: str) -> Iterator[str | None]:
    """The database's URL, empty for the embedded one; None where there is none to be had."""
    if database != "PostgreSQL":
        yield ""
        return
    import pytest

    from tests.postgres import fresh_database

    try:
        yield fresh_database()
    except pytest.skip.Exception:
        yield None


async def _times(server: Program, up: Program, repetitions: int, runs: int) -> dict[tuple[str, int], list[float]]:
    """p50 in seconds, one a repetition, by way and number of clients."""
    times: dict[tuple[str, int], list[float]] = {}
    headers = {"authorization": f"Bearer {API_KEY}", "openai-beta": "assistants=v2"}
    async with aiohttp.ClientSession(headers=headers) as http:
        client = Client(http, server.url, up.url)
        await client.prepare()
        ways: dict[str, Ask] = {"upstream": client.directly, "stream": client.streamed, "poll": client.polled}
        for ask in ways.values():
            await ask()
        for _ in range(repetitions):
            for clients in CLIENTS:
                for way, ask in ways.items():
                    times.setdefault((way, clients), []).append(await _p50(ask, clients, max(5, runs // clients)))
    return times


async def _p50(ask: Ask, clients: int, each: int) -> float:
    async def client() -> list[float]:
        return [await ask() for _ in range(each)]

    return statistics.median(
        [time for times in await asyncio.gather(*[client() for _ in range(clients)]) for time in times]
    )


class Client:
    """Asks for the same completion in three ways; each returns the seconds that it took."""

    def __init__(self, http: aiohttp.ClientSession, server: str, up: str) -> None:
        self._http = http
        self._server = server
        self._up = up
        self.assistant = ""
        """The one of all runs."""

    async def prepare(self) -> None:
        """Make the assistant of all runs."""
        self.assistant = (await self._post("/assistants", {"model": "gpt-4o", "instructions": "Be brief."}))["id"]

    async def directly(self) -> float:
        """Straight from the upstream, streamed."""
        body = {"model": "gpt-4o", "stream": True, "messages": _MESSAGES}
        started = time.perf_counter()
        await self._stream(self._up + "/chat/completions", body)
        return time.perf_counter() - started

    async def streamed(self) -> float:
        """A run whose events are read to their end."""
        path = await self._thread()
        started = time.perf_counter()
        await self._stream(self._server + path, {"assistant_id": self.assistant, "stream": True})
        return time.perf_counter() - started

    async def polled(self) -> float:
        """A run that is asked for until it is completed."""
        path = await self._thread()
        started = time.perf_counter()
        run = await self._post(path, {"assistant_id": self.assistant})
        while run["status"] != "completed":
            assert run["status"] in ("queued", "in_progress"), run
            await asyncio.sleep(POLL_SECONDS)
            async with self._http.get(f"{self._server}{path}/{run['id']}") as answer:
                run = await answer.json()
        return time.perf_counter() - started

    async def _thread(self) -> str:
        thread = await self._post("/threads", {"messages": _MESSAGES[1:]})
        return f"/threads/{thread['id']}/runs"

    async def _post(self, path: str, body: Json) -> Json:
        async with self._http.post(self._server + path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            found: Json = await answer.json()
            return found

    async def _stream(self, url: str, body: Json) -> None:
        async with self._http.post(url, json=body) as answer:
            text = await answer.read()
            assert text.endswith(b"data: [DONE]\n\n"), text[-300:]
            assert b"thread.run.failed" not in text


def _loads(server: Program, repetitions: int, seconds: float) -> dict[int, list[Result]]:
    """What came of as many streamed runs as there can be, one a repetition, by number of clients."""
    assistant = asyncio.run(an_assistant(server))
    loads: dict[int, list[Result]] = {}
    for _ in range(repetitions):
        for clients in CLIENTS:
            loads.setdefault(clients, []).append(streamed_runs(server, assistant, clients, seconds))
    return loads


async def an_assistant(server: Program) -> str:
    """A new one, by its id."""
    headers = {"authorization": f"Bearer {API_KEY}", "openai-beta": "assistants=v2"}
    async with aiohttp.ClientSession(headers=headers) as http:
        client = Client(http, server.url, "")
        await client.prepare()
        return client.assistant


def streamed_runs(server: Program, assistant: str, clients: int, seconds: float) -> Result:
    """Runs on threads of their own, one behind the other by each of the clients; ``cpu`` is that of each process of the
    server, its own first.
    """
    body = {"assistant_id": assistant, "stream": True, "thread": {"messages": _MESSAGES[1:]}}
    asked = {"headers": HEADERS, "body": json.dumps(body), "pids": server.pids()}
    return put(server.url, ["POST /v1/threads/runs"], connections=clients, seconds=seconds, warm_up=1.0, **asked)


_MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of France?"},
]


def _commit(home: Path) -> float:
    """Milliseconds of one durable commit, which every write that a run waits for needs at least."""
    with sqlite3.connect(home / "commit.db", isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE t (x)")
        times = []
        for number in range(50):
            started = time.perf_counter()
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            times.append(time.perf_counter() - started)
    connection.close()
    return statistics.median(times) * 1e3


def _rows(database: str, budget: float, times: dict[tuple[str, int], list[float]], commit: str) -> Iterator[Row]:
    for clients in CLIENTS:
        direct = median(times["upstream", clients]) * 1e3
        for way in ("stream", "poll"):
            pairs = zip(times[way, clients], times["upstream", clients], strict=True)
            overhead = median(whole - alone for whole, alone in pairs) * 1e3
            yield Row(
                f"run overhead at p50, {database}, {clients} client{'s' * (clients > 1)}, {way}",
                f"{overhead:.1f} ms",
                f"the upstream alone {direct:.1f} ms{commit}",
                f"at most {budget:g} ms",
                overhead <= budget,
            )


def _load_rows(database: str, loads: dict[int, list[Result]]) -> Iterator[Row]:
    for clients, results in loads.items():
        cpu = [result.cpu[0] / result.requests * 1e3 for result in results]
        rates = [result.rate for result in results]
        most = CPU_MS.get(database)
        yield Row(
            f"streamed runs on new threads, {database}, {clients} client{'s' * (clients > 1)}",
            f"{median(rates):.0f} runs/s, {median(cpu):.2f} ms of CPU each",
            f"of {len(cpu)}: {min(rates):.0f} to {max(rates):.0f} runs/s, {min(cpu):.2f} to {max(cpu):.2f} ms",
            f"at most {most:g} ms" if most else "",
            median(cpu) <= most if most else None,
        )


if __name__ == "__main__":
    main()
