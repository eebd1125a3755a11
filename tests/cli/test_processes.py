"""``everloom serve --processes``: several that share a port, on a real PostgreSQL."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.postgres import fresh_database
from tests.scripted import ScriptedUpstream, Slow
from tests.servers import ADMIN_KEY, API_KEY, Everloom

CONNECTIONS = 40
"""So many that each of two processes has one, but for one time in 2**39."""

STREAMED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}], "stream": True}


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def two(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Everloom]:
    settings = {"upstream": upstream.url, "fetch_weights": "no", "processes": 2}
    with Everloom(tmp_path, database=fresh_database(), **settings) as server:
        yield server


def children(server: Everloom) -> list[psutil.Process]:
    return psutil.Process(server.pid).children()


def served_by(server: Everloom) -> set[int]:
    """Which processes have connections, once each of many clients has been answered."""
    url = httpx.URL(server.url)
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(contextlib.closing(http.client.HTTPConnection(url.host, url.port or 80)))
            client.request("GET", "/v1/models", headers={"authorization": f"Bearer {API_KEY}"})
            answer = client.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
        return {
            child.pid
            for child in children(server)
            for connection in child.net_connections("tcp")
            if connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == url.port
        }


def counts(server: Everloom) -> list[str]:
    """The files in which the processes count."""
    told = children(server)[0].cmdline()[-1]
    return sorted(file.name for file in Path(told.split(":", 3)[3]).iterdir())


def counted(server: Everloom) -> float:
    text = httpx.get(f"{server.url.removesuffix('/v1')}/metrics", headers={"authorization": f"Bearer {ADMIN_KEY}"}).text
    (count,) = re.findall(r'everloom_http_request_seconds_count\{operation="list_models",status="200"\} (\S+)', text)
    return float(count)


def test_requests_are_spread_and_deaths_are_survived(two: Everloom) -> None:
    before = {child.pid for child in children(two)}
    assert len(before) == 2
    assert len([line for line in two.output if "ready on" in line]) == 1
    assert served_by(two) == before
    assert counted(two) == CONNECTIONS
    files = counts(two)
    killed, survivor = before
    dying = psutil.Process(killed)
    dying.kill()
    dying.wait(30)
    while len(now := served_by(two)) < 2:
        assert now <= {survivor, *(child.pid for child in children(two))}
    assert survivor in now
    assert killed not in now
    assert counted(two) > CONNECTIONS  # What the one that is gone had counted stays, …
    assert counts(two) == files  # … and is counted on by the one in its place.
    left = children(two)
    two.kill()  # The parent: its children end with it.
    _, alive = psutil.wait_procs(left, timeout=30)
    assert alive == []


def test_a_stop_lets_streams_end(two: Everloom, upstream: ScriptedUpstream) -> None:
    upstream.script(Slow(0.05))
    began = psutil.Process(two.pid).children()
    with httpx.Client(base_url=two.url, headers={"authorization": f"Bearer {API_KEY}"}, timeout=30) as client:
        with client.stream("POST", "/chat/completions", json=STREAMED) as answer:
            lines = answer.iter_lines()
            next(lines)
            statuses: list[int] = []
            stopping = threading.Thread(target=lambda: statuses.append(two.stop()))
            stopping.start()
            assert [line for line in lines if line][-1] == "data: [DONE]"
        stopping.join()
    assert statuses == [0]
    assert not [child for child in began if child.is_running()]


def test_a_child_that_hangs_keeps_nobody_from_stopping(two: Everloom) -> None:
    stuck, other = children(two)
    stuck.send_signal(signal.SIGSTOP)
    process = psutil.Process(two.pid)
    process.send_signal(signal.SIGINT)
    other.wait(75)  # It may wait for what the stuck one has locked, until the parent ends both, and then itself.
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGINT)
    assert two.wait(30) in (0, 130)
    assert not stuck.is_running()


@pytest.mark.parametrize("number", [0, 1])
def test_a_child_that_hangs_is_replaced(tmp_path: Path, upstream: ScriptedUpstream, number: int) -> None:
    settings = {"upstream": upstream.url, "fetch_weights": "no", "processes": 2}
    with Everloom(tmp_path, module="tests.cli.impatient", database=fresh_database(), **settings) as server:
        began = children(server)
        (stuck,) = [child for child in began if child.cmdline()[-1].split(":")[1] == str(number)]
        stuck.send_signal(signal.SIGSTOP)
        stuck.wait(60)
        until = time.monotonic() + 60
        while len(now := children(server)) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert stuck.pid not in {child.pid for child in now}
        assert any(f"serving process {number} has given no sign of life" in line for line in server.output)
        assert server.stop() == 0


def test_a_stop_before_the_first_child_is_there_is_no_failure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "everloom", "serve", "--port", "0", "--data", str(tmp_path)]
    settings = {"EVERLOOM_DATABASE": fresh_database(), "EVERLOOM_PROCESSES": "2"}
    settings["PYTHONPATH"] = os.pathsep.join(sys.path)
    with subprocess.Popen(command, env=os.environ | settings) as server:
        while not (began := psutil.Process(server.pid).children()):
            time.sleep(0.01)
        server.terminate()
        assert server.wait(30) == 0
    assert not began[0].is_running()


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="several processes need PostgreSQL"):
        Everloom(tmp_path, processes=2).start()
    away = Everloom(tmp_path, database="postgresql://nobody@127.0.0.1:1/nothing", processes=2)
    with pytest.raises(AssertionError, match="cannot start"):
        away.start()
    assert away.output
