"""Search in vector stores of several sizes: how fast, how much of the truth, in how much memory.

Each size is filled with made-up chunks (clustered vectors, words of a natural frequency) and asked in a process
of its own. Beside it stands the bare limit of the same run: numpy's product of the whole matrix with the query.
``--postgres URL`` measures that server too, with pgvector where it has it; ``--read`` also has a server read
text files with the model that comes with the install.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import HEADERS, PATH, Row, everloom, folder, machine, median, note, options, table
from everloom.vectors.base import Chunk, Vectors
from everloom.vectors.sqlite import SqliteVectors
from everloom.work.vector_stores.chunking import chunk

DIMENSIONS = 384
CLUSTERS = 2000
VOCABULARY = 50_000
WORDS = 120
"""Words of a chunk; a real one of 800 tokens has five times as many."""

FILE = 100
"""Chunks of a file: what is written in one transaction."""

QUERIES = 60
TOP = 10


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--sizes", default="10000,1000000", help="chunks stored")
    parser.add_argument("--postgres", default="", help="a PostgreSQL to measure too; its vectors' tables are emptied")
    parser.add_argument("--read", action="store_true", help="also measure the reading of files (fetches the model)")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(asyncio.run(_measure(chosen.child, int(chosen.sizes)))))
        return
    sizes = [int(size) for size in chosen.sizes.split(",")]
    print(f"{table(measure(sizes, chosen.postgres, read=chosen.read))}\n\n{machine()}")


def measure(sizes: Sequence[int], postgres: str = "", *, read: bool = False) -> list[Row]:
    """The table's rows."""
    rows: list[Row] = []
    for size in sizes:
        with folder() as home:
            rows += _rows(size, "", _child(str(home / "vectors.db"), size))
        if postgres:
            rows += _rows(size, ", PostgreSQL", _child(postgres, size))
    return [*rows, *(_reading() if read else [])]


def _rows(size: int, where: str, found: dict[str, Any]) -> list[Row]:
    exact = f"recall@{TOP} {found['recall']:.3f}"
    bare = f"numpy's bare product {found['bare'] * 1000:.1f} ms"
    return [
        Row(f"nearest of {size:,} chunks{where}", f"p50 {found['nearest'] * 1000:.1f} ms, {exact}", bare),
        Row(f"words in {size:,} chunks{where}", f"p50 {found['matching'] * 1000:.1f} ms"),
        Row(f"the first search of {size:,}{where}", f"{found['first']:.2f} s, {found['memory'] / 1e6:.0f} MB then"),
        Row(f"keeping {size:,} chunks{where}", f"{found['kept']:,.0f} chunks/s"),
    ]


def _child(address: str, size: int) -> dict[str, Any]:
    note(f"{size:,} chunks")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.search", "--child", address, "--sizes", str(size)],
        env=os.environ | PATH,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- one size, in a process of its own -------------------------------------------------------------------------------


