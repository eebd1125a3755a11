"""What a batch stands on goes away while it is at it: model, disk, input, time. It waits, and goes on."""

import json
import os
import re
import resource
import signal
import sqlite3
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.batches import a_batch, a_line, ended, jsonl, lines_of
from tests.builders import Json, posted
from tests.crash.test_outages import client
from tests.postgres import fresh_database
from tests.replies import Fails, Hangs, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom

AWAY_SECONDS = 4.0
BACK_SECONDS = 120.0
"""In which all goes on; on a machine that is busy with other things, too."""

FLAT_MEGABYTES = 150
"""By which a server's memory may grow over a batch, whatever that has to be read and written."""

INPUT_MEGABYTES = int(os.environ.get("EVERLOOM_TEST_BATCH_MEGABYTES", "60"))


def until(http: httpx.Client, batch: Json, done: int) -> None:
    """Wait until so many lines have an answer."""
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        counts = http.get(f"/batches/{batch['id']}").json()["request_counts"]
        if counts["completed"] + counts["failed"] >= done:
            return
        assert time.monotonic() < deadline, counts
        time.sleep(0.05)


def test_the_upstream_is_restarted_under_a_batch(tmp_path: Path) -> None:
    """It goes in the middle of its answers, its port is closed for a while, and then it says that it is starting."""
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream())
        upstream.rule(lambda body: Slow(0.1))
        server = stack.enter_context(Everloom(tmp_path, upstream=upstream.url))
        http = stack.enter_context(client(server))
        batch = a_batch(http, [a_line(number) for number in range(500)])
        until(http, batch, 50)
        upstream.close()
        time.sleep(AWAY_SECONDS)
        again = stack.enter_context(ScriptedUpstream(urlsplit(upstream.url).port or 0))
        again.rule(lambda body: Fails(503))
        time.sleep(3 * AWAY_SECONDS)  # So long that lines are put off.
        again.rule(lambda body: Says("back"))
        batch = ended(http, batch, BACK_SECONDS)
        assert batch["request_counts"] == {"total": 500, "completed": 500, "failed": 0}
        assert len(lines_of(http, batch["output_file_id"])) == 500


def test_batches_whose_model_is_away_take_no_place_of_others(tmp_path: Path) -> None:
    text = '[[models]]\nid = "dead"\nbackend = "upstream"\nbase_url = "http://127.0.0.1:9/v1"\n'
    (tmp_path / "everloom.toml").write_text(text)
    with ScriptedUpstream() as upstream, Everloom(tmp_path, upstream=upstream.url) as server, client(server) as http:
        waiting = [a_batch(http, [a_line(number, model="dead") for number in range(400)]) for _ in range(5)]
        time.sleep(AWAY_SECONDS)
        batch = ended(http, a_batch(http, [a_line(number) for number in range(200)]), BACK_SECONDS)
        assert batch["request_counts"] == {"total": 200, "completed": 200, "failed": 0}
        for each in waiting:
            found = http.get(f"/batches/{each['id']}").json()
            assert (found["status"], found["request_counts"]["failed"]) == ("in_progress", 0)
            posted(http, f"/batches/{each['id']}/cancel")
        for each in waiting:
            found = ended(http, each, BACK_SECONDS)
            assert found["status"] == "cancelled"
            assert len(lines_of(http, found["error_file_id"])) == 400


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits can be set on Linux only")
def test_the_disk_is_full_when_files_are_to_be_written(tmp_path: Path) -> None:
    """No byte can be written beyond the fourth kilobyte of any file: to the server it is a disk that takes nothing."""
    with ScriptedUpstream() as upstream, Everloom(tmp_path, upstream=upstream.url) as server, client(server) as http:
        upstream.rule(lambda body: Slow(0.2 if body["messages"][0]["content"] == "quick" else 3.0))
        batch = a_batch(http, [a_line(number, "slow" if number > 97 else "quick") for number in range(100)])
        until(http, batch, 98)
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, hard))
        time.sleep(2 * AWAY_SECONDS)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        batch = ended(http, batch, BACK_SECONDS)
        assert batch["request_counts"] == {"total": 100, "completed": 100, "failed": 0}
        assert len(lines_of(http, batch["output_file_id"])) == 100
        assert len(upstream.requests) == 100


