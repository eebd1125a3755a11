"""What the benchmarks share: programs to measure, loads put on them, medians, and the table at the end."""

import argparse
import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from benchmarks.load import Load, Result

ROOT = Path(__file__).parent.parent
API_KEY = "sk-benchmark-0123456789"
PATH = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
"""What is measured is the tree that this file stands in, wherever another one is installed."""

START_SECONDS = 60.0

HEADERS = [f"authorization: Bearer {API_KEY}", "openai-beta: assistants=v2"]
"""Of every request to Everloom."""


class Program:
    """A server in a process of its own, from its start to its ready line (the last group of ``ready`` is its URL)."""

    def __init__(
        self, *arguments: str, ready: str, environment: dict[str, str] | None = None, python: str = sys.executable
    ) -> None:
        # A server that is installed has its bytecode: it would be made anew at each start where that is forbidden.
        left_out = ("EVERLOOM_", "PYTHONDONTWRITEBYTECODE")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        self.output: list[str] = []
        self.url = ""
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [python, *arguments],
            env=clean | PATH | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid = self._process.pid
        self._came = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(re.compile(ready), started), daemon=True)
        self._reader.start()
        if not self._came.wait(START_SECONDS) or not self.seconds:
            self.stop()
            raise SystemExit(f"{' '.join(arguments)} did not start:\n{''.join(self.output)}")

    seconds = 0.0
    """From the start of the process to its ready line."""

    def _read(self, ready: "re.Pattern[str]", started: float) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line)
            if (found := ready.search(line)) is not None:
                self.seconds = time.perf_counter() - started
                self.url = found[found.lastindex or 0]
                self._came.set()
        self._came.set()

    def stop(self) -> None:
        """End it; by force when it does not end."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def pids(self) -> list[int]:
        """The process and its children (Linux; elsewhere the process alone)."""
        return family(self.pid)

    def memory(self) -> int:
        """Resident bytes of the process and its children (Linux; elsewhere 0)."""
        return sum(map(_resident, family(self.pid)))

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def everloom(
    data: Path, module: str = "everloom", environment: dict[str, str] | None = None, **settings: Any
) -> Program:
    """``everloom serve`` on a data folder; ``settings`` as in the environment, without prefix, in lower case."""
    known = {
        "api_key": API_KEY,
        "admin_key": "sk-benchmark-admin-0123456789",
        "log_level": "warning",
        "fetch_weights": "false",
    }
    named = {"EVERLOOM_" + name.upper(): str(value) for name, value in (known | settings).items()}
    return Program(
        *("-m", module, "serve", "--data", str(data), "--port", "0"),
        ready=r"everloom: ready on (\S+)",
        environment=named | (environment or {}),
    )


def upstream(words: int, burst: int = 1, delay: float = 0.0) -> Program:
    """The scripted upstream of the tests: answers every request with so many words, ``burst`` of them in one write."""
    return Program(
        *("-m", "tests.scripted", "0", "--words", str(words), "--burst", str(burst), "--delay", str(delay)),
        ready=r"scripted: ready on (\S+)",
    )


def put(url: str, requests: Sequence[str], **fields: Any) -> Result:
    """Put a load on the server at ``url`` from a process of its own; what is asked must be answered with 200."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    load = Load(host=parts.hostname, port=parts.port, requests=list(requests), **fields)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=msgspec.json.encode(load),
        stdout=subprocess.PIPE,
        env=os.environ | PATH,
        timeout=load.seconds + load.warm_up + 60,
        check=True,
    )
    result = msgspec.json.decode(done.stdout, type=Result)
    if result.failures or not (result.requests or result.events):
        raise SystemExit(f"{requests[0]}: {result.failures} of {result.requests} answers were not 200")
    return result


def repeated(times: int, cases: dict[Any, Callable[[], Result]]) -> dict[Any, list[Result]]:
    """Every case so many times, in turns, so that what else the machine does falls on all of them alike."""
    results: dict[Any, list[Result]] = {name: [] for name in cases}
    for _ in range(times):
        for name, case in cases.items():
            results[name].append(case())
    return results


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


class Row(NamedTuple):
    """A line of a benchmark's table; ``met`` is None where the budget says nothing."""

    what: str
    measured: str
    beside: str = ""
    """The bare limit or the peer of the same run."""
    budget: str = ""
    met: bool | None = None


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| what | measured | bare limit or peer, same run | budget | met |", "|---|---|---|---|---|"]
    words = {True: "yes", False: "**no**", None: ""}
    lines += [f"| {row.what} | {row.measured} | {row.beside} | {row.budget} | {words[row.met]} |" for row in rows]
    return "\n".join(lines)


def machine() -> str:
    """One line about where this was measured."""
    load = f", load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return (
        f"{os.cpu_count()} cores ({_processor()}), Python {platform.python_version()}, "
        f"{platform.system()}{load}; medians of interleaved repetitions."
    )


def options(about: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=3, help="of every measurement; medians are shown")
    parser.add_argument("--seconds", type=float, default=2.0, help="of load in each measurement")
    return parser


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """An empty folder that is taken away afterwards."""
    with tempfile.TemporaryDirectory(prefix="everloom-benchmark-") as name:
        yield Path(name)


def note(text: str) -> None:
    """Say how far we are, beside the table."""
    print(f"  {text}", file=sys.stderr, flush=True)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def family(pid: int) -> list[int]:
    """A process and all that come from it (Linux; elsewhere the process alone)."""
    pids = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                pids += family(int(child))
    return pids


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    return 0
