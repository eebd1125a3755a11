"""A newcomer's first minutes, as a page: a fresh clone, a fresh virtual environment, the README word for word, what it
prints and when; then the first word of an answer behind an nginx as its package installs it, beside the direct one.

``python -m benchmarks.walk > docs/walk.md``. Needs git, bash, a package index, and port 8080 free; without nginx its
part says so. What is shown has neither paths nor hosts of the machine, and keys are cut.
"""

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, machine, median, note

STEP_SECONDS = 1800.0
"""Longer than an install takes over a slow line."""

ANSWERS = 15
LONGEST = 132
"""Characters of a line that are shown."""

FOLDED = (
    (
        re.compile(
            r"\s|(Look|Process|Collect|Us|Download|Install|Gett|Prepar|Build)ing |Requirement |Successfully built"
        ),
        "pip",
    ),
    (re.compile(r"\S+ INFO everloom\.(requests|runs):"), "the log"),
)
"""Lines that come in tens, and whose they are."""


PAGE = """\
# The first minutes, as they went

A new user: a fresh clone, a fresh virtual environment, a home without a cache, the README word for word. Each line
begins with minutes and seconds since the first. Written by `python -m benchmarks.walk > docs/walk.md` on {date}; paths,
hosts, keys and long lines are cut, and lines that come in tens are told as one. The package index stood near: over a
slow line its part takes longer.

The first terminal:

```
{server}
```

The second one; `first.py` is the README's program with the key that was printed:

```
{client}
```

## Behind nginx

The same server behind an nginx as its package installs it, with one line of ours, `proxy_pass`: streamed chats of the
model in the box, directly and through it in turns.

{compared}

{machine}"""


class Terminal:
    """A shell in the clone with the virtual environment active: what is typed and printed, and when."""

    def __init__(self, home: Path, began: float) -> None:
        self.shown: list[str] = []
        self.printed: list[str] = []
        """As it came."""
        self._home = home
        self._began = began
        self._folded: list[tuple[float, str]] = []
        """When they came, and whose they are."""
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[tuple[float, str] | None] = queue.Queue()

    def run(self, command: str, typed: str | None = None, until: str | None = None) -> None:
        """Run a command, which ``typed`` shows, and read what it prints to its end, or to a line with ``until``."""
        note(typed or command)
        self._show("$ " + (typed or command))
        clone = self._home / "everloom"
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=clone if clone.exists() else self._home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        while (line := self._lines.get(timeout=STEP_SECONDS)) is not None:
            self._tell(*line)
            if until is not None and re.search(until, line[1]):
                return
        self._unfold()
        if self._process.wait() or until is not None:
            raise SystemExit(f"{command} ended with {self._process.returncode}:\n{''.join(self.printed)}")

    def stop(self) -> None:
        """End what runs as Control-C does, and show what it has printed since."""
        if self._process is None or self._process.poll() is not None:
            return
        stopped = time.monotonic()
        os.killpg(self._process.pid, signal.SIGINT)
        while (line := self._lines.get(timeout=STEP_SECONDS)) is not None:
            self._tell(*line)
        self._unfold()
        self._show("^C", stopped)
        self._process.wait()

    def _environment(self) -> dict[str, str]:
        """Of somebody who has just come: nothing of ours, and a home without a cache."""
        ours = ("EVERLOOM_", "PYTHON", "XDG_", "OPENAI_", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | {"HOME": str(self._home), "PATH": f"{self._home}/venv/bin:{os.environ['PATH']}"}

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as printed:
            for line in printed:
                self._lines.put((time.monotonic(), line))
        self._lines.put(None)

    def _tell(self, when: float, line: str) -> None:
        self.printed.append(line)
        if not (line := line.rstrip()):
            return
        whose = next((whose for pattern, whose in FOLDED if pattern.match(line)), None)
        if self._folded and self._folded[0][1] != whose:
            self._unfold()
        if whose is None:
            self._show(line, when)
        else:
            self._folded.append((when, whose))

    def _unfold(self) -> None:
        if self._folded:
            when, whose = self._folded[-1]
            self._show(f"[{len(self._folded)} lines of {whose}]", when)
            self._folded = []

    def _show(self, line: str, when: float | None = None) -> None:
        minutes, seconds = divmod(int((when or time.monotonic()) - self._began), 60)
        line = re.sub(r"\b(sk-(?:proj|admin)-)\w+", r"\1…", line.replace(str(self._home), "~"))
        line = re.sub(r"\b[a-z+]+://(?!127\.0\.0\.1)\S+", "…", line)
        line = line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
        self.shown.append(f"{minutes:02}:{seconds:02}  {line}")


def main() -> None:
    readme = (ROOT / "README.md").read_text()
    with tempfile.TemporaryDirectory(prefix="everloom-walk-") as folder:
        home, began = Path(folder).resolve(), time.monotonic()
        server, client = Terminal(home, began), Terminal(home, began)
        server.run(f"git clone --quiet '{ROOT}' everloom", "git clone … && cd everloom")
        server.run(f"'{sys.executable}' -m venv ~/venv", "python3 -m venv ~/venv && . ~/venv/bin/activate")
        try:
            server.run(_block(readme, "sh"), until="ready on ")
            key, url = (_found(pattern, "".join(server.printed)) for pattern in (r"\bsk-proj-\w+", r"http://\S+/v1"))
            client.run("pip install openai")
            (home / "everloom" / "first.py").write_text(_block(readme, "python").replace("sk-proj-…", key))
            client.run("python -W ignore first.py")  # the SDK warns that the platform has switched this off
            compared = _compared(url, key, home)
        finally:
            server.stop()
    print(_page(server, client, compared))


def _block(readme: str, language: str) -> str:
    return _found(rf"(?s)(?<=```{language}\n).*?(?=\n```)", readme)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"there is no {pattern} in:\n{text}")
    return found[0]


