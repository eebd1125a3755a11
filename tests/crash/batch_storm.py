"""A batch whose servers and workers are killed again and again, before an upstream that fails in every way there is.

``python -m tests.crash.batch_storm --lines 5000 --kills 100 --seed 1 [--postgres]``. What the upstream says follows
from the seed and the request's text, so that each line has one answer, whatever came before it. Afterwards all is held
against a run that nothing disturbed, and against what the upstream counted. Prints a table, and what was wrong.
"""

import argparse
import contextlib
import json
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
from msgspec import Struct, field

from tests.batches import ENDED, a_line, jsonl
from tests.postgres import Cluster
from tests.replies import Breaks, Fails, Garbage, Hangs, Json, Reply, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, API_KEY, Everloom

PROMPT = 20
"""Tokens that the upstream says each question has."""

SILENCE_SECONDS = 1.5
"""After which the server takes an upstream for lost that says nothing."""

PACE = 0.1
"""Seconds that a good answer takes."""

CONCURRENCY = 32
"""Lines that one process asks at a time."""

UNKEPT = 2 * CONCURRENCY
"""Lines whose answers a kill may lose: those that are asked, and as many that were answered and wait to be written."""

BURIED_SECONDS = 30.0
"""In which the use of the dead is found."""

TROUBLES = ("429", "429 later", "500", "503", "hangs", "cut before", "cut within", "garbage")


def reply_of(trouble: str) -> Reply:
    """What an upstream in this trouble does."""
    match trouble:
        case "429":
            return Fails(429)
        case "429 later":
            return Fails(429, retry_after=0.3)
        case "500" | "503":
            return Fails(int(trouble))
        case "hangs":
            return Hangs()
        case "cut before":
            return Breaks()
        case "cut within":
            return Breaks(1)
        case _:
            return Garbage()


class Upstream:
    """Fails by the seed and the text: each text some times, a few for ever; then it answers, and always the same."""

    def __init__(self, scripted: ScriptedUpstream, seed: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        """Good answers by text."""
        self.refused: Counter[str] = Counter()
        self.asked: list[str] = []
        self.is_calm = False
        self._seed = seed
        self._tries: Counter[str] = Counter()
        scripted.rule(self._answer)

    def _answer(self, body: Json) -> Reply:
        text = body["messages"][0]["content"]
        self.asked.append(text)
        if is_refused(self._seed, text):
            self.outcomes["400"] += 1
            self.refused[text] += 1
            return Fails(400)
        troubles = [] if self.is_calm else troubles_of(self._seed, text)
        tries, self._tries[text] = self._tries[text], self._tries[text] + 1
        if tries < len(troubles):
            self.outcomes[troubles[tries]] += 1
            return reply_of(troubles[tries])
        self.outcomes["answered"] += 1
        self.given[text] += 1
        return Slow(0.02 if self.is_calm else PACE, Says(f"You said {text}", prompt_tokens=PROMPT))


def is_refused(seed: int, text: str) -> bool:
    """Whether a text is answered 400 for ever."""
    return random.Random(f"{seed} refused {text}").random() < 0.02


def troubles_of(seed: int, text: str) -> list[str]:
    """What happens to a text, one request after another, before it is answered."""
    chance = random.Random(f"{seed} {text}")
    return [chance.choice(TROUBLES) for _ in range(max(0, chance.randrange(-16, 4)))]


class Told(Struct):
    """What came of a storm."""

    batch: Json
    output: dict[str, Json]
    errors: dict[str, Json]
    outcomes: Counter[str] = field(default_factory=Counter)
    twice: int = 0
    kills: int = 0
    cuts: int = 0
    seconds: float = 0.0
    usage: list[Json] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Fleet:
    """The processes on one database: a server that works, or on PostgreSQL one that only answers, and two workers."""

    def __init__(self, folder: Path, upstream: str, database: str | None) -> None:
        settings: dict[str, Any] = {
            "upstream": upstream,
            "upstream_timeout": SILENCE_SECONDS,
            "batch_concurrency": CONCURRENCY,
        }
        self.folder, self.database = folder, database
        if database is None:
            self.all = [Everloom(folder, **settings)]
        else:
            settings["database"] = database
            server = Everloom(folder, arguments=("--no-worker",), **settings)
            self.all = [server, *(Everloom(folder, command="worker", **settings) for _ in range(2))]

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """All of them are there as long as the block lasts."""
        try:
            for each in self.all:
                each.start()
            yield
        finally:
            for each in self.all:
                with contextlib.suppress(AssertionError):
                    each.kill()

    def ask(self, method: str, path: str, key: str = API_KEY, **more: Any) -> httpx.Response:
        """An answer of the server, asked again as often as it takes: it may have been killed."""
        while True:
            try:
                headers = {"authorization": f"Bearer {key}"}
                answer = httpx.request(method, self.all[0].url + path, headers=headers, timeout=60, **more)
                if answer.status_code != 503:
                    assert answer.status_code == 200, answer.text
                    return answer
            except httpx.TransportError:
                pass
            time.sleep(0.1)

    def cut(self) -> None:
        """End the connections of all to the database."""
        assert self.database is not None
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

    def kept(self) -> set[int]:
        """The numbers of the lines whose answers stand in the database."""
        asked = "SELECT body FROM batch_segments"
        if self.database is None:
            with contextlib.closing(sqlite3.connect(self.folder / "everloom.db")) as connection:
                rows = connection.execute(asked).fetchall()
        else:
            with psycopg.connect(self.database) as other:
                rows = other.execute(asked.encode()).fetchall()
        return {number for (body,) in rows for number in json.loads(bytes(body)).get("done", [])}


def text_of(number: int) -> str:
    """What the line of a number asks."""
    return f"question number {number}"


def weather(lines: int, kills: int, seed: int, folder: Path, database: str | None = None) -> Told:
    """A batch of so many lines with so many kills, held against what must come of it."""
    content = jsonl(a_line(number, text_of(number)) for number in range(1, lines + 1))
    began = time.monotonic()
    with ScriptedUpstream() as scripted:
        upstream = Upstream(scripted, seed)
        fleet = Fleet(folder, scripted.url, database)
        with fleet.up():
            storm = _Storm(fleet, upstream, lines, kills, seed)
            told = storm.through(_begun(fleet, content))
            told.seconds = time.monotonic() - began
            told.outcomes = upstream.outcomes
            told.twice = sum(1 for count in upstream.given.values() if count > 1)
            told.wrong += _wrong_answers(told, lines, seed, _undisturbed(lines, content, seed))
            told.wrong += _wrong_counts(told, upstream, lines)
            told.wrong += _wrong_usage(fleet, told, upstream)
    return told


def _begun(fleet: Fleet, content: bytes) -> Json:
    file = fleet.ask("POST", "/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"}).json()
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch: Json = fleet.ask("POST", "/batches", json=asked).json()
    return batch


