"""What the server stands on goes away for a few seconds while runs and files are in hand; then all of it goes on.

Nobody calls again for them: within 20 seconds after the end of the outage every run and every file is completed.
"""

import contextlib
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from everloom.work.runs.away import MOST_BROKEN
from tests.builders import Json, a_run, a_thread, an_assistant, posted, run_path, settled
from tests.postgres import Cluster
from tests.replies import Breaks, Fails, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import API_KEY, Everloom
from tests.stores import a_file

RUNS = 6
STORES = 4
ATTEMPTS = 3
"""How often an upstream is asked in one go before it counts as away."""

AWAY_SECONDS = 4.0
BACK_SECONDS = 20.0
SLACK_SECONDS = 40.0
"""On a machine that is busy with other things: what was waited for is told apart from what never comes."""

SAID = " ".join(f"word{number}" for number in range(60))


@contextlib.contextmanager
def client(server: Everloom) -> Iterator[httpx.Client]:
    """Without the oracle: 503 is an answer that the reference does not list."""
    headers = {"authorization": f"Bearer {API_KEY}", "openai-beta": "assistants=v2"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as http:
        yield http


class InHand:
    """Runs that are being answered and files that are being read."""

    def __init__(self, http: httpx.Client, upstream: ScriptedUpstream) -> None:
        self._http = http
        upstream.rule(lambda body: Slow(0.1, Says(SAID)))
        upstream.embedding_delay = 0.3
        assistant = an_assistant(http)
        with upstream.holding_embeddings():
            self._runs = [self._run(assistant) for _ in range(RUNS)]
            files = [a_file(http, f"word{number} " * 2000, f"{number}.txt") for number in range(STORES)]
            self._stores = [posted(http, "/vector_stores", {"file_ids": [file]}) for file in files]
            assert upstream.wait(lambda: len(upstream.requests) == RUNS and len(upstream.embeddings) > 0, 60)
            assert "in_progress" in self.states()

    def _run(self, assistant: Json) -> Json:
        thread = a_thread(self._http, "Count.")
        return posted(self._http, f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})

    def states(self) -> list[str]:
        """``completed`` for each run and file that is."""
        states = [self._http.get(run_path(run)).json()["status"] for run in self._runs]
        for store in self._stores:
            for file in self._http.get(f"/vector_stores/{store['id']}/files").json()["data"]:
                states.append(file["status"])
        return states

    def see_through(self) -> None:
        """Wait until all are completed; nothing else may become of any."""
        deadline = time.monotonic() + BACK_SECONDS + SLACK_SECONDS
        while set(states := self.states()) != {"completed"}:
            assert set(states) <= {"queued", "in_progress", "completed"}, states
            assert time.monotonic() < deadline, states
            time.sleep(0.2)
        assert len(states) == RUNS + STORES


def eventually(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def readiness(http: httpx.Client) -> int:
    return http.get(http.base_url.join("/readyz")).status_code


def check_away(http: httpx.Client) -> None:
    """In the middle of an outage: 503 in the platform's form, and not ready."""
    answer = http.post("/threads", json={})
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, None)
    assert "at the moment" in error["message"]
    eventually(lambda: readiness(http) == 503)


def check_log(server: Everloom, began: float) -> None:
    """One line a second at most, and no traceback."""
    seconds = time.monotonic() - began
    lines = [line for line in server.output if "WARNING" in line or "ERROR" in line]
    assert not [line for line in lines if "Traceback" in line]
    assert len(lines) <= seconds + 5, "".join(lines)