def _compared(url: str, key: str, home: Path) -> str:
    """Rows of a table: the first word of an answer of the model in the box, directly and behind nginx, in turns."""
    from tests.proxies import default_nginx, program_of

    if program_of("nginx") is None:
        return "There was no nginx (`python -m tests.proxies install`)."
    note("first words behind nginx")
    first: dict[str, list[float]] = {"directly": [], "behind nginx": []}
    left: dict[str, list[float]] = {"directly": [], "behind nginx": []}
    with default_nginx(url, home) as proxy:
        for number in range(ANSWERS + 1):
            for where, base in (("directly", url), ("behind nginx", proxy.url)):
                to_first, to_end = _timed(base, key)
                if number:  # the first one loads the model, and reads the prompt
                    first[where].append(to_first)
                    left[where].append(to_end - to_first)
    rows = [
        f"| {where} | {median(first[where]) * 1000:.1f} ms | {median(left[where]) * 1000:.0f} ms |" for where in first
    ]
    ratio = median(behind / direct for direct, behind in zip(*first.values(), strict=True))
    table = "\n".join(["| | to the first word | from it to the end |", "|---|---|---|", *rows])
    return f"{table}\n\nThe first word behind nginx took {ratio:.2f} × the direct one (median of {ANSWERS} pairs)."


def _timed(url: str, key: str) -> tuple[float, float]:
    """Seconds to the first word of a streamed chat, and to its end."""
    question = {"role": "user", "content": "Tell me three things about the Moon."}
    body: dict[str, Any] = {
        "model": "gpt-4o",
        "messages": [question],
        "stream": True,
        "temperature": 0,
        "max_tokens": 60,
    }
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), headers)
    began, first = time.perf_counter(), 0.0
    with contextlib.closing(urllib.request.urlopen(request, timeout=300)) as answer:
        for line in answer:
            if not first and line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                first = time.perf_counter() - began
    return first, time.perf_counter() - began


def _page(server: Terminal, client: Terminal, compared: str) -> str:
    return PAGE.format(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        server="\n".join(server.shown),
        client="\n".join(client.shown),
        compared=compared,
        machine=machine(),
    )


if __name__ == "__main__":
    main()
