"""Streamed chat completions of the default local model, through Everloom and from the bare engine, side by side.

The bare engine is the same child process that Everloom starts, asked over its own HTTP, with the same slots, threads,
context and sampling. At more clients than slots both queue. Tokens are counted by the engine (``usage``).
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from platformdirs import user_cache_dir

from benchmarks.load import cpu_seconds, quantile
from benchmarks.measure import API_KEY, PATH, Program, Row, everloom, folder, machine, median, note, options, table
from everloom.models.files.weights import DEFAULT_MODEL, SMOLLM2, Weights
from everloom.models.subprocesses.framing import framed, read_frame

SHARE = 0.95
"""Of the bare engine's tokens a second: the design's budget."""

SLOTS = 4
CONTEXT = 2048
THREADS = max(1, (os.cpu_count() or 1) // 2)

QUESTION = "Write a long story about a lighthouse keeper, his daughter and a storm. Number {number}."


class Run(NamedTuple):
    """What a group of clients saw: ``first`` the seconds to the first word of each answer."""

    tokens: int
    seconds: float
    first: list[float]
    cpu: tuple[float, float]
    """Seconds of the server before the engine, and of the engine's process."""

    @property
    def rate(self) -> float:
        """Tokens a second, of all clients together."""
        return self.tokens / self.seconds


class Bare:
    """The engine's child process without a server before it."""

    def __init__(self, gguf: Path) -> None:
        self.key = secrets.token_urlsafe(16)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "everloom.models.llama.child"],
            env=os.environ | PATH,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self._process.pid
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        config = {"path": str(gguf), "key": self.key, "slots": SLOTS, "context": CONTEXT, "threads": THREADS}
        self._process.stdin.write(framed(json.dumps({**config, "embeds": False, "adapters": []}).encode()))
        self._process.stdin.flush()
        said = json.loads(read_frame(self._process.stdout) or b"{}")
        if "url" not in said:
            raise SystemExit(f"the engine did not load: {said}")
        self.url = said["url"]

    def __enter__(self) -> "Bare":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    parser.add_argument("--answers", type=int, default=8, help="in each measurement, at least one a client")
    parser.add_argument("--clients", default="1,8,32", help="at once")
    chosen = parser.parse_args()
    rows = measure(chosen.repetitions, chosen.tokens, chosen.answers, list(map(int, chosen.clients.split(","))))
    print(f"{table(rows)}\n\n{machine()}")


def measure(repetitions: int, tokens: int, answers: int, levels: Sequence[int]) -> list[Row]:
    """The table's rows."""
    weights = Weights(Path(user_cache_dir("everloom-tests")) / "models")
    (gguf,) = weights.fetch(SMOLLM2)
    settings: dict[str, Any] = {"weights": weights.folder, "preload": "true"}
    settings |= {"local_slots": SLOTS, "local_context": CONTEXT}
    with folder() as home, Bare(gguf) as bare, everloom(home, local_threads=THREADS, **settings) as server:
        runs = asyncio.run(_compare(bare, server, repetitions, tokens, answers, levels))
    return [row for clients in levels for row in _rows(clients, runs["bare", clients], runs["everloom", clients])]


async def _compare(
    bare: Bare, server: Program, repetitions: int, tokens: int, answers: int, levels: Sequence[int]
) -> dict[tuple[str, int], list[Run]]:
    """Every case so many times, in turns."""
    ours = {"model": DEFAULT_MODEL}
    sides: dict[str, tuple[str, str, dict[str, Any], list[int]]] = {
        "bare": (f"{bare.url}/chat/completions", bare.key, {}, [0, bare.pid]),
        "everloom": (f"{server.url}/chat/completions", API_KEY, ours, server.pids()),
    }
    runs: dict[tuple[str, int], list[Run]] = {(side, clients): [] for clients in levels for side in sides}
    # The engine may close a kept connection just as one writes on it.
    connector, timeout = aiohttp.TCPConnector(limit=0, force_close=True), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        for url, key, more, pids in sides.values():
            await _put(session, url, key, more, pids, 1, tokens, 1)
        for turn in range(repetitions):
            for clients in levels:
                note(f"repetition {turn + 1}, {clients} clients")
                each = max(1, answers // clients)
                # Whoever goes second finds a warmer machine, so they take turns at that too.
                for side in sorted(sides, reverse=bool(turn % 2)):
                    url, key, more, pids = sides[side]
                    runs[side, clients].append(await _put(session, url, key, more, pids, clients, tokens, each))
    return runs


async def _put(
    session: aiohttp.ClientSession,
    url: str,
    key: str,
    more: dict[str, Any],
    pids: Sequence[int],
    clients: int,
    tokens: int,
    each: int,
) -> Run:
    before, started = _cpu(pids), time.perf_counter()

    async def client(number: int) -> list[tuple[int, float]]:
        said = []
        for turn in range(each):
            question = QUESTION.format(number=number * each + turn)
            said.append(await _answer(session, url, key, {**more, **_body(question, tokens)}))
        return said

    answers = [answer for said in await asyncio.gather(*map(client, range(clients))) for answer in said]
    seconds = time.perf_counter() - started
    after = _cpu(pids)
    cpu = (after[0] - before[0], after[1] - before[1])
    return Run(sum(count for count, _ in answers), seconds, sorted(first for _, first in answers), cpu)


def _cpu(pids: Sequence[int]) -> tuple[float, float]:
    """``pids``: 0 or the server, then its children."""
    return cpu_seconds(pids[0]), sum(map(cpu_seconds, pids[1:]))


def _body(question: str, tokens: int) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def _answer(session: aiohttp.ClientSession, url: str, key: str, body: dict[str, Any]) -> tuple[int, float]:
    """One answer's tokens, and the seconds to its first word."""
    asked, first, tokens = time.perf_counter(), 0.0, 0
    async with session.post(url, json=body, headers={"authorization": f"Bearer {key}"}) as response:
        if response.status != 200:
            raise SystemExit(f"{url}: {response.status} {await response.text()}")
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if not first and chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                first = time.perf_counter() - asked
            if chunk.get("usage"):
                tokens = chunk["usage"]["completion_tokens"]
    return tokens, first


def _rows(clients: int, bare: Sequence[Run], ours: Sequence[Run]) -> list[Row]:
    share = median(b.rate / a.rate for a, b in zip(bare, ours, strict=True))
    who = "one client" if clients == 1 else f"{clients} clients"
    firsts = [median(quantile(run.first, 0.5) for run in runs) * 1e3 for runs in (ours, bare)]
    cpus = [[median(run.cpu[at] / run.tokens for run in runs) * 1e3 for at in (0, 1)] for runs in (ours, bare)]
    return [
        Row(
            f"local chat, {who}: tokens a second",
            f"{median(run.rate for run in ours):.1f} ({share:.0%}); CPU of each {cpus[0][1]:.2f} ms, "
            f"and {cpus[0][0]:.2f} ms in the server",
            f"bare engine {median(run.rate for run in bare):.1f}; {cpus[1][1]:.2f} ms",
            f"at least {SHARE:.0%}",
            share >= SHARE,
        ),
        Row(f"local chat, {who}: first word at p50", f"{firsts[0]:.0f} ms", f"bare engine {firsts[1]:.0f} ms"),
    ]


if __name__ == "__main__":
    main()
