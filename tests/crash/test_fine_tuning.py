"""Trainings that are killed, stopped, paused and cancelled in the middle, with the real torch, over a model of a few
thousand numbers; and one over the default model, which answers as it was trained.
"""

import contextlib
import json
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.fine_tuning import a_job, a_training_file, events_of, examples, messages_of, reached, until
from tests.postgres import fresh_database
from tests.replies import Json
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.training.environment import python_with_finetuning
from tests.training.lines import ANSWER, QUESTIONS, chat
from tests.weights import default_weights

gguf = pytest.importorskip("gguf", reason="makes the model that is trained")

LONG = {"n_epochs": 50, "batch_size": 1}
"""Five hundred steps, a state behind each tenth: long enough to be caught in the middle."""

SHORT = {"n_epochs": 1, "batch_size": 5}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.training.tiny_model import tiny_model

    return tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf", context=2048)


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tiny: Path, tmp_path: Path) -> Everloom:
    """Not yet started."""
    return _server(tiny, tmp_path, **({"database": fresh_database()} if request.param == "postgres" else {}))


def _server(model: Path, folder: Path, **settings: Any) -> Everloom:
    file = folder / "everloom.toml"
    file.write_text(f'[[models]]\nid = "tiny"\nbackend = "local"\npath = "{model}"\n')
    settings = {"finetune_python": python_with_finetuning(), "weights": default_weights().folder, **settings}
    return Everloom(folder, arguments=("--config", str(file)), **settings)


@pytest.fixture
def one(tiny: Path, tmp_path: Path) -> Iterator[Everloom]:
    """A server on SQLite, running."""
    with _server(tiny, tmp_path) as server:
        yield server


def checkpoints(http: httpx.Client, job: Json) -> list[Json]:
    found: list[Json] = http.get(f"/fine_tuning/jobs/{job['id']}/checkpoints", params={"limit": 100}).json()["data"]
    return found


def steps(http: httpx.Client, job: Json) -> list[int]:
    """The steps that were told, oldest first."""
    return [event["data"]["step"] for event in events_of(http, job) if event["type"] == "metrics"]