def _finished(fleet: Fleet, batch: Json) -> Told:
    while (found := fleet.ask("GET", f"/batches/{batch['id']}").json())["status"] not in ENDED:
        time.sleep(0.1)
    told = Told(found, {}, {})
    for lines, file_id in ((told.output, found["output_file_id"]), (told.errors, found["error_file_id"])):
        if file_id is not None:
            for line in fleet.ask("GET", f"/files/{file_id}/content").text.splitlines():
                one = json.loads(line)
                if one["custom_id"] in told.output or one["custom_id"] in told.errors:
                    told.wrong.append(f"{one['custom_id']} stands there twice")
                lines[one["custom_id"]] = one
    return told


class _Storm:
    """Kills at moments that are spread over the work on the batch, from its beginning to its end."""

    def __init__(self, fleet: Fleet, upstream: Upstream, lines: int, kills: int, seed: int) -> None:
        self._fleet = fleet
        self._upstream = upstream
        self._chance = random.Random(f"{seed} storm")
        good = sum(not is_refused(seed, text_of(number)) for number in range(1, lines + 1))
        self._moments = sorted([0, good - 1, *(self._chance.randrange(good) for _ in range(kills - 2))])
        self._over = threading.Event()
        self._starting: dict[Everloom, threading.Thread] = {}
        self._killed = self._cuts = 0
        self._wrong: list[str] = []
        self._kept: set[int] = set()
        self._looked_at = 0

    def through(self, batch: Json) -> Told:
        """The batch once it has ended."""
        raging = threading.Thread(target=self._rage, daemon=True)
        raging.start()
        told = _finished(self._fleet, batch)
        self._over.set()
        raging.join()
        for starting in self._starting.values():
            starting.join()
        self._look()
        told.kills, told.cuts = self._killed, self._cuts
        told.wrong += self._wrong
        return told

    def _rage(self) -> None:
        for moment in self._moments:
            while len(self._upstream.given) < moment:
                if self._over.wait(0.005):
                    return
            if self._over.wait(self._chance.uniform(0, 0.2)):
                return
            if self._fleet.database is not None and self._chance.random() < 0.3:
                self._fleet.cut()
                self._cuts += 1
                continue
            self._kill()

    def _kill(self) -> None:
        """Kill one that is up, and have it started again beside what comes next."""
        while not (up := [each for each in self._fleet.all if not self._is_starting(each)]):
            time.sleep(0.05)
        victim = self._chance.choice(up)
        victim.kill()
        self._killed += 1
        time.sleep(0.1)  # What it had sent has arrived by then.
        self._look()
        starting = threading.Thread(target=self._start, args=(victim,), daemon=True)
        self._starting[victim] = starting
        starting.start()

    def _is_starting(self, each: Everloom) -> bool:
        return each in self._starting and self._starting[each].is_alive()

    def _start(self, victim: Everloom) -> None:
        while True:
            try:
                victim.start()
            except AssertionError:  # Its database was cut off meanwhile.
                continue
            return

    def _look(self) -> None:
        """Whether one whose answer stood in the database at the last look has been asked since then."""
        for text in self._upstream.asked[self._looked_at :]:
            if int(text.rpartition(" ")[2]) in self._kept:
                self._wrong.append(f"'{text}' was asked again, though its answer was kept")
        self._kept |= self._fleet.kept()
        self._looked_at = len(self._upstream.asked)


