"""Fine-tuning jobs through HTTP, on both databases, trained by a scripted upstream."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.batches import ended
from tests.fine_tuning import (
    BASE,
    a_job,
    a_training_file,
    an_example,
    examples,
    fine_tuning_upstream,
    messages_of,
    reached,
    tuning_server,
    until,
)
from tests.postgres import fresh_database
from tests.replies import Json
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of
from tests.training.fine_tuning_server import STEPS, FineTuningServer


@pytest.fixture(scope="module")
def _trainer() -> Iterator[FineTuningServer]:
    with fine_tuning_upstream() as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def tuning(
    request: pytest.FixtureRequest, _trainer: FineTuningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Everloom]:
    settings = {"database": fresh_database()} if request.param == "postgres" else {}
    with tuning_server(tmp_path_factory.mktemp("tuning"), _trainer, **settings) as server:
        yield server


@pytest.fixture
def trainer(_trainer: FineTuningServer) -> FineTuningServer:
    _trainer.stuck, _trainer.fails = False, None
    _trainer.answers.clear()
    return _trainer


@pytest.fixture
def http(tuning: Everloom, trainer: FineTuningServer) -> Iterator[httpx.Client]:
    with client_of(tuning) as client:
        yield client


def test_a_job_from_its_file_to_its_model(http: httpx.Client) -> None:
    made = a_job(http, suffix="my pirate", seed=7, hyperparameters={"n_epochs": 2}, metadata={"a": "b"})
    assert made["object"] == "fine_tuning.job"
    assert made["id"].startswith("ftjob-")
    assert made["status"] == "validating_files"
    assert made["hyperparameters"] == {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert (made["error"], made["fine_tuned_model"], made["finished_at"], made["trained_tokens"]) == (None,) * 4
    assert (made["result_files"], made["integrations"], made["seed"]) == ([], [], 7)
    job = until(http, made)
    assert job["status"] == "succeeded", job
    assert job["fine_tuned_model"].startswith(f"ft:{BASE}:everloom:my-pirate:")
    assert job["user_provided_suffix"] == "my pirate"
    assert job["hyperparameters"]["batch_size"] == 1
    assert job["method"]["supervised"]["hyperparameters"] == job["hyperparameters"]
    assert job["trained_tokens"] == 100 * STEPS
    assert job["estimated_finish"] is None
    assert job["created_at"] <= job["finished_at"]
    file = http.get(f"/files/{job['result_files'][0]}").json()
    assert (file["filename"], file["purpose"]) == ("step_metrics.csv", "fine-tune-results")
    lines = http.get(f"/files/{file['id']}/content").text.splitlines()
    assert lines[0].startswith("step,train_loss,train_accuracy,valid_loss")
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4"]
    said = http.post("/chat/completions", json=_question(job["fine_tuned_model"])).json()
    assert said["choices"][0]["message"]["content"].startswith("I am ft:tuned:")
    assert job["fine_tuned_model"] in {model["id"] for model in http.get("/models").json()["data"]}
    assert http.get(f"/models/{job['fine_tuned_model']}").json()["owned_by"] == job["organization_id"]


def _question(model: str) -> Json:
    return {"model": model, "messages": [{"role": "user", "content": "Who are you?"}]}


def test_what_is_told_of_a_job(http: httpx.Client) -> None:
    job = until(http, a_job(http))
    page = http.get(f"/fine_tuning/jobs/{job['id']}/events", params={"limit": 3}).json()
    assert page["object"] == "list"
    assert page["has_more"] is True
    assert page["data"][0]["message"] == "The job has successfully completed"
    messages = messages_of(http, job)
    assert messages[0] == f"Created fine-tuning job: {job['id']}"
    assert messages[1] == f"Validating training file: {job['training_file']}"
    assert "Files validated, moving job to queued state" in messages
    assert messages[-2:] == [f"New fine-tuned model created: {job['fine_tuned_model']}", messages[-1]]
    events = http.get(f"/fine_tuning/jobs/{job['id']}/events", params={"limit": 100}).json()["data"]
    metrics = [event for event in events if event["type"] == "metrics"]
    assert [event["data"]["step"] for event in metrics] == [4, 3, 2, 1]
    assert metrics[-1]["data"]["train_loss"] == 1.0
    listed = http.get(f"/fine_tuning/jobs/{job['id']}/checkpoints").json()
    assert [each["step_number"] for each in listed["data"]] == [4, 2]
    assert [each["fine_tuned_model_checkpoint"] for each in listed["data"]] == [
        job["fine_tuned_model"],
        f"{job['fine_tuned_model']}:ckpt-step-2",
    ]
    for each in listed["data"]:
        assert each["metrics"]["step"] == each["step_number"]
        said = http.post("/chat/completions", json=_question(each["fine_tuned_model_checkpoint"]))
        assert said.status_code == 200, said.text


def _but(change: Any) -> list[Json]:
    """Ten right examples, the third of them changed."""
    lines = examples(12)
    change(lines[2])
    return lines


def _messages(*messages: Json) -> list[Json]:
    return [*examples(10), {"messages": list(messages)}]


_USER = {"role": "user", "content": "x"}
_SAYS = {"role": "assistant", "content": "y"}


@pytest.mark.parametrize(
    ("lines", "code", "text"),
    [
        (examples(9), "invalid_n_examples", "9 example(s), but must have at least 10"),
        (b"", "invalid_n_examples", "0 example(s)"),
        (b"\n".join([b"{nope}"] * 12), "invalid_training_file", "Line 1: This line is not valid JSON"),
        ([*examples(10), ["x"]], "invalid_training_file", "Line 11: This line is not a JSON object"),
        ([*examples(10), {"text": "x"}], "invalid_training_file", "Line 11: This is no example"),
        ([*examples(10), {"prompt": "x", "completion": "y"}], "invalid_training_file", "Line 11: This is a completion"),
        (_but(lambda line: line["messages"].reverse()), "invalid_training_file", "Line 3: The last message has to be"),
        (
            _but(lambda line: line["messages"][1].pop("content")),
            "invalid_training_file",
            "Line 3: Message 1: an as",
        ),
        (_but(lambda line: line["messages"][1].update(weight=2)), "invalid_training_file", "'weight' has to be 0 or 1"),
        (_but(lambda line: line["messages"][1].update(weight=0)), "invalid_training_file", "nothing to learn"),
        (_but(lambda line: line["messages"][0].update(weight=1)), "invalid_training_file", "only the assistant's have"),
        (_but(lambda line: line.update(extra=1)), "invalid_training_file", "Line 3: Unrecognized key 'extra'"),
        (_messages(_USER, {"role": "system", "content": "x"}, _SAYS), "invalid_training_file", "it has to come first"),
        (_messages({"role": "robot", "content": "x"}, _SAYS), "invalid_training_file", "'role' has to be one of"),
        (_messages(_USER, {"role": "tool", "content": "x"}, _SAYS), "invalid_training_file", "has to answer a call"),
        (_messages({"role": "user", "content": None}, _SAYS), "invalid_training_file", "user message has to have"),
        (_messages({"role": "user", "content": [{"type": "image_url"}]}, _SAYS), "invalid_training_file", "is no text"),
        (_messages(_USER, {"role": "assistant", "tool_calls": []}), "invalid_training_file", "at least one call"),
        (b"[" * 100_000 + b"\n", "invalid_training_file", "Line 1: This line is not valid JSON"),
        (b"\xff\xfe" * 100, "invalid_training_file", "encoded in UTF-16"),
        (_but(lambda line: line.update(parallel_tool_calls="yes")), "invalid_training_file", "to be true or false"),
    ],
)
def test_a_bad_file_makes_a_failed_job(http: httpx.Client, lines: Any, code: str, text: str) -> None:
    job = until(http, a_job(http, lines))
    assert job["status"] == "failed"
    assert job["error"]["code"] == code
    assert job["error"]["param"] == "training_file"
    assert text in job["error"]["message"]
    assert job["finished_at"] is not None
    assert (job["fine_tuned_model"], job["result_files"]) == (None, [])


def test_a_weight_of_null_is_none_at_all(http: httpx.Client) -> None:
    lines = examples(10)
    for line in lines:
        line["messages"][1]["weight"] = None
    assert until(http, a_job(http, lines))["status"] == "succeeded"


def test_a_validation_file_has_the_same_format(http: httpx.Client) -> None:
    other = a_training_file(http, [{"prompt": "x", "completion": "y"}] * 3)
    job = until(http, a_job(http, validation_file=other))
    assert job["status"] == "failed"
    assert job["error"]["param"] == "validation_file"
    assert "completion example" in job["error"]["message"]
    good = until(http, a_job(http, validation_file=a_training_file(http, [an_example(1)])))
    assert good["status"] == "succeeded", good


def test_preferences(http: httpx.Client, trainer: FineTuningServer) -> None:
    pair = {
        "input": {"messages": [_USER]},
        "preferred_output": [_SAYS],
        "non_preferred_output": [{"role": "assistant", "content": "z"}],
    }
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}
    job = until(http, a_job(http, [pair] * 10, method=method))
    assert job["status"] == "succeeded", job
    assert job["method"]["dpo"]["hyperparameters"]["beta"] == 0.2
    assert trainer.bodies[-1]["method"]["dpo"]["hyperparameters"]["beta"] == 0.2
    wrong = until(http, a_job(http, [pair] * 10))
    assert "This is a preference example; this job takes chat or completion" in wrong["error"]["message"]
    for change, text in (
        ({"preferred_output": []}, "'preferred_output' has to be a list of one message"),
        ({"preferred_output": [_USER]}, "has to be from the assistant"),
        ({"non_preferred_output": [_SAYS]}, "Both outputs are the same"),
        ({"preferred_output": [_SAYS | {"weight": 0}]}, "a preference has no weights"),
        ({"input": {"messages": [_USER, _SAYS]}}, "it has to be one that is to be answered"),
    ):
        bad = until(http, a_job(http, [pair] * 9 + [pair | change], method=method))
        assert text in bad["error"]["message"]


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": "no-such-model"}, "model", "model_not_available"),
        ({"model": "all-minilm-l6-v2"}, "model", "model_not_available"),
        ({"model": "plain-upstream"}, "model", "model_not_available"),
        ({"model": "ft:x:y:z:1"}, "model", "model_not_available"),
        ({"training_file": "file-nothing"}, "training_file", "invalid_training_file"),
        ({"validation_file": "file-nothing"}, "validation_file", "invalid_validation_file"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", None),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", None),
        ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size", None),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, "hyperparameters.learning_rate_multiplier", None),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs", None),
        ({"hyperparameters": {"beta": 1}}, "hyperparameters.beta", "unknown_parameter"),
        ({"suffix": ""}, "suffix", None),
        ({"suffix": "x" * 65}, "suffix", None),
        ({"seed": -1}, "seed", None),
        ({"seed": 2**31}, "seed", None),
        ({"method": {"type": "reinforcement"}}, "method.type", "unsupported_value"),
        ({"method": {"type": "dpo", "supervised": {}}}, "method.supervised", None),
        ({"method": {"type": "supervised"}, "hyperparameters": {}}, "hyperparameters", None),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations", "unsupported_parameter"),
        ({"colour": "red"}, "colour", "unknown_parameter"),
        ({"metadata": {"a": 1}}, "metadata.a", None),
    ],
)
def test_create_refuses_what_can_be_no_job(http: httpx.Client, change: Json, param: str, code: str | None) -> None:
    body = {"model": BASE, "training_file": a_training_file(http), **change}
    before = len(http.get("/fine_tuning/jobs", params={"limit": 100}).json()["data"])
    answer = http.post("/fine_tuning/jobs", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    if code is not None:
        assert error["code"] == code
    assert len(http.get("/fine_tuning/jobs", params={"limit": 100}).json()["data"]) == before


def test_a_file_of_another_purpose_is_refused(http: httpx.Client) -> None:
    file = http.post("/files", files={"file": ("x.jsonl", b"{}")}, data={"purpose": "batch"}).json()
    answer = http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": file["id"]})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_file_purpose"


def test_a_job_is_cancelled_here_and_there(http: httpx.Client, trainer: FineTuningServer) -> None:
    trainer.stuck = True
    made = len(trainer.jobs)
    job = until(http, a_job(http), "running")
    reached(lambda: len(trainer.jobs) > made)
    cancelled = http.post(f"/fine_tuning/jobs/{job['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["finished_at"] is not None
    again = http.post(f"/fine_tuning/jobs/{job['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")
    for verb in ("pause", "resume"):
        refused = http.post(f"/fine_tuning/jobs/{job['id']}/{verb}")
        assert refused.status_code == 400
        assert f"Cannot {verb} a fine-tuning job with status 'cancelled'" in refused.json()["error"]["message"]
    trainer.stuck = False
    assert until(http, a_job(http))["status"] == "succeeded"  # The line goes on.
    assert "cancelled" in {other["status"] for other in trainer.jobs.values()}


def test_a_job_is_paused_and_goes_on(http: httpx.Client, trainer: FineTuningServer) -> None:
    trainer.stuck = True
    made = len(trainer.jobs)
    job = until(http, a_job(http), "running")
    paused = http.post(f"/fine_tuning/jobs/{job['id']}/pause").json()
    assert paused["status"] == "paused"
    trainer.stuck = False
    other = until(http, a_job(http))  # A paused job is in nobody's way.
    assert other["status"] == "succeeded"
    assert http.get(f"/fine_tuning/jobs/{job['id']}").json()["status"] == "paused"
    assert http.post(f"/fine_tuning/jobs/{job['id']}/resume").json()["status"] == "queued"
    assert until(http, job)["status"] == "succeeded"
    assert len(trainer.jobs) == made + 2


def test_a_file_that_is_deleted_meanwhile_is_read_to_the_end(http: httpx.Client, trainer: FineTuningServer) -> None:
    trainer.stuck = True
    job = until(http, a_job(http), "running")
    http.post(f"/fine_tuning/jobs/{job['id']}/pause")
    assert http.delete(f"/files/{job['training_file']}").json()["deleted"] is True
    trainer.stuck = False
    http.post(f"/fine_tuning/jobs/{job['id']}/resume")
    assert until(http, job)["status"] == "succeeded"


def test_what_an_upstream_refuses_ends_the_job(http: httpx.Client, trainer: FineTuningServer) -> None:
    trainer.fails = {"code": "bad_data", "message": "I do not like it.", "param": "training_file"}
    job = until(http, a_job(http))
    assert job["status"] == "failed"
    assert job["error"]["message"] == "I do not like it."


def test_jobs_that_are_not_there(http: httpx.Client) -> None:
    error = {
        "message": "Could not find fine tune: 123",
        "type": "invalid_request_error",
        "param": "fine_tune_id",
        "code": "fine_tune_not_found",
    }
    path = "/fine_tuning/jobs/123"
    gets = [http.get(path), http.get(f"{path}/events"), http.get(f"{path}/checkpoints")]
    posts = [http.post(f"{path}/{verb}") for verb in ("cancel", "pause", "resume")]
    for answer in (*gets, *posts):
        assert answer.status_code == 404
        assert answer.json() == {"error": error}


def test_a_model_that_was_tuned_can_be_deleted(http: httpx.Client, tuning: Everloom) -> None:
    name = until(http, a_job(http))["fine_tuned_model"]
    other = tuning.command("keys", "create", "--project", "somebody-else").strip()
    with client_of(tuning, other) as stranger:
        asked = stranger.post("/chat/completions", json=_question(name))
        assert asked.status_code == 404, asked.text
        assert stranger.get(f"/models/{name}").status_code == 404
        assert stranger.delete(f"/models/{name}").status_code == 404
        assert name not in stranger.get("/models").text
    assert http.delete(f"/models/{name}").json() == {"id": name, "object": "model", "deleted": True}
    for answer in (
        http.delete(f"/models/{name}"),
        http.get(f"/models/{name}"),
        http.post("/chat/completions", json=_question(name)),
    ):
        assert answer.status_code == 404, answer.text
        assert answer.json()["error"]["code"] == "model_not_found"
    assert http.delete(f"/models/{BASE}").status_code == 403


def test_a_tuned_model_may_be_an_assistants_and_a_batchs(http: httpx.Client) -> None:
    name = until(http, a_job(http))["fine_tuned_model"]
    made = http.post("/assistants", json={"model": name})
    assert made.json()["model"] == name, made.text
    refused = http.post("/assistants", json={"model": f"{name}x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_not_found")
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": _question(name)}
    data = json.dumps(line).encode()
    file = http.post("/files", files={"file": ("in.jsonl", data)}, data={"purpose": "batch"}).json()
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = http.post("/batches", json=asked).json()
    batch = ended(http, batch)
    assert batch["request_counts"]["completed"] == 1, batch


def test_aliases_and_upstreams_for_all_names_have_no_say_in_tuned_models(
    trainer: FineTuningServer, tmp_path: Path
) -> None:
    """Neither while a model is there, nor when it is gone: its base is another model."""
    settings = {"aliases": f"*={BASE},short=ft:gone:everloom::00000000", "upstream": trainer.url}
    with tuning_server(tmp_path, trainer, **settings) as server, client_of(server) as http:
        name = until(http, a_job(http))["fine_tuned_model"]
        said = http.post("/chat/completions", json=_question(name)).json()
        assert said["choices"][0]["message"]["content"].startswith("I am ft:tuned:")
        assert http.delete(f"/models/{name}").status_code == 200
        for gone in (name, "ft:made-up:everloom:x:12345678", "short"):
            assert http.post("/chat/completions", json=_question(gone)).status_code == 404
            assert http.get(f"/models/{gone}").status_code == 404
            assert http.post("/assistants", json={"model": gone}).status_code == 400
        formerly = http.post("/chat/completions", json=_question("ft:gpt-3.5-turbo:acme::8abcdefg"))
        assert formerly.status_code == 200  # A program's model of before, for which the alias is meant.


def test_a_killed_server_goes_on_with_the_same_training(trainer: FineTuningServer, tmp_path: Path) -> None:
    trainer.stuck = True
    made = len(trainer.jobs)
    server = tuning_server(tmp_path, trainer).start()
    with client_of(server) as http:
        job = until(http, a_job(http), "running")
        reached(lambda: len(trainer.jobs) > made)
    server.kill()
    trainer.stuck = False
    with server, client_of(server) as http:
        done = until(http, job)
        assert done["status"] == "succeeded", done
        steps = [message for message in messages_of(http, job) if message.startswith("Step ")]
        assert [message.split(":")[0] for message in steps] == [f"Step {n}/20" for n in range(1, STEPS + 1)]
        assert len(trainer.jobs) == made + 1


def test_a_server_without_the_extra_says_what_is_missing(server: Everloom) -> None:
    with client_of(server, API_KEY) as http:
        file = a_training_file(http)
        answer = http.post("/fine_tuning/jobs", json={"model": "smollm2-135m", "training_file": file})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "fine_tuning_unavailable"
        assert "everloom[finetune]" in answer.json()["error"]["message"]
