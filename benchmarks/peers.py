"""Chat completions through Everloom and through other gateways, before one upstream that is never the limit, in turns.

The upstream is compiled (``upstream.c``); each peer stands in an environment of its own (``gateways.py``). CPU is that
of all processes of a peer. A chunk that comes alone is measured in streams that say something ten times a second.
"""

import contextlib
import functools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gateways import GATEWAYS, Unobtainable, started
from benchmarks.load import Result
from benchmarks.measure import HEADERS, Program, everloom, folder, machine, median, note, options, put, repeated
from benchmarks.passthrough import chat

ASK = ["POST /v1/chat/completions"]
OWN = "Everloom"
DIRECT = "upstream alone"
CLIENTS = (16, 64)
STREAMS = 8
WORDS = 400
LONE_STREAMS = 200
LONE_WORDS = 100
LONE_MS = 100
"""Of the streams whose chunks come alone: so many words, so long apart."""

Results = dict[tuple[str, Any], list[Result]]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--peers", default="", help="names of peers, by commas, in place of all")
    parser.add_argument("--skip-lone", action="store_true", help="leave the chunks that come alone out")
    chosen = parser.parse_args()
    names = [name for name in chosen.peers.split(",") if name]
    missing: dict[str, str] = {}
    results: Results = {}
    try:
        results |= _before(_load, compiled(WORDS, 0), names, missing, chosen)
        if not chosen.skip_lone:
            results |= _before(_lone, compiled(LONE_WORDS, LONE_MS), names, missing, chosen)
    except Unobtainable as problem:
        sys.exit(f"the upstream {problem}")
    print(f"{_table(results, missing)}\n\n{machine()}")


Measure = Callable[[dict[str, Any], Any], Results]


def _before(
    measure: Measure,
    upstream: "contextlib.AbstractContextManager[Program]",
    names: Sequence[str],
    missing: dict[str, str],
    chosen: Any,
) -> Results:
    """What is measured with all that can be had before this upstream; why others cannot goes to ``missing``."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(folder())
        up = stack.enter_context(upstream)
        servers: dict[str, Any] = {DIRECT: up}
        servers[OWN] = stack.enter_context(everloom(home / "everloom", upstream=up.url))
        for number, gateway in enumerate(GATEWAYS):
            if gateway.name in missing or (names and gateway.name not in names):
                continue
            note(f"starting {gateway.name}")
            try:
                servers[gateway.name] = stack.enter_context(started(gateway, home / str(number), up.url))
            except (Unobtainable, OSError) as problem:
                missing[gateway.name] = str(problem)
        return measure(servers, chosen)


def _load(servers: dict[str, Any], chosen: Any) -> Results:
    note("chat completions, whole and streamed")
    cases: dict[Any, Callable[[], Result]] = {}
    for clients in CLIENTS:
        for name, server in servers.items():
            cases[name, clients] = functools.partial(_put, server, chat(), clients, chosen.seconds)
    for name, server in servers.items():
        cases[name, "stream"] = functools.partial(_put, server, chat(stream=True), STREAMS, chosen.seconds)
    return repeated(chosen.repetitions, cases)


def _lone(servers: dict[str, Any], chosen: Any) -> Results:
    note("chunks that come alone")
    cases: dict[Any, Callable[[], Result]] = {}
    for name, server in servers.items():
        cases[name, "lone"] = functools.partial(_put, server, chat(stream=True), LONE_STREAMS, chosen.seconds, 2.0)
    return repeated(chosen.repetitions, cases)


def _put(server: Any, body: str, connections: int, seconds: float, warm_up: float = 0.5) -> Result:
    fields = {"headers": HEADERS, "body": body, "connections": connections, "pids": server.pids()}
    return put(server.url, ASK, seconds=seconds, warm_up=warm_up, **fields)


@contextlib.contextmanager
def compiled(words: int, delay_ms: int) -> Iterator[Program]:
    """The upstream, made by this machine's C compiler. ``Unobtainable`` where there is none."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Unobtainable("needs a C compiler (cc, gcc or clang), and there is none")
    with folder() as home:
        program = home / "upstream"
        source = Path(__file__).with_name("upstream.c")
        done = subprocess.run([compiler, "-O2", "-pthread", "-o", str(program), str(source)], stdout=sys.stderr)
        if done.returncode:
            raise Unobtainable(f"could not be compiled: {compiler} ended with status {done.returncode}")
        numbers = [str(words), "1", str(delay_ms)]
        with Program(*numbers, ready=r"upstream: ready on (\S+)", python=str(program)) as running:
            yield running


_COLUMNS = (
    *(f"{clients} clients: {what}" for clients in CLIENTS for what in ("requests/s", "CPU ms", "added p50 / p99 ms")),
    *(f"{STREAMS} fast streams: chunks/s", "CPU µs a chunk", "a chunk alone: CPU µs"),
)


def _table(results: Results, missing: dict[str, str]) -> str:
    names = dict.fromkeys(name for name, _ in results)
    rows = [(name, *_cells(results, name)) for name in names]
    rows += [(name, why, *[""] * (len(_COLUMNS) - 1)) for name, why in missing.items()]
    lines = ["| | " + " | ".join(_COLUMNS) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _cells(results: Results, name: str) -> Iterator[str]:
    for clients in CLIENTS:
        found, direct = results[name, clients], results[DIRECT, clients]
        yield _spread([result.rate for result in found], "{:,.0f}")
        yield _spread([1e3 * sum(result.cpu) / result.requests for result in found], "{:.3f}")
        if name == DIRECT:
            yield f"({median(r.p50 for r in found) * 1e3:.2f} / {median(r.p99 for r in found) * 1e3:.2f})"
        else:
            added = [[b.p50 - a.p50, b.p99 - a.p99] for a, b in zip(direct, found, strict=True)]
            yield " / ".join(f"{median(times) * 1e3:.2f}" for times in zip(*added, strict=True))
    streamed = results[name, "stream"]
    yield _spread([result.events / result.seconds for result in streamed], "{:,.0f}")
    yield _spread([1e6 * sum(result.cpu) / result.events for result in streamed], "{:.1f}")
    lone = [1e6 * sum(result.cpu) / result.events for result in results.get((name, "lone"), ())]
    yield _spread(lone, "{:.0f}") if lone else "not measured"


def _spread(values: Sequence[float], shown: str) -> str:
    """The median, and in brackets the least and the most."""
    return f"{shown.format(median(values))} ({shown.format(min(values))}–{shown.format(max(values))})"


if __name__ == "__main__":
    main()
