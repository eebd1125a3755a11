"""``everloom batches`` against a running server, as somebody types it in another terminal."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web

from tests.batches import a_batch, a_line, ended, jsonl
from tests.cli.programs import environment, everloom, running
from tests.replies import Fails, Hangs, Says
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, API_KEY, Everloom
from tests.servers import http as client_of


@pytest.fixture
def known(server: Everloom) -> dict[str, str]:
    """The settings of somebody beside the server: where it is (its port alone is unusual), and a key."""
    return {"port": re.findall(r":(\d+)/", server.url)[0], "api_key": API_KEY}


def a_file(folder: Path, *lines: object, name: str = "requests.jsonl") -> str:
    file = folder / name
    file.write_bytes(jsonl(lines))  # type: ignore[arg-type]
    return str(file)


def id_in(text: str) -> str:
    return str(re.findall(r"batch_\w+", text)[0])


def test_files_that_cannot_be_written_are_refused_before_anything_is_asked(
    known: dict[str, str], upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    file = a_file(tmp_path, a_line(1))
    kept = Path(file).read_bytes()
    for targets, why in (
        (("--output", file), "is the file of requests"),
        (("--errors", str(tmp_path / "." / "requests.jsonl")), "is the file of requests"),
        (("--output", str(tmp_path)), "is a folder"),
        (("--output", str(tmp_path / "same"), "--errors", str(tmp_path / "same")), "cannot both be written"),
    ):
        done = everloom(tmp_path, "batches", "create", file, *targets, **known)
        assert done.returncode == 1
        assert why in done.stderr
    assert Path(file).read_bytes() == kept
    assert not upstream.requests
    for verb in ("show", "watch", "cancel", "retry"):
        done = everloom(tmp_path, "batches", verb, "", **known)
        assert done.returncode == 1
        assert done.stderr.startswith("everloom: the id of a batch is missing")


def test_errors_of_another_batch_are_not_taken_for_its_own(
    known: dict[str, str], upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    errors = tmp_path / "errors.jsonl"
    errors.write_text("of yesterday")
    done = everloom(tmp_path, "batches", "create", a_file(tmp_path, a_line(1)), "--errors", str(errors), **known)
    assert done.returncode == 0, done.stderr
    assert errors.read_text() == ""
    answers = tmp_path / "answers.jsonl"
    answers.write_text("of yesterday")
    done = everloom(tmp_path, "batches", "create", a_file(tmp_path, {}), "--output", str(answers), **known)
    assert done.returncode == 1
    assert "left as it was" in done.stderr
    assert answers.read_text() == "of yesterday"


def test_a_batch_is_made_watched_and_its_answers_fetched(
    known: dict[str, str], upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.rule(lambda body: Says(f"You said {body['messages'][0]['content']}"))
    file = a_file(tmp_path, *(a_line(number, f"word{number}") for number in range(30)))
    more = ("--metadata", "night=1", "--metadata", "a=b=c", "--output", str(tmp_path / "answers.jsonl"))
    done = everloom(tmp_path, "batches", "create", file, "--watch", *more, **known)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^batch_\w+ +completed +/v1/chat/completions +gpt-4o +30/30 +0 ", done.stdout, re.MULTILINE)
    assert f"answers: {tmp_path / 'answers.jsonl'}\n" in done.stdout
    # Beside a pipe there is no bar, but a line for each state.
    assert done.stderr.splitlines()[-1] == f"{id_in(done.stdout)} completed"
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert {answer["custom_id"] for answer in answers} == {f"line-{number}" for number in range(30)}
    assert not list(tmp_path.glob(".*.part"))
    shown = everloom(tmp_path, "batches", "show", id_in(done.stdout), "--json", **known)
    batch = json.loads(shown.stdout)
    assert (batch["id"], batch["status"]) == (id_in(done.stdout), "completed")
    assert batch["metadata"] == {"night": "1", "a": "b=c"}


def test_what_has_failed_is_told_and_asked_again(
    known: dict[str, str], upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.rule(lambda body: Fails(400, "bad words") if "bad" in body["messages"][0]["content"] else Says("fine"))
    file = a_file(tmp_path, a_line(1, "bad"), a_line(2, "good"))
    errors = tmp_path / "errors.jsonl"
    done = everloom(tmp_path, "batches", "create", file, "--errors", str(errors), **known)
    assert done.returncode == 1
    again = (
        f"everloom: 1 of 2 lines failed; to ask those lines again: everloom batches retry {id_in(done.stdout)} --watch"
    )
    assert done.stderr.splitlines()[-1] == again
    assert [json.loads(line)["custom_id"] for line in errors.read_text().splitlines()] == ["line-1"]
    upstream.rule(lambda body: Says("better"))
    done = everloom(tmp_path, "batches", "retry", id_in(done.stdout), "--watch", "--json", **known)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    nothing = everloom(tmp_path, "batches", "retry", json.loads(done.stdout)["id"], **known)
    assert nothing.returncode == 1
    assert nothing.stderr == "everloom: the server refused: No request of this batch has failed.\n"


def test_a_bad_file_is_told_line_by_line(known: dict[str, str], upstream: ScriptedUpstream, tmp_path: Path) -> None:
    file = a_file(tmp_path, a_line(1), a_line(2) | {"url": "/v1/embeddings"}, a_line(1))
    done = everloom(tmp_path, "batches", "create", file, "--watch", **known)
    assert done.returncode == 1
    assert "everloom: the batch is failed" in done.stderr
    assert re.search(r"^LINE +CODE +PARAM +MESSAGE", done.stdout, re.MULTILINE)
    assert re.search(r"^2 +url_mismatch +url +The URL provided", done.stdout, re.MULTILINE)
    assert re.search(r"^3 +duplicate_custom_id +custom_id +The custom_id 'line-1'", done.stdout, re.MULTILINE)


def test_batches_are_listed_and_cancelled(
    server: Everloom, known: dict[str, str], upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.rule(lambda body: Hangs())
    made = [everloom(tmp_path, "batches", "create", a_file(tmp_path, a_line(1)), **known) for _ in range(3)]
    assert [done.returncode for done in made] == [0, 0, 0]
    ids = [id_in(done.stdout) for done in made]
    assert made[0].stdout.splitlines()[-1] == f"To watch it: everloom batches watch {ids[0]}"
    listed = everloom(tmp_path, "batches", "list", "--limit", "2", **known).stdout.splitlines()
    assert listed[0].split()[:3] == ["ID", "STATUS", "ENDPOINT"]
    assert [line.split()[0] for line in listed[1:]] == [ids[2], ids[1]]
    told = json.loads(everloom(tmp_path, "batches", "list", "--limit", "3", "--json", **known).stdout)
    assert [batch["id"] for batch in told] == ids[::-1]
    for id in ids:
        cancelled = everloom(tmp_path, "batches", "cancel", id, **known)
        assert (cancelled.returncode, cancelled.stderr) == (0, "")
        assert "cancel" in cancelled.stdout
    with client_of(server) as http:
        assert ended(http, {"id": ids[0]})["status"] == "cancelled"
    watched = everloom(tmp_path, "batches", "watch", ids[0], **known)
    assert watched.returncode == 1
    assert (
        f"everloom: the batch is cancelled; to ask those lines again: everloom batches retry {ids[0]}" in watched.stderr
    )


def test_lists_are_read_over_pages(server: Everloom, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    key = server.command("keys", "create", "--project", f"many {time.time_ns()}").strip()
    with client_of(server, key) as http:
        made = [a_batch(http, b"")["id"] for _ in range(103)]
    asked = ("batches", "list", "--url", server.url, "--json", "--limit")
    assert [batch["id"] for batch in json.loads(everloom(tmp_path, *asked, "102", api_key=key).stdout)] == made[:0:-1]
    assert len(json.loads(everloom(tmp_path, *asked, "500", api_key=key).stdout)) == 103


def test_an_interrupted_watch_leaves_the_batch_alone(
    server: Everloom, known: dict[str, str], upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.rule(lambda body: Hangs())
    command = [sys.executable, "-m", "everloom", "batches", "create", a_file(tmp_path, a_line(1)), "--watch"]
    process = subprocess.Popen(
        [*command, "--url", server.url],
        env=environment(tmp_path, **known),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    while "in_progress" not in first:
        first = process.stderr.readline()
        assert first
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    id = id_in(first)
    watch = f"everloom batches watch {id} --url {server.url}"
    assert said.splitlines()[-1] == f"everloom: {id} goes on by itself; to watch it again: {watch}"
    assert process.returncode == 130
    with client_of(server) as http:
        assert http.get(f"/batches/{id}").json()["status"] == "in_progress"
        http.post(f"/batches/{id}/cancel")
        ended(http, {"id": id})


def test_a_watch_waits_for_a_server_that_is_away(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.rule(lambda body: Hangs())
    settings = {"upstream": upstream.url, "api_key": API_KEY, "admin_key": ADMIN_KEY}
    with running(tmp_path, "serve", "--port", "0", **settings) as program:
        url = program.until("everloom: ready on ")
        command = [sys.executable, "-m", "everloom", "batches", "create", a_file(tmp_path, a_line(1)), "--watch"]
        process = subprocess.Popen(
            [*command, "--url", url],
            env=environment(tmp_path, api_key=API_KEY),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(process, "in_progress")
    try:
        until(process, "waiting for the server")
        upstream.rule(lambda body: Says("at last"))
        with running(tmp_path, "serve", "--port", re.findall(r":(\d+)/", url)[0], **settings):
            said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert " 1/1 " in said
    finally:
        process.kill()
        process.communicate()


def until(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"{words!r} was not said")


def test_on_a_terminal_there_is_a_bar(known: dict[str, str], upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.rule(lambda body: Says("one two", prompt_tokens=3))
    command = [sys.executable, "-m", "everloom", "batches", "create", a_file(tmp_path, a_line(1), a_line(2)), "--watch"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command,
        env=environment(tmp_path, **known) | {"TERM": "xterm", "COLUMNS": "160"},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                block = os.read(ours, 65_536)
            except OSError:  # Nobody has the other end any more.
                break
            if not block:
                break
            seen += block
    os.close(ours)
    assert process.returncode == 0
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()).split("completed")[-1]
    assert re.search(r"2/2 0 failed 10 tokens", last), last


def test_the_key_may_be_the_official_sdks(server: Everloom, known: dict[str, str], tmp_path: Path) -> None:
    def asked(*arguments: str, environ: dict[str, str], **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "everloom", "batches", "list", *arguments],
            env=environment(tmp_path, **settings) | environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    official = {"OPENAI_API_KEY": API_KEY, "OPENAI_BASE_URL": server.url}
    assert asked(environ=official).returncode == 0
    assert asked(environ={"OPENAI_API_KEY": API_KEY, "OPENAI_BASE_URL": ""}, port=known["port"]).returncode == 0
    # Whoever that variable names gets no key that was not meant for them.
    elsewhere = official | {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    assert asked(environ=elsewhere, **known).returncode == 0
    refused = asked(environ=elsewhere)
    assert refused.returncode == 1
    assert refused.stderr.startswith("everloom: http://127.0.0.1:1/v1 cannot be asked: ")
    assert refused.stderr.endswith("is 'everloom serve' running?\n")
    nowhere = asked("--url", "127.0.0.1:1/v1", **known, environ={})
    assert nowhere.stderr == "everloom: '127.0.0.1:1/v1' is not an http:// or https:// URL\n"
    none = asked(environ={"OPENAI_API_KEY": "", "OPENAI_BASE_URL": server.url})
    assert none.returncode == 1
    assert "EVERLOOM_API_KEY or OPENAI_API_KEY" in none.stderr
    wrong = asked("--key", "sk-nobody", environ={}, port=known["port"])
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (1, False)
    assert "Incorrect API key provided" in wrong.stderr


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (web.Response(text="<h1>Not here</h1>", status=404), "answered 404 with something that is no JSON object"),
        (web.Response(body=b"[1, 2]", content_type="application/json"), "answered 200 with something that is no JSON"),
        (web.json_response({"detail": "no"}, status=403), "the server refused: 403"),
        (web.json_response({"error": {"message": "\x1b[31mred"}}, status=400), "the server refused: "),
    ],
)
def test_another_server_is_told_in_one_line(
    upstream: ScriptedUpstream, tmp_path: Path, answer: web.Response, said: str
) -> None:
    upstream.serve("/batches/batch_1/cancel", lambda request: answer)
    done = everloom(tmp_path, "batches", "cancel", "batch_1", "--url", upstream.url, "--key", "sk-x")
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr


def test_what_cannot_be_is_said_before_anything_is_made(
    server: Everloom, known: dict[str, str], tmp_path: Path
) -> None:
    file = a_file(tmp_path, a_line(1))
    with client_of(server) as http:
        before = {each["id"] for each in http.get("/files", params={"limit": 10_000}).json()["data"]}
        for wrong in (
            (file, "--metadata", "nothing"),
            (file, "--endpoint", "/v1/audio/speech"),
            (str(tmp_path / "absent.jsonl"),),
            (str(tmp_path),),
        ):
            done = everloom(tmp_path, "batches", "create", *wrong, **known)
            assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
        nowhere = everloom(tmp_path, "batches", "create", file, "--output", str(tmp_path / "no" / "a"), **known)
        assert nowhere.returncode == 1
        assert "there is no folder" in nowhere.stderr
        # Metadata that the server refuses: the file that was uploaded for it goes, too.
        long = everloom(tmp_path, "batches", "create", file, "--metadata", f"a={'x' * 600}", **known)
        assert long.returncode == 1
        assert "the server refused: " in long.stderr
        text = everloom(tmp_path, "batches", "create", a_file(tmp_path, a_line(1), name="requests.txt"), **known)
        assert "the server refused: Invalid file format for Batch API. Must be .jsonl" in text.stderr
        assert {each["id"] for each in http.get("/files", params={"limit": 10_000}).json()["data"]} == before
    gone = everloom(tmp_path, "batches", "show", "../batches", **known)
    assert gone.returncode == 1
    assert gone.stderr.startswith("everloom: the server refused: ")