def test_a_batch_waits_for_the_bytes_of_its_input(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream, Everloom(tmp_path, upstream=upstream.url) as server, client(server) as http:
        upstream.rule(lambda body: Slow(0.1))
        batch = a_batch(http, [a_line(number) for number in range(900)])
        until(http, batch, 10)
        bytes = tmp_path / "blobs" / batch["input_file_id"]
        bytes.rename(tmp_path / "elsewhere")
        time.sleep(AWAY_SECONDS)
        (tmp_path / "elsewhere").rename(bytes)
        batch = ended(http, batch, BACK_SECONDS)
        assert batch["request_counts"] == {"total": 900, "completed": 900, "failed": 0}


# --- time ------------------------------------------------------------------------------------------------------------


def out_of_time(server: Everloom, batch: Json) -> None:
    """Have the time of a batch be over, as it stands in the database of a server that is down."""
    with closing(sqlite3.connect(server.data / "everloom.db")) as database, database:
        (body,) = database.execute("SELECT body FROM batches WHERE id = ?", (batch["id"],)).fetchone()
        found = json.loads(body)
        found["expires_at"] = int(time.time()) - 1
        database.execute("UPDATE batches SET body = ? WHERE id = ?", (json.dumps(found).encode(), batch["id"]))


@pytest.mark.parametrize("lost", [False, True])
def test_a_batch_whose_time_is_over_keeps_what_is_done(tmp_path: Path, lost: bool) -> None:
    """Also one whose input has been lost meanwhile: then nobody knows what the rest was called."""
    with ScriptedUpstream() as upstream:
        upstream.rule(lambda body: Hangs() if body["messages"][0]["content"] == "hang" else Says("yes"))
        lines = [a_line(number, "quick" if number < 9 else "hang") for number in range(100)]
        with Everloom(tmp_path, upstream=upstream.url) as server, client(server) as http:
            batch = a_batch(http, lines)
            until(http, batch, 9)
            server.kill()
        out_of_time(server, batch)
        if lost:
            (tmp_path / "blobs" / batch["input_file_id"]).unlink()
        asked = len(upstream.requests)
        with Everloom(tmp_path, upstream=upstream.url) as server, client(server) as http:
            batch = ended(http, batch, BACK_SECONDS)
            assert batch["status"] == "expired"
            assert batch["expired_at"] >= batch["finalizing_at"]
            assert batch["request_counts"] == {"total": 100, "completed": 9, "failed": 0}
            assert set(lines_of(http, batch["output_file_id"])) == {f"line-{number}" for number in range(9)}
            rest = lines_of(http, batch["error_file_id"])
            assert len(rest) == (0 if lost else 91)
            assert {(line["error"]["code"], line["response"]) for line in rest.values()} <= {("batch_expired", None)}
            refused = http.post(f"/batches/{batch['id']}/cancel")
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_batch_status")
        assert len(upstream.requests) == asked


@pytest.mark.parametrize("jump", [signal.SIGUSR1, signal.SIGUSR2], ids=["forwards", "back"])
def test_a_clock_that_jumps_ends_no_batch(tmp_path: Path, jump: signal.Signals) -> None:
    with (
        ScriptedUpstream() as upstream,
        Everloom(tmp_path, module="tests.crash.jumping", upstream=upstream.url) as server,
        client(server) as http,
    ):
        upstream.rule(lambda body: Slow(0.3))
        batch = a_batch(http, [a_line(number) for number in range(400)])
        until(http, batch, 10)
        os.kill(server.pid, jump)
        batch = ended(http, batch, BACK_SECONDS)
        assert batch["request_counts"] == {"total": 400, "completed": 400, "failed": 0}


# --- size ------------------------------------------------------------------------------------------------------------


def megabytes(server: Everloom, name: str) -> int:
    """What the operating system says of a process's memory: ``VmRSS`` now, ``VmHWM`` at the most."""
    found = re.search(rf"^{name}:\s*(\d+) kB", Path(f"/proc/{server.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="memory of another process is told by Linux")
def test_a_large_file_is_worked_on_in_little_memory(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream, Everloom(tmp_path, upstream=upstream.url) as server, client(server) as http:
        upstream.rule(lambda body: Says("yes"))
        ended(http, a_batch(http, [a_line(1)]), BACK_SECONDS)
        before = megabytes(server, "VmRSS")
        count = INPUT_MEGABYTES * 5
        batch = ended(http, a_batch(http, [a_line(number, "x" * 200_000) for number in range(count)]), 5 * BACK_SECONDS)
        assert batch["request_counts"] == {"total": count, "completed": count, "failed": 0}
        assert megabytes(server, "VmHWM") - before < FLAT_MEGABYTES


@pytest.mark.skipif(sys.platform != "linux", reason="memory of another process is told by Linux")
def test_long_answers_become_a_file_in_little_memory(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream, Everloom(tmp_path, upstream=upstream.url) as server, client(server) as http:
        said = "word " * 1_000_000
        upstream.rule(lambda body: Says(said if "long" in body["messages"][0]["content"] else "short"))
        ended(http, a_batch(http, [a_line(1)]), BACK_SECONDS)
        before = megabytes(server, "VmRSS")
        content = jsonl([a_line(number, "long" if number >= 60 else "short") for number in range(100)])
        batch = ended(http, a_batch(http, content), 2 * BACK_SECONDS)
        assert batch["request_counts"] == {"total": 100, "completed": 100, "failed": 0}
        assert http.get(f"/files/{batch['output_file_id']}").json()["bytes"] > 200_000_000
        assert megabytes(server, "VmHWM") - before < 2 * FLAT_MEGABYTES


def answers_of(server: Everloom) -> float:
    """How many answers of models a process has taken."""
    text = httpx.get(f"{server.url.removesuffix('/v1')}/metrics", timeout=30).text
    found = re.findall(
        r'^everloom_model_requests_total\{model="gpt-4o",outcome="completed"\} (\S+)$', text, re.MULTILINE
    )
    return sum(map(float, found))


def test_two_servers_share_a_batch(tmp_path: Path) -> None:
    database = fresh_database()
    with ScriptedUpstream() as upstream:
        upstream.rule(lambda body: Slow(0.1, Says("fine")))
        settings = {"upstream": upstream.url, "database": database}
        with (
            Everloom(tmp_path, **settings) as one,
            Everloom(tmp_path, **settings) as other,
            client(one) as http,
        ):
            batch = ended(http, a_batch(http, [a_line(number) for number in range(1200)]), 120)
            assert batch["request_counts"] == {"total": 1200, "completed": 1200, "failed": 0}
            assert answers_of(one) + answers_of(other) == 1200
            assert min(answers_of(one), answers_of(other)) >= 100
