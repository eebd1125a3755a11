"""What whoever watches a server is told: of all processes on its database, by a server and by a worker alone."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.builders import an_assistant
from tests.cli.programs import everloom
from tests.postgres import fresh_database
from tests.replies import Says
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as client_of

PATIENCE_S = 60.0


def metrics(base: str) -> dict[str, float]:
    """Every sample, by its name and labels as they are written."""
    answer = httpx.get(f"{base}/metrics")
    assert answer.status_code == 200
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture(params=["sqlite", "postgresql"])
def idle(request: pytest.FixtureRequest, tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Everloom]:
    """A server whose runs nobody executes."""
    settings = {"upstream": upstream.url}
    if request.param == "postgresql":
        settings["database"] = fresh_database()
    with Everloom(tmp_path, arguments=("--no-worker",), **settings) as server:
        yield server


def test_runs_that_wait_for_a_worker_are_counted_and_told_of(idle: Everloom) -> None:
    base = idle.url.removesuffix("/v1")
    before = metrics(base)
    assert before['everloom_runs{status="queued"}'] == 0
    with client_of(idle) as http:
        assistant = an_assistant(http)
        for _ in range(2):
            body = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "hi"}]}}
            assert http.post("/threads/runs", json=body).status_code == 200
    until(lambda: metrics(base)['everloom_runs{status="queued"}'] == 2, "runs are counted")
    # For a moment a job stands in the outbox and in the engine's queue.
    until(lambda: metrics(base)['everloom_jobs_waiting{lane="live"}'] == 2, "jobs are counted")
    found = metrics(base)
    assert found['everloom_jobs_running{lane="live"}'] == 0
    assert found['everloom_runs{status="in_progress"}'] == 0
    assert found["everloom_workers"] == 0
    until(lambda: metrics(base)['everloom_jobs_oldest_wait_seconds{lane="live"}'] > 1, "the oldest grows older")
    warning = re.compile(
        r"WARNING everloom\.work\.load: no worker lives, and jobs wait: \d, the oldest for \d+ seconds"
    )
    until(lambda: any(map(warning.search, idle.output)), "the log says so")
    assert len([line for line in idle.output if "no worker lives" in line]) == 1


def test_a_worker_alone_is_watched_on_a_port_of_its_own(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    settings = {"upstream": upstream.url, "database": fresh_database()}
    worker = Everloom(tmp_path, command="worker", arguments=("--metrics-port", "0"), **settings)
    with Everloom(tmp_path, arguments=("--no-worker",), **settings) as server, worker, client_of(server) as http:
        (said,) = [line for line in worker.output if "metrics on" in line]
        base = said.split()[-1].removesuffix("/metrics")
        assert httpx.get(f"{base}/healthz").json() == {"status": "alive"}
        assert httpx.get(f"{base}/readyz").json() == {"status": "ready"}
        key = {"authorization": f"Bearer {ADMIN_KEY}"}
        for path in ("/v1/organization/projects", "/v1/models", "/openapi.json", "/"):
            assert httpx.get(base + path, headers=key).status_code == 404, path
        assert httpx.get(f"{base}/metrics", headers={"x-forwarded-for": "10.0.0.1"}).status_code == 401
        assert httpx.get(f"{base}/metrics", headers={"x-forwarded-for": "10.0.0.1"} | key).status_code == 200
        until(lambda: metrics(base)["everloom_workers"] == 1, "the worker counts itself")
        until(lambda: metrics(server.url.removesuffix("/v1"))["everloom_workers"] == 1, "the server knows of it")
        upstream.script(Says("done"))
        assistant = an_assistant(http)
        body = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "hi"}]}}
        http.post("/threads/runs", json=body)
        until(lambda: metrics(base)['everloom_run_ends_total{status="completed"}'] == 1, "an end is counted")
        until(lambda: metrics(base)['everloom_runs{status="queued"}'] == 0, "nothing waits any more")
    assert worker.wait() == 0


def test_a_port_that_is_taken_is_told_by_the_option_that_named_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = everloom(tmp_path, "worker", "--metrics-port", str(port), database=fresh_database())
    assert (done.returncode, done.stdout) == (1, "")
    assert f"port {port} on 127.0.0.1 is taken; name another with --metrics-port" in done.stderr
