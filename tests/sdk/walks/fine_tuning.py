"""A model tuned from a file of examples, asked, and deleted, as the SDK's own examples do."""

import io
import json
import os

import openai
from program import client, ok, raises, wait_for

BASE = os.environ["WALK_TUNED_BASE"]
SLOW = "slow"
"""The suffix of a job that the scripted upstream ends when it was paused and resumed."""

lenient = openai.OpenAI(max_retries=0)
"""For jobs that are paused, a state that no SDK has in its list of them."""

jobs = client.fine_tuning.jobs
ENDED = ("succeeded", "failed", "cancelled")


def an_example(number):
    messages = [{"role": "user", "content": f"Question {number}"}, {"role": "assistant", "content": "Ahoy!"}]
    return {"messages": messages}


def a_file(*lines):
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    made = client.files.create(file=("examples.jsonl", io.BytesIO(data)), purpose="fine-tune")
    assert (made.purpose, made.bytes) == ("fine-tune", len(data))
    return made.id


def in_state(job, *states):
    return wait_for(lambda: (found := lenient.fine_tuning.jobs.retrieve(job.id)).status in states and found)


def ended(job):
    in_state(job, *ENDED)
    return jobs.retrieve(job.id)


file_id = a_file(*map(an_example, range(10)))
job = jobs.create(
    model=BASE, training_file=file_id, hyperparameters={"n_epochs": 2, "batch_size": "auto"}, suffix="walk"
)
assert job.id.startswith("ftjob-")
assert (job.object, job.status, job.model, job.training_file) == ("fine_tuning.job", "validating_files", BASE, file_id)
assert (job.hyperparameters.n_epochs, job.validation_file, job.result_files) == (2, None, [])
assert (job.fine_tuned_model, job.trained_tokens, job.finished_at, job.error) == (None, None, None, None)
job = ended(job)
assert job.status == "succeeded"
assert job.fine_tuned_model.startswith(f"ft:{BASE}:")
assert ":walk:" in job.fine_tuned_model
assert job.trained_tokens > 0
assert job.created_at <= job.finished_at
assert isinstance(job.seed, int)
ok("a job")

events = list(jobs.list_events(job.id, limit=2))  # over as many pages as there are
messages = [event.message for event in events]
assert len({event.id for event in events}) == len(events) > 4
assert messages[-1] == f"Created fine-tuning job: {job.id}"
assert messages[1] == f"New fine-tuned model created: {job.fine_tuned_model}"
assert {event.object for event in events} == {"fine_tuning.job.event"}
after = jobs.list_events(job.id, after=events[1].id, limit=3)
assert [event.id for event in after.data] == [event.id for event in events[2:5]]
lines = client.files.content(job.result_files[0]).text.splitlines()
assert lines[0].startswith("step,train_loss,train_accuracy")
assert client.files.retrieve(job.result_files[0]).purpose == "fine-tune-results"
ok("events and results")

checkpoints = list(jobs.checkpoints.list(job.id, limit=1))
assert [each.step_number for each in checkpoints] == [4, 2]
assert checkpoints[0].fine_tuned_model_checkpoint == job.fine_tuned_model
assert checkpoints[0].metrics.train_loss == 0.25
assert {each.fine_tuning_job_id for each in checkpoints} == {job.id}
ok("checkpoints")

raises(openai.BadRequestError, jobs.create, model=BASE, training_file="file-nobody")
error = raises(openai.BadRequestError, jobs.create, model="nothing", training_file=file_id)
assert (error.param, error.code) == ("model", "model_not_available")
for call in (jobs.retrieve, jobs.cancel, jobs.list_events):
    error = raises(openai.NotFoundError, call, "ftjob-nobody")
    assert (error.param, error.code) == ("fine_tune_id", "fine_tune_not_found")
bad = ended(jobs.create(model=BASE, training_file=a_file({"prompt": 7})))
assert bad.status == "failed"
assert (bad.error.code, bad.error.param) == ("invalid_training_file", "training_file")
raises(openai.BadRequestError, jobs.cancel, job.id)
ok("refusals")

slow = jobs.create(model=BASE, training_file=file_id, suffix=SLOW)
in_state(slow, "running")
assert jobs.cancel(slow.id).status == "cancelled"
assert ended(slow).fine_tuned_model is None
ok("cancelling")

if hasattr(jobs, "pause"):
    slow = jobs.create(model=BASE, training_file=file_id, suffix=SLOW, metadata={"walk": "paused"})
    in_state(slow, "running")
    assert lenient.fine_tuning.jobs.pause(slow.id).status == "paused"
    assert in_state(slow, "paused").finished_at is None
    assert jobs.resume(slow.id).status == "queued"
    slow = ended(slow)
    assert (slow.status, slow.metadata) == ("succeeded", {"walk": "paused"})
    found = list(jobs.list(metadata={"walk": "paused"}, limit=1))
    assert found[0].id == slow.id
    assert {each.metadata["walk"] for each in found} == {"paused"}
    ok("pausing")

made = [jobs.create(model=BASE, training_file=file_id) for _ in range(3)]
newest = [each.id for each in jobs.list(limit=2).data]
assert newest == [made[2].id, made[1].id]
found = []
for each in jobs.list(limit=2):
    found.append(each.id)
    if each.id == job.id:
        break
assert found[:3] == [each.id for each in made[::-1]]
assert len(found) == len(set(found))
for each in made:
    assert ended(each).status == "succeeded"
ok("lists")

name = job.fine_tuned_model
said = client.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hello"}])
assert said.choices[0].message.content == "You said: Hello"
assert client.models.retrieve(name).id == name
assert name in {model.id for model in client.models.list()}
deleted = client.models.delete(name)
assert (deleted.id, deleted.object, deleted.deleted) == (name, "model", True)
raises(openai.NotFoundError, client.models.delete, name)
assert name not in {model.id for model in client.models.list()}
ok("a tuned model")
