"""``everloom fine-tune`` and ``everloom fine-tuning`` against a running server, as somebody types them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloom.cli.fine_tuning_progress import drawn
from tests.batches import jsonl
from tests.cli.programs import everloom
from tests.fine_tuning import BASE, a_job, an_example, examples, fine_tuning_upstream, tuning_server, until
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of
from tests.training.fine_tuning_server import FineTuningServer


@pytest.fixture(scope="module")
def trainer() -> Iterator[FineTuningServer]:
    with fine_tuning_upstream() as server:
        yield server


@pytest.fixture(scope="module")
def tuning(trainer: FineTuningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    with tuning_server(tmp_path_factory.mktemp("tuning"), trainer) as server:
        yield server


@pytest.fixture
def known(tuning: Everloom, trainer: FineTuningServer) -> dict[str, str]:
    """The settings of somebody beside the server: where it is, and a key."""
    trainer.stuck = False
    return {"port": re.findall(r":(\d+)/", tuning.url)[0], "api_key": API_KEY}


def a_file(folder: Path, *lines: object) -> str:
    file = folder / "examples.jsonl"
    file.write_bytes(jsonl(lines or examples()))  # type: ignore[arg-type]
    return str(file)


def id_in(text: str) -> str:
    return str(re.findall(r"ftjob-\w+", text)[0])


def test_a_model_is_made_and_watched(known: dict[str, str], tmp_path: Path) -> None:
    numbers = ("--epochs", "2", "--batch-size", "1", "--learning-rate-multiplier", "1.5", "--seed", "7")
    more = ("--suffix", "mine", *numbers, "--validation", a_file(tmp_path))
    done = everloom(tmp_path, "fine-tune", a_file(tmp_path), "--model", BASE, "--watch", *more, **known)
    assert done.returncode == 0, done.stderr
    assert "10 chat examples, about " in done.stderr
    assert re.search(r"^Step 1/20: training loss=1.00$", done.stderr, re.MULTILINE)
    assert re.search(rf"^Ask it by its name: ft:{BASE}:everloom:mine:\w+$", done.stdout, re.MULTILINE)
    shown = everloom(tmp_path, "fine-tuning", "show", id_in(done.stdout), "--json", **known)
    job = json.loads(shown.stdout)
    assert (job["status"], job["seed"], job["hyperparameters"]["n_epochs"]) == ("succeeded", 7, 2)
    assert job["hyperparameters"]["learning_rate_multiplier"] == 1.5
    told = everloom(tmp_path, "fine-tuning", "show", id_in(done.stdout), **known).stdout
    assert ":ckpt-step-2" in told
    listed = everloom(tmp_path, "fine-tuning", "list", "--json", **known)
    assert job["id"] in {each["id"] for each in json.loads(listed.stdout)}


def test_examples_are_looked_at_before_anything_is_uploaded(
    known: dict[str, str], trainer: FineTuningServer, tmp_path: Path
) -> None:
    before = len(trainer.jobs)
    bad = an_example(1)
    bad["messages"][1]["weight"] = 2
    for lines, why in (
        ([*examples(), bad], "  Line 11: Message 1: 'weight' has to be 0 or 1."),
        (examples(9), "  at least 10 examples are needed"),
    ):
        done = everloom(tmp_path, "fine-tune", a_file(tmp_path, *lines), "--model", BASE, **known)
        assert done.returncode == 1
        assert why in done.stderr.splitlines()
        assert done.stderr.splitlines()[-1] == "everloom: nothing was uploaded: the examples have faults"
    assert len(trainer.jobs) == before
    checked = everloom(tmp_path, "fine-tune", a_file(tmp_path), "--model", BASE, "--check", **known)
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("flag", ["--learning-rate-multiplier", "--beta"])
def test_a_number_that_is_none_is_not_sent(known: dict[str, str], tmp_path: Path, flag: str) -> None:
    done = everloom(tmp_path, "fine-tune", a_file(tmp_path), "--model", BASE, flag, "nan", **known)
    assert done.returncode == 2
    assert f"Invalid value for '{flag}'" in done.stderr


def test_what_the_server_refuses_leaves_no_file(known: dict[str, str], tuning: Everloom, tmp_path: Path) -> None:
    with client_of(tuning) as http:
        before = http.get("/files").json()["data"]
        done = everloom(tmp_path, "fine-tune", a_file(tmp_path), "--model", "nobody", **known)
        assert done.returncode == 1
        assert "everloom: the server refused: Model nobody is not available for fine-tuning" in done.stderr
        assert http.get("/files").json()["data"] == before


def test_a_job_is_paused_resumed_watched_and_cancelled(
    known: dict[str, str], tuning: Everloom, trainer: FineTuningServer, tmp_path: Path
) -> None:
    trainer.stuck = True
    made = everloom(tmp_path, "fine-tune", a_file(tmp_path), "--model", BASE, **known)
    assert made.returncode == 0, made.stderr
    job = {"id": id_in(made.stdout)}
    assert made.stdout.splitlines()[-1] == f"To watch it: everloom fine-tuning watch {job['id']}"
    with client_of(tuning) as http:
        until(http, job, "running")
        paused = everloom(tmp_path, "fine-tuning", "pause", job["id"], "--json", **known)
        assert json.loads(paused.stdout)["status"] == "paused"
        resumed = everloom(tmp_path, "fine-tuning", "resume", job["id"], **known)
        assert " queued " in resumed.stdout
        trainer.stuck = False
        watched = everloom(tmp_path, "fine-tuning", "watch", job["id"], **known)
        assert watched.returncode == 0, watched.stderr
        trainer.stuck = True
        other = until(http, a_job(http), "running")
        cancelled = everloom(tmp_path, "fine-tuning", "cancel", other["id"], **known)
        assert " cancelled " in cancelled.stdout
        again = everloom(tmp_path, "fine-tuning", "watch", other["id"], **known)
        assert again.returncode == 1
        assert again.stderr.splitlines()[-1] == "everloom: the job is cancelled"
    for verb in ("show", "watch", "cancel", "pause", "resume"):
        refused = everloom(tmp_path, "fine-tuning", verb, " ", **known)
        assert refused.returncode == 1
        assert refused.stderr.startswith("everloom: the id of a job is missing")


def test_the_loss_is_drawn() -> None:
    assert drawn([]) == ""
    assert drawn([1.0]) == "▁"
    assert drawn([3, 2, 1]) == "█▅▁"
    falling = drawn([1000 - step for step in range(1000)], 8)
    assert falling == "█▇▆▅▄▃▂▁"