def kept(port: int) -> socket.socket:
    """The port, so that nobody else is given it meanwhile; bound and no more, it refuses connections."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", port))
    return reserved


def test_postgresql_is_restarted_under_a_server_and_a_worker(tmp_path: Path) -> None:
    cluster = Cluster()
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.remove)
        upstream = stack.enter_context(ScriptedUpstream())
        settings = {"upstream": upstream.url, "embedding_model": "scripted", "database": cluster.url}
        server = stack.enter_context(Everloom(tmp_path, arguments=("--no-worker",), **settings))
        worker = stack.enter_context(Everloom(tmp_path, command="worker", **settings))
        http = stack.enter_context(client(server))
        hand = InHand(http, upstream)
        began = time.monotonic()
        cluster.stop()
        check_away(http)
        time.sleep(AWAY_SECONDS)
        cluster.start()
        hand.see_through()
        eventually(lambda: readiness(http) == 200)
        check_log(server, began)
        check_log(worker, began)


def test_a_worker_that_starts_while_postgresql_goes_away_works_afterwards(tmp_path: Path) -> None:
    cluster = Cluster()
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.remove)
        upstream = stack.enter_context(ScriptedUpstream())
        upstream.rule(lambda body: Says("Yes."))
        settings = {"upstream": upstream.url, "database": cluster.url}
        server = stack.enter_context(Everloom(tmp_path, arguments=("--no-worker",), **settings))
        http = stack.enter_context(client(server))
        assistant = an_assistant(http)
        run = posted(http, f"/threads/{a_thread(http, 'Hi')['id']}/runs", {"assistant_id": assistant["id"]})
        stack.enter_context(Everloom(tmp_path, command="worker", **settings))
        cluster.stop()  # its engine is still being launched
        time.sleep(1)
        cluster.start()
        eventually(lambda: http.get(run_path(run)).json()["status"] == "completed", BACK_SECONDS + SLACK_SECONDS)


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits can be set on Linux only")
def test_the_disk_is_full_for_a_while(tmp_path: Path) -> None:
    """No byte can be written beyond the fourth kilobyte of any file: to the server it is a disk that takes nothing."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream())
        settings = {"upstream": upstream.url, "embedding_model": "scripted"}
        server = stack.enter_context(Everloom(tmp_path, **settings))
        http = stack.enter_context(client(server))
        hand = InHand(http, upstream)
        began = time.monotonic()
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, hard))
        check_away(http)
        refused = http.post("/files", files={"file": ("a.txt", b"x" * 100_000)}, data={"purpose": "assistants"})
        assert refused.status_code == 503, refused.text
        time.sleep(AWAY_SECONDS)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        hand.see_through()
        eventually(lambda: readiness(http) == 200)
        check_log(server, began)