def _undisturbed(lines: int, content: bytes, seed: int) -> Told:
    with ScriptedUpstream() as scripted, tempfile.TemporaryDirectory(prefix="everloom-calm-") as folder:
        upstream = Upstream(scripted, seed)
        upstream.is_calm = True
        fleet = Fleet(Path(folder), scripted.url, None)
        with fleet.up():
            return _finished(fleet, _begun(fleet, content))


def _wrong_answers(told: Told, lines: int, seed: int, calm: Told) -> list[str]:
    wrong = []
    names = {f"line-{number}" for number in range(1, lines + 1)}
    refused = {f"line-{number}" for number in range(1, lines + 1) if is_refused(seed, text_of(number))}
    if told.output.keys() != names - refused:
        wrong.append(f"{len(told.output)} lines in the output file, and not {len(names - refused)}")
    if told.errors.keys() != refused:
        wrong.append(f"{len(told.errors)} lines in the error file, and not {len(refused)}")
    for name in names:
        now, then = _bare(told.output | told.errors, name), _bare(calm.output | calm.errors, name)
        if now != then:
            wrong.append(f"{name} is answered {now}, and undisturbed {then}")
    return wrong


def _bare(lines: dict[str, Json], name: str) -> tuple[int, Json] | None:
    """The answer of a line but for its time."""
    if (line := lines.get(name)) is None:
        return None
    return line["response"]["status_code"], {**line["response"]["body"], "created": 0}


def _wrong_counts(told: Told, upstream: Upstream, lines: int) -> list[str]:
    wrong = []
    counts = {"total": lines, "completed": len(told.output), "failed": len(told.errors)}
    if told.batch["status"] != "completed" or told.batch["request_counts"] != counts:
        wrong.append(f"the batch is {told.batch['status']} with {told.batch['request_counts']}")
    extra = sum(upstream.given.values()) - len(upstream.given)
    if extra > UNKEPT * (told.kills + told.cuts):
        wrong.append(f"{extra} good answers were given twice")
    return wrong


def _wrong_usage(fleet: Fleet, told: Told, upstream: Upstream) -> list[str]:
    """The ledger: at least what the upstream counted, all of it of batches."""
    good = sum(count * (2 + len(text.split())) for text, count in upstream.given.items())
    least = (sum(upstream.given.values()), PROMPT * sum(upstream.given.values()), good)
    deadline = time.monotonic() + BURIED_SECONDS
    while True:
        start = int(time.time()) - 86_400
        path = f"/organization/usage/completions?start_time={start}&bucket_width=1d&group_by=batch"
        buckets = fleet.ask("GET", path, ADMIN_KEY).json()["data"]
        told.usage = [result for bucket in buckets for result in bucket["results"]]
        names = ("num_model_requests", "input_tokens", "output_tokens")
        sums = tuple(sum(result[name] for result in told.usage) for name in names)
        short = [
            f"{sum} {name} are told, and {count} were used"
            for name, sum, count in zip(names, sums, least, strict=True)
            if sum < count
        ]
        if not short or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    live = [result for result in told.usage if not result["batch"]]
    return [*short, *(f"use of a batch is told as of none: {result}" for result in live)]


def main() -> None:
    """Print what became of a storm; exit status 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.batch_storm")
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true")
    chosen: Any = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="everloom-storm-"))
        database = None
        if chosen.postgres:
            cluster = Cluster()
            stack.callback(cluster.remove)
            database = cluster.url
        told = weather(chosen.lines, chosen.kills, chosen.seed, Path(folder), database)
    print(f"seed {chosen.seed}, {'PostgreSQL' if chosen.postgres else 'SQLite'}")
    rows: list[tuple[str, Any]] = [
        ("lines", chosen.lines),
        ("kills", told.kills),
        ("connections cut", told.cuts),
        *((f"upstream: {name}", count) for name, count in sorted(told.outcomes.items())),
        ("lines answered well twice", told.twice),
        ("seconds", round(told.seconds, 1)),
        (
            "usage told",
            [{k: r[k] for k in ("batch", "num_model_requests", "input_tokens", "output_tokens")} for r in told.usage],
        ),
        ("wrong", len(told.wrong)),
    ]
    for name, value in rows:
        print(f"  {name:28} {value}")
    print(*told.wrong[:50], sep="\n  ")
    sys.exit(1 if told.wrong else 0)


if __name__ == "__main__":
    main()
