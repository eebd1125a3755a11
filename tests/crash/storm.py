"""Two servers and two workers on PostgreSQL in a storm: killed, stopped, held still, their database and upstream away.

``python -m tests.crash.storm --seconds 300 --seed 1``. Programs go on using them meanwhile as programs do: they ask
again what was not answered. When it is calm again all that was acknowledged must be there, every run must have ended
as it should, and nothing may have needed the last resort. Prints what was done, what was wrong and what was stuck.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.crash.storm_programs import PROGRAMS, Ledger, Program
from tests.postgres import Cluster
from tests.replies import Breaks, Calls, Fails, Json, Reply, Says, Slow, text_of
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom, last_resorts

PEOPLE = 6
CALM_SECONDS = 60.0
"""How long what is in hand may take once all is well again; 20 on a machine that does nothing else."""


LONGEST_STORM_SECONDS = 120.0
"""How much longer it may take on a slow machine until there was enough of it."""


class Upstream:
    """Says back what it was told, and asks for the tool where there is one; at times it does not."""

    def __init__(self, scripted: ScriptedUpstream) -> None:
        self.trouble: Reply | None = None
        scripted.rule(self._answer)
        scripted.embedding_delay = 0.02

    def _answer(self, body: Json) -> Reply:
        if self.trouble is not None:
            return self.trouble
        last = body["messages"][-1]
        if last["role"] == "tool":
            return Slow(0.02, Says(f"The tool said: {text_of(last)}"))
        said = [text_of(message) for message in body["messages"] if message["role"] == "user"][-1]
        if "tools" in body and said.startswith("ask "):
            return Calls(("lookup", {"word": said.split()[1]}))
        return Slow(0.02, Says(f"You said: {said}"))


class Fleet:
    """The servers and workers, each begun again when it ends, as a supervisor does."""

    def __init__(self, folder: Path, cluster: Cluster, upstream: ScriptedUpstream) -> None:
        settings = {"upstream": upstream.url, "embedding_model": "scripted", "database": cluster.url}
        self.servers = [Everloom(folder, arguments=("--no-worker",), **settings) for _ in range(2)]
        self.workers = [Everloom(folder, command="worker", **settings) for _ in range(2)]

    @property
    def all(self) -> list[Everloom]:
        return [*self.servers, *self.workers]

    def start(self, each: Everloom) -> None:
        """Start one until it stands: its database may be away."""
        while True:
            try:
                each.start()
            except AssertionError:
                time.sleep(0.3)
            else:
                return

    def stop(self) -> None:
        for each in self.all:
            each.kill()


class Storm:
    """What goes wrong, in two threads: with the processes, and with what they stand on. Says what was done."""

    def __init__(self, seed: int, fleet: Fleet, cluster: Cluster, upstream: Upstream) -> None:
        self.done: Counter[str] = Counter()
        self._fleet = fleet
        self._cluster = cluster
        self._upstream = upstream
        self._calm = threading.Event()
        on_processes: list[Callable[[random.Random], None]] = [self._kill, self._kill, self._ask_to_stop, self._hold]
        on_ground = [self._restart, self._crash, self._cut, self._refuse, self._break_off]
        self._threads = [
            threading.Thread(target=self._rage, args=(random.Random(f"{seed} {number}"), acts), daemon=True)
            for number, acts in enumerate((on_processes, on_ground))
        ]

    def __enter__(self) -> "Storm":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._calm.set()
        for thread in self._threads:
            thread.join()

    def _rage(self, chance: random.Random, acts: list[Callable[[random.Random], None]]) -> None:
        while not self._calm.wait(chance.uniform(1, 5)):
            act = chance.choice(acts)
            act(chance)
            self.done[act.__name__.strip("_").replace("_", " ")] += 1

    def _kill(self, chance: random.Random) -> None:
        victim = chance.choice(self._fleet.all)
        victim.kill()
        self._calm.wait(chance.uniform(0, 2))
        self._fleet.start(victim)

    def _ask_to_stop(self, chance: random.Random) -> None:
        victim = chance.choice(self._fleet.all)
        os.kill(victim.pid, signal.SIGTERM)
        victim.wait(60)
        self._fleet.start(victim)

    def _hold(self, chance: random.Random) -> None:
        victim = chance.choice(self._fleet.all)
        os.kill(victim.pid, signal.SIGSTOP)
        self._calm.wait(chance.uniform(2, 12))
        os.kill(victim.pid, signal.SIGCONT)

    def _restart(self, chance: random.Random) -> None:
        self._away(chance, "fast", 6)

    def _crash(self, chance: random.Random) -> None:
        self._away(chance, "immediate", 3)

    def _away(self, chance: random.Random, mode: str, longest: float) -> None:
        self._cluster.stop(mode)
        self._calm.wait(chance.uniform(0.5, longest))
        self._cluster.start()

    def _cut(self, chance: random.Random) -> None:
        with psycopg.connect(self._cluster.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )

    def _refuse(self, chance: random.Random) -> None:
        self._in_trouble(chance, Fails(503, retry_after=0.2))

    def _break_off(self, chance: random.Random) -> None:
        self._in_trouble(chance, Breaks())

    def _in_trouble(self, chance: random.Random, trouble: Reply) -> None:
        self._upstream.trouble = trouble
        self._calm.wait(chance.uniform(0.5, 3))
        self._upstream.trouble = None


def weather(seconds: float, seed: int, folder: Path, least: int = 0) -> tuple[Ledger, Counter[str], list[str]]:
    """A storm of so many seconds, or longer, until so much has gone wrong at the ``least`` and as much been asked; and
    the calm behind it: what was acknowledged, what was done, what was found wrong.
    """
    with contextlib.ExitStack() as stack:
        cluster = Cluster()
        stack.callback(cluster.remove)
        scripted = stack.enter_context(ScriptedUpstream())
        fleet = Fleet(folder, cluster, scripted)
        for each in fleet.all:
            each.start()
        stack.callback(fleet.stop)
        ledger = Ledger()
        with _people(fleet, seed, ledger), Storm(seed, fleet, cluster, Upstream(scripted)) as storm:
            time.sleep(seconds)
            until = time.monotonic() + LONGEST_STORM_SECONDS
            while min(sum(storm.done.values()), len(ledger.checks)) < least and time.monotonic() < until:
                time.sleep(0.2)
        wrong = [*ledger.wrong, *_left(fleet, ledger)]
        resorts = sum(map(last_resorts, fleet.servers))
        resorts += sum("last resort" in line for each in fleet.workers for line in each.output)
        return ledger, storm.done, [*wrong, *([f"the last resort was needed {resorts:g} times"] if resorts else [])]


@contextlib.contextmanager
def _people(fleet: Fleet, seed: int, ledger: Ledger) -> Iterator[None]:
    """People who use programs one after another, until the block ends; each ends the one in hand."""
    over = threading.Event()

    def live(number: int) -> None:
        chance = random.Random(f"{seed} person {number}")
        while not over.is_set():
            program = Program(lambda: chance.choice(fleet.servers).url, chance, ledger)
            name, use = chance.choice(PROGRAMS)
            program.use(name, use)

    threads = [threading.Thread(target=live, args=(number,), daemon=True) for number in range(PEOPLE)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    deadline = time.monotonic() + CALM_SECONDS
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    ledger.wrong += [f"a program still waits {CALM_SECONDS:g} s after the storm" for each in threads if each.is_alive()]


def _left(fleet: Fleet, ledger: Ledger) -> list[str]:
    """What is not as it was acknowledged to be, now that all is calm."""
    with contextlib.closing(Program(lambda: fleet.servers[0].url, random.Random(0), ledger)) as program:
        return [fault for check in list(ledger.checks) if (fault := check(program))]


def main() -> None:
    """Print what became of a storm; exit status 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.storm")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=1)
    chosen: Any = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="everloom-storm-") as folder:
        ledger, done, wrong = weather(chosen.seconds, chosen.seed, Path(folder))
    print(f"seed {chosen.seed}, {chosen.seconds:g} s")
    print("what happened:", ", ".join(f"{name} {count}" for name, count in sorted(done.items())))
    print("programs that came to their end:", ", ".join(f"{name} {n}" for name, n in sorted(ledger.ended.items())))
    print(f"asked again after no answer: {ledger.unanswered}; checked at the end: {len(ledger.checks)}")
    print(f"wrong: {len(wrong)}", *wrong, sep="\n  ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