def test_the_upstream_is_restarted_under_runs_and_files(tmp_path: Path) -> None:
    """It goes in the middle of its answers, its port is closed for a while, and then it says that it is starting."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream())
        server = stack.enter_context(Everloom(tmp_path, upstream=upstream.url, embedding_model="scripted"))
        http = stack.enter_context(client(server))
        hand = InHand(http, upstream)
        began = time.monotonic()
        upstream.close()
        port = urlsplit(upstream.url).port or 0
        nobody = stack.enter_context(kept(port))
        chat = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
        answer = http.post("/chat/completions", json=chat)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
        time.sleep(AWAY_SECONDS)
        nobody.close()
        again = stack.enter_context(ScriptedUpstream(port))
        again.rule(lambda body: Fails(503))
        time.sleep(AWAY_SECONDS)
        again.rule(lambda body: Says(SAID))
        hand.see_through()
        check_log(server, began)


def test_who_waits_for_an_upstream_can_be_cancelled_and_expires_with_a_reason(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream, Everloom(tmp_path, upstream=upstream.url, run_expires=15) as server:
        upstream.rule(lambda body: Fails(503))
        with client(server) as http:
            assistant = an_assistant(http)
            cancelled, expired = (a_run(http, a_thread(http, "Hi"), assistant) for _ in range(2))
            # Until one of them asks again.
            assert upstream.wait(lambda: len(upstream.requests) > 2 * ATTEMPTS, SLACK_SECONDS)
            assert http.get(run_path(cancelled)).json()["status"] == "in_progress"
            posted(http, f"{run_path(cancelled)}/cancel")
            settled(http, cancelled, "cancelled", seconds=3 + SLACK_SECONDS)
            error = settled(http, expired, "expired", seconds=BACK_SECONDS + SLACK_SECONDS)["last_error"]
            assert error["code"] == "server_error"
            assert "The upstream 127.0.0.1 failed (503)" in error["message"]


def test_an_answer_that_broke_off_is_told_anew(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream, Everloom(tmp_path, upstream=upstream.url) as server:
        upstream.script(Breaks(3, Says(SAID)), Breaks(5, Says(SAID)))
        upstream.rule(lambda body: Says(SAID))
        with client(server) as http:
            run = settled(http, a_run(http), seconds=BACK_SECONDS + SLACK_SECONDS)
            assert (run["status"], run["last_error"]) == ("completed", None)
            (step,) = http.get(f"{run_path(run)}/steps").json()["data"]
            said = http.get(f"/threads/{run['thread_id']}/messages").json()["data"][0]
            assert step["step_details"]["message_creation"]["message_id"] == said["id"]
            assert said["content"][0]["text"]["value"] == SAID
            assert len(upstream.requests) == 3


def test_an_answer_that_breaks_off_each_time_ends_its_run(tmp_path: Path) -> None:
    """What it is asked may well be what ends the upstream."""
    with ScriptedUpstream() as upstream, Everloom(tmp_path, upstream=upstream.url) as server:
        upstream.rule(lambda body: Breaks(3, Says(SAID)))
        with client(server) as http:
            run = settled(http, a_run(http), seconds=BACK_SECONDS + SLACK_SECONDS)
            assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")
            assert "broke off its answer" in run["last_error"]["message"]
            assert len(upstream.requests) == MOST_BROKEN


def test_a_model_that_is_away_takes_no_place_of_others(tmp_path: Path) -> None:
    """More runs and files wait for it than a process has places, and none of them ends while the others go on."""
    text = '[[models]]\nid = "dead"\nbackend = "upstream"\nbase_url = "http://127.0.0.1:9/v1"\n'
    (tmp_path / "everloom.toml").write_text(text)
    with ScriptedUpstream() as upstream:
        upstream.rule(lambda body: Says("Yes."))
        settings = {"upstream": upstream.url}
        with Everloom(tmp_path, embedding_model="dead", **settings) as server, client(server) as http:
            old = [posted(http, "/vector_stores")["id"] for _ in range(6)]
        with Everloom(tmp_path, embedding_model="scripted", **settings) as server, client(server) as http:
            dead, healthy = an_assistant(http, model="dead"), an_assistant(http)
            waiting = [a_run(http, a_thread(http, "Hi"), dead) for _ in range(80)]
            for store in old:
                posted(http, f"/vector_stores/{store}/files", {"file_id": a_file(http, "Some words.", "a.txt")})
            time.sleep(3)
            run = a_run(http, a_thread(http, "Hi"), healthy)
            store = posted(http, "/vector_stores", {"file_ids": [a_file(http, "Other words.", "b.txt")]})
            path = f"/vector_stores/{store['id']}"
            assert settled(http, run, seconds=SLACK_SECONDS)["status"] == "completed"
            eventually(lambda: http.get(path).json()["status"] == "completed", SLACK_SECONDS)
            assert {http.get(run_path(each)).json()["status"] for each in waiting} <= {"queued", "in_progress"}
            assert {http.get(f"/vector_stores/{each}").json()["status"] for each in old} == {"in_progress"}
            posted(http, f"{run_path(waiting[0])}/cancel")
            settled(http, waiting[0], "cancelled", seconds=SLACK_SECONDS)


def test_what_ends_its_server_before_a_word_is_not_asked_for_ever(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream, Everloom(tmp_path, upstream=upstream.url) as server:
        upstream.rule(lambda body: Breaks())
        with client(server) as http:
            run = settled(http, a_run(http), seconds=BACK_SECONDS + SLACK_SECONDS)
            assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")


def test_a_message_deleted_while_its_run_waits_ends_the_run(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream, Everloom(tmp_path, upstream=upstream.url) as server:
        upstream.script(Breaks(20, Says(SAID)))
        upstream.rule(lambda body: Fails(503))
        with client(server) as http:
            run = a_run(http)
            path = f"/threads/{run['thread_id']}/messages"
            eventually(lambda: len(http.get(path).json()["data"]) == 2)
            http.delete(f"{path}/{http.get(path).json()['data'][0]['id']}")
            error = settled(http, run, "failed", seconds=10 + SLACK_SECONDS)["last_error"]
            assert "was deleted" in error["message"]


def test_nobody_is_left_behind_where_outputs_come_at_once(tmp_path: Path) -> None:
    """Many clients answer many rounds of calls, faster than the server looks after its runs, for longer than a sweep's
    second: each submit starts the run again, whatever a sweep has made of it meanwhile.
    """
    from concurrent.futures import ThreadPoolExecutor

    from tests.builders import WEATHER
    from tests.replies import Calls

    rounds = 25

    def reply(body: Json) -> Calls | Says:
        done = sum(message["role"] == "tool" for message in body["messages"])
        return Calls(("weather", {"city": f"City {done}"})) if done < rounds else Says("So many.")

    with ScriptedUpstream() as upstream:
        upstream.rule(reply)
        with Everloom(tmp_path, upstream=upstream.url) as server, client(server) as http:
            assistant = an_assistant(http, tools=[WEATHER])

            def drive(_: int) -> str:
                run = posted(http, f"/threads/{a_thread(http, 'Go.')['id']}/runs", {"assistant_id": assistant["id"]})
                changed = time.monotonic()
                while run["status"] in ("queued", "in_progress", "requires_action"):
                    if run["status"] == "requires_action":
                        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
                        outputs = [{"tool_call_id": call["id"], "output": "sun"} for call in calls]
                        run = posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})
                        changed = time.monotonic()
                    assert time.monotonic() - changed < 30, run["status"]
                    run = http.get(run_path(run)).json()
                return str(run["status"])

            with ThreadPoolExecutor(12) as clients:
                assert set(clients.map(drive, range(12))) == {"completed"}
