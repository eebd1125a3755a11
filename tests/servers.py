"""The real server as a process of its own, for tests that talk to it as any client would."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.spec.oracle import CheckedTransport

API_KEY = "sk-test-project-0123456789"
ADMIN_KEY = "sk-test-admin-0123456789"

ROOT = Path(__file__).parent.parent

START_SECONDS = 60.0
"""Far more than a start takes; two busy cores have been seen to need ten."""


class Everloom:
    """``everloom serve`` (or ``worker``) on a data folder. Kill it, start it again: the folder stays.

    ``settings`` are environment variables without their prefix, in lower case. ``module`` is what Python
    runs in place of ``everloom``.
    """

    def __init__(
        self,
        data: Path,
        *,
        command: str = "serve",
        arguments: tuple[str, ...] = (),
        module: str = "everloom",
        **settings: Any,
    ) -> None:
        self.data = data
        self.output: list[str] = []
        self.url = ""
        self._command = [sys.executable, "-m", module, command, "--data", str(data), *arguments]
        if command == "serve":
            self._command += ["--port", "0"]
        self._ready = re.compile(r"everloom: (?:ready on (\S+)|worker ready)")
        known = {"api_key": API_KEY, "admin_key": ADMIN_KEY, "log_level": "warning"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOM_")}
        environment["PYTHONPATH"] = f"{ROOT / 'src'}{os.pathsep}{ROOT}"  # this tree, whatever is installed
        environment |= {"EVERLOOM_" + name.upper(): str(value) for name, value in (known | settings).items()}
        self._environment: Mapping[str, str] = environment
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> "Everloom":
        """Start the process and wait for its ready line. Errors: ``AssertionError`` where it ends before that."""
        said = len(self.output)
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self.data,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",  # what is killed may be in the middle of a character
        )
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process, ready), daemon=True)
        self._reader.start()
        if not ready.wait(START_SECONDS) or not any(map(self._ready.search, self.output[said:])):
            self.kill()
            raise AssertionError("the server did not start:\n" + "".join(self.output))
        return self

    def _read(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        """Read what it says to its end, which comes later than the process's where a child of it lives on."""
        assert process.stdout is not None
        with process.stdout as said:
            for line in said:
                self.output.append(line)
                if (found := self._ready.search(line)) is not None:
                    self.url = found[1] or ""
                    ready.set()
        ready.set()

    def command(self, *arguments: str) -> str:
        """What another command of the program (``keys create``, say) prints, run beside this one with its settings."""
        command = [sys.executable, "-m", "everloom", *arguments, "--data", str(self.data)]
        done = subprocess.run(
            command, env=self._environment, cwd=self.data, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for the process to end by itself; its exit status."""
        assert self._process is not None
        assert self._reader is not None
        status = self._process.wait(timeout)
        self._reader.join(10)
        return status

    def kill(self) -> None:
        """``kill -9``: no goodbye."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        return self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> int:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        return self.wait()

    def __enter__(self) -> "Everloom":
        return self.start()

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self.stop()
        else:
            self.wait()


@contextlib.contextmanager
def http(server: Everloom, key: str = API_KEY, beta: str | None = "assistants=v2") -> Iterator[httpx.Client]:
    """A plain HTTP client of a server, its key and beta header set; every answer is held against the specification."""
    headers = {"authorization": f"Bearer {key}"}
    if beta is not None:
        headers["openai-beta"] = beta
    with httpx.Client(base_url=server.url, headers=headers, timeout=30, transport=CheckedTransport()) as client:
        yield client


def last_resorts(server: Everloom) -> float:
    """How often a server has had to end what nobody else had ended: 0, but in the tests of that."""
    text = httpx.get(f"{server.url.removesuffix('/v1')}/metrics", timeout=30).text
    found = re.findall(r"^everloom_last_resort_total\{.*\} (\S+)$", text, re.MULTILINE)
    assert found
    return sum(map(float, found))