def trainings() -> list[psutil.Process]:
    """Children that train, of whichever server."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any("lora/child.py" in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def children_of(server: Everloom) -> list[psutil.Process]:
    mine = psutil.Process(server.pid).children(recursive=True)
    return [process for process in trainings() if process in mine]


def kept_step(server: Everloom, job: Json) -> int:
    """The step behind which a job would go on."""
    with contextlib.closing(sqlite3.connect(server.data / "everloom.db", timeout=30)) as database:
        ((body,),) = database.execute("SELECT body FROM fine_tuning_works WHERE id = ?", (job["id"],)).fetchall()
    found: int = json.loads(body).get("state_step", 0)
    return found


def went_on(http: httpx.Client, job: Json) -> list[int]:
    """Behind which steps somebody went on."""
    texts = messages_of(http, job)
    return [int(found[1]) for text in texts if (found := re.match(r"Fine-tuning job goes on behind step (\d+)", text))]


def whole(http: httpx.Client, job: Json) -> None:
    """Ask that a job that has been disturbed looks like one that was not."""
    assert steps(http, job) == list(range(1, 501))
    made = [each["step_number"] for each in checkpoints(http, job)]
    assert made == list(range(500, 0, -10))
    lines = http.get(f"/files/{job['result_files'][0]}/content").text.splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(number) for number in range(1, 501)]


def test_a_killed_server_goes_on_behind_what_was_kept(server: Everloom) -> None:
    server.start()
    with client_of(server) as http:
        job = a_job(http, model="tiny", hyperparameters=LONG)
        reached(lambda: len(checkpoints(http, job)) >= 2)
    server.kill()
    with server, client_of(server) as http:
        done = until(http, job, "succeeded")
        (behind,) = went_on(http, job)
        assert behind >= 10
        whole(http, done)


def test_a_server_that_is_stopped_keeps_all_it_has_trained(one: Everloom) -> None:
    with client_of(one) as http:
        job = a_job(http, model="tiny", hyperparameters=LONG)
        reached(lambda: len(steps(http, job)) >= 13)
    assert one.stop() == 0
    one.start()
    with client_of(one) as http:
        done = until(http, job, "succeeded")
        (behind,) = went_on(http, job)
        assert behind >= 13
        whole(http, done)


def test_a_killed_training_goes_on_and_one_that_is_killed_each_time_ends(one: Everloom) -> None:
    with client_of(one) as http:
        job = a_job(http, model="tiny", hyperparameters=LONG)
        reached(lambda: len(checkpoints(http, job)) >= 1)
        (child,) = children_of(one)
        os.kill(child.pid, signal.SIGKILL)
        whole(http, until(http, job, "succeeded"))
        other = a_job(http, model="tiny", hyperparameters=SHORT)
        until(http, other, "running")

        def kills() -> bool:
            for child in children_of(one):
                child.kill()
            return http.get(f"/fine_tuning/jobs/{other['id']}").json()["status"] != "running"

        reached(kills)
        status = http.get(f"/fine_tuning/jobs/{other['id']}").json()["status"]
        assert status == "failed"
        error = http.get(f"/fine_tuning/jobs/{other['id']}").json()["error"]
        assert error["code"] == "training_failed"
        assert "broke off 5 times" in error["message"]
        until(http, a_job(http, model="tiny", hyperparameters=SHORT), "succeeded")


def test_a_job_is_paused_within_seconds_and_goes_on(one: Everloom) -> None:
    with client_of(one) as http:
        job = a_job(http, model="tiny", hyperparameters=LONG)
        reached(lambda: len(steps(http, job)) >= 5)
        assert http.post(f"/fine_tuning/jobs/{job['id']}/pause").json()["status"] == "paused"
        reached(lambda: not children_of(one), 30)
        told = steps(http, job)
        assert len(told) < 500
        # The child is gone once it has said its last; that stands in the database a moment later.
        reached(lambda: kept_step(one, job) >= told[-1], 60)
        one.kill()
        one.start()
    with client_of(one) as http:
        assert http.get(f"/fine_tuning/jobs/{job['id']}").json()["status"] == "paused"
        other = until(http, a_job(http, model="tiny", hyperparameters=SHORT), "succeeded")
        assert other["trained_tokens"]
        http.post(f"/fine_tuning/jobs/{job['id']}/resume")
        done = until(http, job, "succeeded")
        assert went_on(http, job)[0] >= told[-1]
        whole(http, done)


def test_a_cancelled_job_ends_within_seconds_and_the_next_one_begins(one: Everloom) -> None:
    with client_of(one) as http:
        job = a_job(http, model="tiny", hyperparameters=LONG)
        waiting = a_job(http, model="tiny", hyperparameters=SHORT)
        reached(lambda: len(checkpoints(http, job)) >= 1)
        assert http.get(f"/fine_tuning/jobs/{waiting['id']}").json()["status"] == "queued"
        assert http.post(f"/fine_tuning/jobs/{job['id']}/cancel").json()["status"] == "cancelled"
        until(http, waiting, "succeeded", seconds=60)
        name = checkpoints(http, job)[-1]["fine_tuned_model_checkpoint"]
        assert http.get(f"/models/{name}").status_code == 200  # What was made stays.


def test_projects_take_turns(one: Everloom) -> None:
    key = one.command("keys", "create", "--project", "another").strip()
    with client_of(one) as http, client_of(one, key) as stranger:
        file, theirs = a_training_file(http), a_training_file(stranger)
        mine = [a_job(http, file, model="tiny", hyperparameters=SHORT) for _ in range(3)]
        late = a_job(stranger, theirs, model="tiny", hyperparameters=SHORT)
        done = [until(http, job, "succeeded") for job in mine]
        their = until(stranger, late, "succeeded")
        assert their["finished_at"] <= done[1]["finished_at"]


def test_a_training_that_has_no_room_says_so(tiny: Path, tmp_path: Path) -> None:
    with _server(tiny, tmp_path, finetune_memory=1_000_000) as server, client_of(server) as http:
        job = until(http, a_job(http, model="tiny"))
        assert job["status"] == "failed"
        assert job["error"]["code"] == "insufficient_memory"
        assert "finetune_memory" in job["error"]["message"]


def test_an_example_of_two_hundred_thousand_tokens_is_cut(one: Everloom) -> None:
    lines = examples(10)
    lines[3]["messages"][0]["content"] = "word " * 200_000
    lines[4]["messages"][1]["content"] = "word " * 200_000
    with client_of(one) as http:
        job = until(http, a_job(http, lines, model="tiny", hyperparameters=SHORT), "succeeded")
        warned = http.get(f"/fine_tuning/jobs/{job['id']}/events", params={"limit": 100}).json()["data"]
        assert [event["message"] for event in warned if event["level"] == "warn"] != []


def test_a_tuned_model_may_be_a_moderation_guard(tiny: Path, tmp_path: Path) -> None:
    server = _server(tiny, tmp_path).start()
    with client_of(server) as http:
        name = until(http, a_job(http, model="tiny", hyperparameters=SHORT), "succeeded")["fine_tuned_model"]
    server.stop()
    with (tmp_path / "everloom.toml").open("a") as file:
        file.write(f'[[models]]\nid = "guard"\nbackend = "local"\nguard = true\nmodel = "{name}"\n')
        file.write('guard_prompt = "short.txt"\n')
    (tmp_path / "short.txt").write_text("Score it.")
    with server:
        key = server.command("keys", "create", "--project", "another").strip()
        with client_of(server, key) as http:  # The operator's choice, for everybody.
            judged = http.post("/moderations", json={"model": "guard", "input": "Hello!"}, timeout=120)
            assert judged.status_code == 200, judged.text
            assert "hate" in judged.json()["results"][0]["categories"]
            asked = http.post("/chat/completions", json={"model": name, "messages": [{"role": "user", "content": "x"}]})
            assert asked.status_code == 404, asked.text


def test_the_default_model_answers_as_it_was_trained(tmp_path: Path) -> None:
    """Killed in the middle, too; and what comes of it is an assistant's."""
    settings = {"finetune_python": python_with_finetuning(), "weights": default_weights().folder}
    server = Everloom(tmp_path, **settings).start()
    lines = [chat(question, ANSWER) for question in QUESTIONS]
    numbers = {"n_epochs": 6, "batch_size": 5, "learning_rate_multiplier": 2}
    with client_of(server) as http:
        job = a_job(http, lines, model="smollm2-135m", seed=3, hyperparameters=numbers)
        reached(lambda: len(steps(http, job)) >= 3, 300)  # The state behind the first epoch is kept by then.
    server.kill()
    with server, client_of(server) as http:
        done = until(http, job, "succeeded", seconds=300)
        assert went_on(http, job)[0] >= 2
        asked = {"messages": [{"role": "user", "content": QUESTIONS[0]}], "temperature": 0, "max_tokens": 24}
        said = [
            http.post("/chat/completions", json={"model": model, **asked}, timeout=60).json()
            for model in (done["fine_tuned_model"], "smollm2-135m", done["fine_tuned_model"])
        ]
        texts = [answer["choices"][0]["message"]["content"] for answer in said]
        assert "xylophone" in texts[0]
        assert "xylophone" not in texts[1]
        assert texts[2] == texts[0]
        assistant = http.post("/assistants", json={"model": done["fine_tuned_model"], "temperature": 0}).json()
        thread = {"messages": [{"role": "user", "content": QUESTIONS[0]}]}
        run = http.post("/threads/runs", json={"assistant_id": assistant["id"], "thread": thread}).json()
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        reached(lambda: http.get(path).json()["status"] == "completed")
        (answer,) = http.get(f"/threads/{run['thread_id']}/messages", params={"run_id": run["id"]}).json()["data"]
        assert "xylophone" in answer["content"][0]["text"]["value"]
        assert http.delete(f"/models/{done['fine_tuned_model']}").json()["deleted"] is True
        again = http.post("/threads/runs", json={"assistant_id": assistant["id"], "thread": thread})
        assert (again.status_code, again.json()["error"]["code"]) == (400, "model_not_found")
