"""``everloom`` as a process of its own, with settings of the test's own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RLIMIT_NOFILE, setrlimit


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """This machine's environment with these settings and no others; nothing is downloaded unless they say so."""
    settings = {"data": str(folder / "data"), "fetch_weights": "false", **settings}
    bare = {name: text for name, text in os.environ.items() if not name.startswith("EVERLOOM_")}
    bare["XDG_DATA_HOME"] = str(folder / "share")
    bare["COLUMNS"] = "120"
    return bare | {f"EVERLOOM_{name.upper()}": text for name, text in settings.items()}


def everloom(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """The command, run to its end."""
    command = [sys.executable, "-m", "everloom", *arguments]
    environ = environment(folder, **settings)
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120)


class Program:
    """A command that goes on until it is told to stop. Lines of its output are read one by one."""

    def __init__(self, process: "subprocess.Popen[str]", errors: Path) -> None:
        self.process = process
        self.lines: list[str] = []
        self._errors = errors

    @property
    def errors(self) -> str:
        """What it has said on standard error."""
        return self._errors.read_text()

    def until(self, start: str) -> str:
        """The rest of the first line that begins with ``start``; fails when the output ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise AssertionError(f"no line {start!r} in {self.lines}; standard error: {self.errors}")


@contextmanager
def running(folder: Path, *arguments: str, files: int | None = None, **settings: str) -> Iterator[Program]:
    """The command while it runs, with ``files`` open files at most; killed at the end if it has not ended."""
    errors = folder / "standard-error.txt"
    with errors.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "everloom", *arguments],
            cwd=folder,
            env=environment(folder, **settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            preexec_fn=None if files is None else lambda: setrlimit(RLIMIT_NOFILE, (files, files)),
        )
    try:
        yield Program(process, errors)
    finally:
        process.kill()
        process.communicate()