class Made:
    """Chunks as a store would have them; the same each time they are made."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._centres = self._units(np.random.default_rng(1), CLUSTERS)
        weights = 1 / np.arange(2, VOCABULARY + 2)
        self._weights = np.cumsum(weights / weights.sum())

    @staticmethod
    def _units(chance: np.random.Generator, count: int) -> Any:
        vectors = chance.standard_normal((count, DIMENSIONS), np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def vectors(self, file: int, count: int = FILE) -> Any:
        """The vectors of a file: each near one of the clusters' centres."""
        chance = np.random.default_rng([2, file])
        near = self._centres[chance.integers(0, CLUSTERS, count)] + 0.7 * self._units(chance, count)
        return near / np.linalg.norm(near, axis=1, keepdims=True)

    def texts(self, file: int, count: int = FILE) -> list[str]:
        """Their words, the n-th of the vocabulary as often as Zipf has it."""
        drawn = np.searchsorted(self._weights, np.random.default_rng([3, file]).random((count, WORDS)))
        return [" ".join(f"w{word}" for word in row) for row in drawn.tolist()]

    def files(self) -> Iterator[tuple[str, list[Chunk]]]:
        for file in range(self.size // FILE):
            pairs = zip(self.texts(file), self.vectors(file), strict=True)
            yield f"file-{file}", [Chunk(place, text, [vector]) for place, (text, vector) in enumerate(pairs)]

    def queries(self) -> list[Any]:
        """Vectors near chunks that are there."""
        chance = np.random.default_rng(4)
        files = [self.vectors(int(file))[0] for file in chance.integers(0, self.size // FILE, QUERIES)]
        asked = np.array(files) + 0.4 * self._units(chance, QUERIES)
        return list(asked / np.linalg.norm(asked, axis=1, keepdims=True))

    def questions(self) -> list[str]:
        """Eight words of a chunk each, as common as they come."""
        chance = random.Random(5)
        texts = [self.texts(chance.randrange(self.size // FILE), 1)[0].split() for _ in range(QUERIES)]
        return [" ".join(chance.sample(text, 8)) for text in texts]


async def _measure(address: str, size: int) -> dict[str, Any]:
    made = Made(size)
    vectors = await _opened(address)
    try:
        started, making = time.perf_counter(), 0.0
        for file, chunks in _timed(made):
            making += file[1]
            await vectors.put("p", "vs", file[0], chunks)
        kept = size / (time.perf_counter() - started - making)
    finally:
        await vectors.close()
    vectors = await _opened(address, empty=False)
    try:
        found = await _asked(vectors, made)
    finally:
        await vectors.close()
    return {"kept": kept, **found, **_truth(made, found.pop("hits"))}


def _timed(made: Made) -> Iterator[tuple[tuple[str, float], list[Chunk]]]:
    """The files, and how long it took to make each up."""
    before = time.perf_counter()
    for file, chunks in made.files():
        yield (file, time.perf_counter() - before), chunks
        before = time.perf_counter()


async def _opened(address: str, *, empty: bool = True) -> Vectors:
    cache = 4 * 1024**3
    vectors: Vectors
    if "://" in address:
        from everloom.vectors.postgres import PostgresVectors

        vectors = PostgresVectors(address, cache_bytes=cache)
    else:
        vectors = SqliteVectors(Path(address), cache_bytes=cache)
    await vectors.open()
    if empty:
        await vectors.remove("p", "vs")
    return vectors


async def _asked(vectors: Vectors, made: Made) -> dict[str, Any]:
    queries, questions = made.queries(), made.questions()
    started = time.perf_counter()
    await vectors.nearest("p", "vs", queries[0], TOP)
    first = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    nearest, matching, hits = [], [], []
    for query, question in zip(queries, questions, strict=True):
        started = time.perf_counter()
        found = await vectors.nearest("p", "vs", query, TOP)
        nearest.append(time.perf_counter() - started)
        hits.append([int(one.file_id.removeprefix("file-")) * FILE + one.position for one in found])
        started = time.perf_counter()
        await vectors.matching("p", "vs", question, TOP)
        matching.append(time.perf_counter() - started)
    return {
        "first": first,
        "memory": memory,
        "nearest": median(nearest),
        "matching": median(matching),
        "hits": hits,
    }


def _truth(made: Made, hits: list[list[int]]) -> dict[str, float]:
    """How many of the nearest were found, and how long numpy alone takes for all of them."""
    matrix = np.empty((made.size, DIMENSIONS), np.float32)
    for file in range(made.size // FILE):
        matrix[file * FILE : (file + 1) * FILE] = made.vectors(file)
    times, right = [], 0
    for query, found in zip(made.queries(), hits, strict=True):
        started = time.perf_counter()
        scores = matrix @ query
        times.append(time.perf_counter() - started)
        right += len(set(found) & set(np.argsort(-scores)[:TOP].tolist()))
    return {"recall": right / (TOP * len(hits)), "bare": median(times)}


# --- reading ---------------------------------------------------------------------------------------------------------

READ_FILES = 12
READ_WORDS = 4000
PROSE = (
    "the river ran below the old town and every spring it rose until people near the bridge carried their chairs "
    "upstairs while merchants counted what was left of their grain and wrote long letters about the price of bread"
)


def _reading() -> list[Row]:
    """Text files put into a store of a server, until they have been read."""
    note("reading files")
    chance = random.Random(6)
    texts = [" ".join(chance.choices(PROSE.split(), k=READ_WORDS)) for _ in range(READ_FILES)]
    chunks = sum(len(chunk(text)) for text in texts)
    with folder() as home, everloom(home, fetch_weights="true") as server:
        _filled(server.url, [_upload(server.url, "first.txt", "to load the model")])
        ids = [_upload(server.url, f"{place}.txt", text) for place, text in enumerate(texts)]
        started = time.perf_counter()
        _filled(server.url, ids)
        seconds = time.perf_counter() - started
        speed = f"{chunks / seconds:.1f} chunks/s, {sum(map(len, texts)) / seconds / 1000:.0f} kB of text/s"
        return [
            Row(f"reading {READ_FILES} text files, {chunks} chunks, MiniLM", speed, f"{server.memory() / 1e6:.0f} MB")
        ]


def _upload(url: str, name: str, text: str) -> str:
    mark = "benchmark-boundary"
    body = (
        f'--{mark}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
        f'--{mark}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n{text}\r\n--{mark}--\r\n'
    )
    made = _call(url, "/files", body.encode(), f"multipart/form-data; boundary={mark}")
    return str(made["id"])


def _filled(url: str, file_ids: list[str]) -> dict[str, Any]:
    store = _call(url, "/vector_stores", json.dumps({"file_ids": file_ids}).encode())
    for _ in itertools.count():
        store = _call(url, f"/vector_stores/{store['id']}")
        if store["status"] == "completed":
            break
        time.sleep(0.02)
    if store["file_counts"]["completed"] != len(file_ids):
        raise SystemExit(f"not all files were read: {store['file_counts']}")
    return store


def _call(url: str, path: str, body: bytes | None = None, kind: str = "application/json") -> dict[str, Any]:
    headers = dict(line.split(": ", 1) for line in HEADERS) | {"content-type": kind}
    request = urllib.request.Request(f"{url}{path}", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


if __name__ == "__main__":
    main()
