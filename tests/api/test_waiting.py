"""``?wait=`` on a run: answered when it comes to another state, or when the time is over, or the server goes."""

import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.builders import WEATHER, Json, a_run, fetched, posted, refused, run_path, settled
from tests.replies import Calls, Hangs, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of


class Waiter:
    """A request that waits, on a thread of its own."""

    def __init__(self, server: Everloom, run: Json, seconds: float, **headers: str) -> None:
        self._asked = (f"{server.url}{run_path(run)}", seconds)
        self._headers = {"authorization": f"Bearer {API_KEY}", "openai-beta": "assistants=v2", **headers}
        self.answer: httpx.Response | None = None
        self.took = 0.0
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        url, seconds = self._asked
        began = time.monotonic()
        self.answer = httpx.get(url, params={"wait": seconds}, headers=self._headers, timeout=90)
        self.took = time.monotonic() - began

    def found(self) -> Json:
        self._thread.join(90)
        assert self.answer is not None
        assert self.answer.status_code == 200, self.answer.text
        run: Json = self.answer.json()
        return run


@pytest.fixture
def client(each_server: Everloom) -> Any:
    with client_of(each_server) as client:
        yield client


def test_a_run_is_waited_for_until_its_state_is_another(
    each_server: Everloom, client: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Slow(0.1, Says("one two three four five")))
    run = settled(client, a_run(client), "in_progress", "completed")
    waiters = [Waiter(each_server, run, 60), Waiter(each_server, run, 60, **{"openai-beta": "assistants=v1"})]
    assert [waiter.found()["status"] for waiter in waiters] == ["completed"] * 2


def test_a_question_to_the_caller_and_a_cancellation_are_other_states(
    each_server: Everloom, client: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Slow(0.3, Calls(("weather", {"city": "Oslo"}))))
    run = settled(client, a_run(client, tools=[WEATHER]), "in_progress", "requires_action")
    if run["status"] == "in_progress":
        assert Waiter(each_server, run, 60).found()["status"] == "requires_action"
    waiter = Waiter(each_server, run, 60)
    time.sleep(0.2)  # so that most times it waits already
    posted(client, f"{run_path(run)}/cancel")
    assert waiter.found()["status"] in ("cancelling", "cancelled")


def test_the_time_ends_a_wait_and_what_cannot_change_is_not_waited_for(
    client: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Hangs())
    run = settled(client, a_run(client), "in_progress")
    began = time.monotonic()
    assert fetched(client, run_path(run), wait=0.5)["status"] == "in_progress"
    assert time.monotonic() - began >= 0.5
    posted(client, f"{run_path(run)}/cancel")
    run = settled(client, run, "cancelled")
    assert fetched(client, run_path(run), wait=60)["status"] == "cancelled"  # a client's patience ends before that
    assert fetched(client, run_path(run), wait="")["status"] == "cancelled"


@pytest.mark.parametrize("wait", ["-1", "61", "1e9", "nan", "inf", "-inf", "1e999", "soon", "true"])
def test_a_wait_is_a_number_of_seconds_up_to_a_minute(http: httpx.Client, wait: str) -> None:
    path = run_path({"thread_id": "thread_abc", "id": "run_abc"})
    refused(http.get(path, params={"wait": wait}), 400, param="wait")


def test_a_run_that_is_not_there_is_not_waited_for(http: httpx.Client) -> None:
    path = run_path({"thread_id": "thread_abc", "id": "run_abc"})
    refused(http.get(path, params={"wait": 60}), 404)


def test_a_run_that_is_deleted_is_waited_for_no_longer(
    each_server: Everloom, client: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Hangs())
    run = settled(client, a_run(client), "in_progress")
    waiter = Waiter(each_server, run, 60)
    client.delete(f"/threads/{run['thread_id']}")
    waiter._thread.join(90)
    assert waiter.answer is not None
    assert waiter.answer.status_code == 404


def test_a_server_that_is_told_to_stop_answers_at_once_and_those_who_have_left_hold_nothing(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.rule(lambda body: Hangs())
    with Everloom(tmp_path, upstream=upstream.url) as server, client_of(server) as client:
        run = settled(client, a_run(client), "in_progress")
        with ExitStack() as stack:
            asking = [stack.enter_context(_asking(server, run)) for _ in range(40)]
            for _ in range(2):  # by connections that are made behind theirs, so that those have been heard
                httpx.get(f"{server.url}/models", headers=client.headers).raise_for_status()
            for connection in asking[20:]:
                connection.close()
            assert server.stop() == 0
            for connection in asking[:20]:
                with connection.makefile("rb") as answer:
                    assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
                    assert b'"status":"in_progress"' in answer.read()


def _asking(server: Everloom, run: Json) -> socket.socket:
    """A request that waits for a minute, whose answer is not read yet."""
    url = httpx.URL(f"{server.url}{run_path(run)}")
    head = f"GET {url.path}?wait=60 HTTP/1.1\r\nHost: here\r\nOpenAI-Beta: assistants=v2\r\n"
    connection = socket.create_connection((url.host, url.port), timeout=19)  # which is less than a server's stop takes
    connection.sendall(f"{head}Authorization: Bearer {API_KEY}\r\n\r\n".encode())
    return connection
