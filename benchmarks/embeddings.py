"""Embeddings of the local model: texts a second through the server, beside the model alone with the same threads.

The bare model is ``minilm/network.py`` in a process of its own, called by as many threads as the server's engine has,
sixteen texts at once, tokens included: no HTTP, no JSON, no pipes. ``--against FOLDER`` measures the sources in another
folder, too (a worktree of an older commit), in the same run.
"""

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.load import Result
from benchmarks.measure import HEADERS, PATH, Program, Row, everloom, folder, machine, median, note, options, put, table

TEXTS = [f"How do I change the address of order number {number}, please?" for number in range(64)]
"""Of fifteen tokens each."""

CLIENTS = 32


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--against", type=Path, default=None, help="other sources to measure in the same run")
    parser.add_argument("--bare", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.bare:
        _bare(chosen.bare[0], chosen.bare[1], chosen.seconds)
        return
    print(f"{table(measure(chosen.repetitions, chosen.seconds, chosen.against))}\n\n{machine()}")


def measure(repetitions: int, seconds: float, against: Path | None = None) -> list[Row]:
    """The table's rows."""
    with folder() as home:
        weights = str(home / "weights")
        found: dict[str, list[_Seen]] = {}
        note("fetching the model")
        files = _files(weights)
        for number in range(repetitions):
            note(f"repetition {number + 1} of {repetitions}")
            bare = _run_bare(files, seconds)
            for name, sources in {"": None, ", before": against}.items():
                if name and sources is None:
                    continue
                for what, result, texts in _server(home / f"{number}{name}", weights, seconds, sources):
                    found.setdefault(what + name, []).append(_Seen(result, texts, bare))
    return [_row(what, seen) for what, seen in sorted(found.items())]


class _Bare(NamedTuple):
    """What the model alone did: texts a second, and CPU seconds a text."""

    rate: float
    cpu: float


class _Seen(NamedTuple):
    """What came of a load, with so many texts a request, and the model alone just before."""

    result: Result
    texts: int
    bare: _Bare

    @property
    def rate(self) -> float:
        return self.result.rate * self.texts

    @property
    def cpu(self) -> float:
        return sum(self.result.cpu) / (self.result.requests * self.texts)


def _row(what: str, seen: Sequence[_Seen]) -> Row:
    p50 = median(one.result.p50 for one in seen) * 1000
    measured = f"{median(one.rate for one in seen):.0f} texts/s, p50 {p50:.0f} ms, "
    measured += f"{median(one.cpu for one in seen) * 1000:.1f} ms of CPU a text"
    beside = f"the model alone: {median(one.bare.rate for one in seen):.0f} texts/s "
    beside += f"({median(one.rate / one.bare.rate for one in seen):.0%}), "
    beside += f"{median(one.bare.cpu for one in seen) * 1000:.1f} ms"
    return Row(what, measured, beside)


def _server(home: Path, weights: str, seconds: float, sources: Path | None) -> list[tuple[str, Result, int]]:
    """Each load on a server of its own start: what it is, what came of it, and the texts in a request."""
    home.mkdir()
    path = {} if sources is None else {"PYTHONPATH": f"{sources}{os.pathsep}{sources / 'src'}"}
    with everloom(home, weights=weights, environment=path) as server:
        _ask_once(server)  # which starts the model's process, whose CPU is to be read, too
        one = [_load(server, TEXTS[0], CLIENTS, seconds), _load(server, TEXTS[0], 1, seconds)]
        many = _load(server, TEXTS, 1, seconds)
    return [
        (f"{CLIENTS} clients, a text each", one[0], 1),
        ("1 client, a text", one[1], 1),
        (f"1 client, {len(TEXTS)} texts", many, len(TEXTS)),
    ]


def _ask_once(server: Program) -> None:
    headers = dict(line.split(": ", 1) for line in HEADERS) | {"content-type": "application/json"}
    body = json.dumps({"model": "all-minilm-l6-v2", "input": TEXTS[0]}).encode()
    with urllib.request.urlopen(
        urllib.request.Request(f"{server.url}/embeddings", body, headers), timeout=60
    ) as answer:
        answer.read()


def _load(server: Program, texts: str | list[str], connections: int, seconds: float) -> Result:
    body = {"model": "all-minilm-l6-v2", "input": texts, "encoding_format": "base64"}
    return put(
        server.url,
        ["POST /v1/embeddings"],
        headers=[*HEADERS, "content-type: application/json"],
        body=json.dumps(body),
        connections=connections,
        warm_up=1.0,
        seconds=seconds,
        pids=server.pids(),
    )


def _files(weights: str) -> list[str]:
    from everloom.models.files.weights import MINILM, Weights

    return [str(path) for path in Weights(Path(weights)).fetch(MINILM)]


def _run_bare(files: Sequence[str], seconds: float) -> _Bare:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.embeddings", "--seconds", str(seconds), "--bare", *files],
        env=os.environ | PATH,
        stdout=subprocess.PIPE,
        check=True,
    )
    return _Bare(*json.loads(done.stdout))


def _bare(safetensors: str, tokenizer: str, seconds: float) -> None:
    """In a process of its own: the threads and their libraries set up as in ``models/minilm/child.py``."""
    for library in ("OPENBLAS_NUM", "OMP_NUM", "MKL_NUM", "BLIS_NUM", "VECLIB_MAXIMUM"):
        os.environ[f"{library}_THREADS"] = "1"
    import threading
    import time

    from everloom.models.minilm.network import MiniLM

    model = MiniLM(Path(safetensors), Path(tokenizer))
    threads = os.cpu_count() or 1
    counts = [0] * threads
    until = 0.0

    def work(number: int) -> None:
        counts[number] = 0
        while time.perf_counter() < until:
            for begin in range(0, len(TEXTS), 16):
                model.embed([model.tokens(text) for text in TEXTS[begin : begin + 16]])
                counts[number] += 16

    for length in (0.5, seconds):
        started, cpu = time.perf_counter(), time.process_time()
        until = started + length
        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    texts = sum(counts)
    print(json.dumps([texts / (time.perf_counter() - started), (time.process_time() - cpu) / texts]))


if __name__ == "__main__":
    main()
