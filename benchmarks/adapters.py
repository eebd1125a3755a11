"""Tuned models beside their base in one engine: four requests at once of the base alone, of one tuned model alone, and
of both; and the time from adopting a tuned model to its first token while the base answers.

The engine reads and writes together only what has the same adapter on, so mixed requests take turns. Tokens are counted
by the engine. CPU is that of the engine's process: it tells more than the clock where other programs share the cores.
The adapters are random ones of rank 8 over the seven matrices of each layer, as training makes them; what they say is
nonsense, what they cost is not.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from platformdirs import user_cache_dir

from benchmarks.load import cpu_seconds
from benchmarks.measure import Row, machine, median, note, options, table
from everloom.models.files.weights import DEFAULT_MODEL, SMOLLM2, Weights
from everloom.models.llama.backend import LlamaBackend
from tests.models.gguf_lora import EVERY_MATRIX, write_adapter

SLOWER = 0.10
"""Of the base's tokens a second: what mixing may cost."""

SOON_S = 5.0
"""Seconds from adopting a tuned model to its first token."""

TUNED = "ft:smollm2-135m:bench::one"
CASES = {"base": [DEFAULT_MODEL] * 4, "tuned": [TUNED] * 4, "both": [DEFAULT_MODEL, TUNED] * 2}


class Run(NamedTuple):
    """Four requests at once."""

    rate: float
    """Tokens a second of all of them together."""
    cpu: float
    """Milliseconds of the engine's CPU a token."""
    first: float
    """Seconds until the last of them had begun."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    chosen = parser.parse_args()
    print(f"{table(measure(chosen.repetitions, chosen.tokens))}\n\n{machine()}")


def measure(repetitions: int, tokens: int) -> list[Row]:
    """The table's rows."""
    weights = Weights(Path(user_cache_dir("everloom-tests")) / "models")
    with tempfile.TemporaryDirectory() as folder:
        files = [
            write_adapter(Path(folder) / f"{seed}.gguf", seed=seed, strength=0.01, matrices=EVERY_MATRIX)
            for seed in range(repetitions + 1)
        ]
        return asyncio.run(_measure(weights, files, repetitions, tokens))


async def _measure(weights: Weights, files: list[Path], repetitions: int, tokens: int) -> list[Row]:
    backend = LlamaBackend({DEFAULT_MODEL: SMOLLM2}, weights, context=2048)
    runs: dict[str, list[Run]] = {case: [] for case in CASES}
    try:
        backend.adopt(TUNED, DEFAULT_MODEL, files[0])
        await _answer(backend, TUNED, 1, 0)
        for turn in range(repetitions):
            for case, names in CASES.items():
                note(f"repetition {turn + 1}, {case}")
                runs[case].append(await _together(backend, names, tokens))
        soon = [await _adopt(backend, number, path, tokens) for number, path in enumerate(files[1:])]
    finally:
        await backend.close()
    return [*_rows(runs), _soon(soon)]


async def _together(backend: LlamaBackend, names: list[str], tokens: int) -> Run:
    pids, since = backend.children(), time.monotonic()
    before = sum(map(cpu_seconds, pids))
    told = await asyncio.gather(*(_answer(backend, name, tokens, at) for at, name in enumerate(names)))
    seconds, written = time.monotonic() - since, sum(count for count, _ in told)
    cpu = sum(map(cpu_seconds, pids)) - before
    return Run(written / seconds, 1000 * cpu / written, max(first for _, first in told) - since)


async def _answer(backend: LlamaBackend, name: str, tokens: int, number: int) -> tuple[int, float]:
    """How many tokens an answer has, and when it began."""
    asked: dict[str, Any] = {"model": name, "max_tokens": tokens, "temperature": 1, "seed": number, "stream": True}
    asked |= {"messages": [{"role": "user", "content": f"Write a long story about a storm. Number {number}."}]}
    answer = await backend.chat({**asked, "stream_options": {"include_usage": True}})
    first = time.monotonic()
    try:
        text = b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()
    return json.loads(text.split(b"data: ")[-2])["usage"]["completion_tokens"], first


async def _adopt(backend: LlamaBackend, number: int, path: Path, tokens: int) -> float:
    """Seconds from adopting to the first token, while the base answers two others."""
    note(f"adopting, {number + 1}")
    busy = [asyncio.create_task(_answer(backend, DEFAULT_MODEL, 4 * tokens, at)) for at in range(2)]
    await asyncio.sleep(0.2)
    since, name = time.monotonic(), f"{TUNED}:{number}"
    backend.adopt(name, DEFAULT_MODEL, path)
    _, first = await _answer(backend, name, 1, 0)
    await asyncio.gather(*busy)
    return first - since


def _rows(runs: dict[str, list[Run]]) -> list[Row]:
    rates = {case: median([run.rate for run in each]) for case, each in runs.items()}
    rows = []
    for case in runs:
        cpu, first = median([run.cpu for run in runs[case]]), median([run.first for run in runs[case]])
        value = f"{rates[case]:.1f}, {cpu:.1f} ms of CPU a token; all begun after {first:.2f} s"
        share = rates[case] / rates["base"]
        budget, met = (f"{1 - SLOWER:.0%}", share >= 1 - SLOWER) if case == "both" else ("", None)
        rows.append(Row(f"4 at once, {case}: tokens/s", value, f"{share:.0%} of the base alone", budget, met))
    return rows


def _soon(seconds: list[float]) -> Row:
    value = f"{median(seconds):.2f} s, at most {max(seconds):.2f} s"
    return Row("from adopt to the first token, the base busy", value, "", f"{SOON_S:g} s", max(seconds) <= SOON_S)


if __name__ == "__main__":
    main()
