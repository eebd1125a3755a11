"""This tree beside another one (a worktree of an older commit), each measured in turns: what a change cost or brought.

``python -m benchmarks.against FOLDER``. Ratios are this tree's figure over the other's, pair by pair; below 1 is less
time, processor time or memory. Only what both trees have is asked: list run steps, a run, a chat passed
through, a start.
"""

import asyncio
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.measure import API_KEY, HEADERS, ROOT, Program, everloom, folder, machine, median, note, options, put
from benchmarks.measure import upstream as an_upstream
from benchmarks.passthrough import ASK, WORDS, chat
from benchmarks.runs import Client, an_assistant, streamed_runs

STEPS = 20_000
RUNS = 60
CROWD = 64
"""Clients at once, where one pause of the server is everybody's: what the slowest hundredth waits for."""

SETTLE_SECONDS = 3.0
"""In which a server loads what it loads beside its first requests."""

SEED = """
import sys
from pathlib import Path
from benchmarks.steps import seed
for run in seed(Path(sys.argv[1]), int(sys.argv[2]))[:10]:
    print(f"/v1/threads/{run.thread_id}/runs/{run.id}/steps")
"""

Figures = dict[str, float]
"""Seconds, or bytes, by what was measured."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("other", type=Path, help="the folder of the other tree")
    chosen = parser.parse_args()
    trees = (chosen.other.resolve(), ROOT)
    pairs: list[tuple[Figures, Figures]] = []
    for number in range(chosen.repetitions):
        note(f"repetition {number + 1}")
        first, second = (_figures(tree, chosen.seconds) for tree in (trees if number % 2 else trees[::-1]))
        pairs.append((first, second) if number % 2 else (second, first))
    print(f"{_table(pairs)}\n\n{machine()}")


def _table(pairs: list[tuple[Figures, Figures]]) -> str:
    lines = ["| what | other | here | here / other |", "|---|---|---|---|"]
    for what in pairs[0][0]:
        before, after = (median(figures[what] for figures in side) for side in zip(*pairs, strict=True))
        ratios = sorted(here[what] / other[what] for other, here in pairs)
        lines.append(
            f"| {what} | {_shown(what, before)} | {_shown(what, after)} | {median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        )
    return "\n".join(lines)


def _shown(what: str, value: float) -> str:
    if "memory" in what:
        return f"{value / 1e6:.0f} MB"
    return f"{value * 1e6:.1f} µs" if value < 1e-3 else f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def _figures(tree: Path, seconds: float) -> Figures:
    """Everything that is measured of one tree."""
    found: Figures = {}
    with ExitStack() as stack:
        home = stack.enter_context(folder())
        paths = _seeded(tree, home / "data")
        up = stack.enter_context(an_upstream(words=20))
        server = stack.enter_context(_server(tree, home / "data", upstream=up.url))
        found["start to ready, a data folder in use"] = server.seconds
        time.sleep(SETTLE_SECONDS)
        ask = functools.partial(put, server.url, headers=HEADERS, seconds=seconds, pids=[server.pid])
        listed = ask([f"GET {path}" for path in paths])
        found["list 20 run steps, CPU"] = listed.cpu[0] / listed.requests
        crowd = ask([f"GET {path}" for path in paths], connections=CROWD)
        found[f"list 20 run steps, CPU, {CROWD} clients"] = crowd.cpu[0] / crowd.requests
        found[f"list 20 run steps, p99 of {CROWD} clients"] = crowd.p99
        found["list 20 run steps, p50 of one client"] = ask([f"GET {paths[0]}"], connections=1).p50
        for clients in (1, 8):
            found |= asyncio.run(_runs(server, up, clients))
            runs = streamed_runs(server, asyncio.run(an_assistant(server)), clients, seconds)
            found[f"streamed runs on new threads, time from one to the next, {clients} clients"] = 1 / runs.rate
            found[f"streamed runs on new threads, CPU each, {clients} clients"] = runs.cpu[0] / runs.requests
        whole = ask(ASK, body=chat(), connections=16)
        found["chat passed through, CPU a request, 16 clients"] = whole.cpu[0] / whole.requests
        crowd = ask(ASK, body=chat(), connections=CROWD)
        found[f"chat passed through, CPU a request, {CROWD} clients"] = crowd.cpu[0] / crowd.requests
        found[f"chat passed through, p99 of {CROWD} clients"] = crowd.p99
        found["chat passed through, p50 of one client"] = ask(ASK, body=chat(), connections=1).p50
        found["memory after that"] = server.memory()
    with folder() as home, an_upstream(words=WORDS) as up, _server(tree, home, upstream=up.url) as server:
        found["start to ready, an empty data folder"] = server.seconds
        time.sleep(SETTLE_SECONDS)
        found["memory when ready, and all is loaded that is loaded beside the first requests"] = server.memory()
        fields: dict[str, Any] = {"headers": HEADERS, "seconds": seconds, "pids": [server.pid], "connections": 8}
        streamed = put(server.url, ASK, body=chat(stream=True), **fields)
        found["streamed chunks, CPU each"] = streamed.cpu[0] / streamed.events
    return found


def _server(tree: Path, data: Path, **settings: Any) -> Program:
    return everloom(data, environment={"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'src'}"}, **settings)


def _seeded(tree: Path, data: Path) -> list[str]:
    """The paths of steps in a database that the tree itself has made."""
    done = subprocess.run(
        [sys.executable, "-c", SEED, str(data), str(STEPS)],
        env=os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'src'}"},
        stdout=subprocess.PIPE,
        cwd=tree,
        text=True,
        check=True,
    )
    return done.stdout.split()


async def _runs(server: Program, up: Program, clients: int) -> Figures:
    """A streamed run's time and the server's CPU for it, the making of its thread included in the latter."""
    headers = {"authorization": f"Bearer {API_KEY}", "openai-beta": "assistants=v2"}
    async with aiohttp.ClientSession(headers=headers) as http:
        client = Client(http, server.url, up.url)
        await client.prepare()
        await client.streamed()
        process, each = psutil.Process(server.pid), RUNS // clients
        before = _cpu(process)
        times = await asyncio.gather(*[_in_turn(client.streamed, each) for _ in range(clients)])
        spent = _cpu(process) - before
    return {
        f"run, p50 of {clients} clients": median([one for many in times for one in many]),
        f"run, CPU each, {clients} clients": spent / (each * clients),
    }


async def _in_turn(ask: Callable[[], Any], times: int) -> list[float]:
    return [await ask() for _ in range(times)]


def _cpu(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return spent.user + spent.system


if __name__ == "__main__":
    main()
