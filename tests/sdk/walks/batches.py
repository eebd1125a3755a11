"""Batches made, looked at, listed, cancelled and read, as the SDK's own examples do."""

import io
import json

import openai
from program import MODEL, OLD, client, ok, raises, wait_for

lenient = openai.OpenAI(max_retries=0)
"""For files: those of 2024 know no purpose of batches."""

batches = (lenient if OLD else client).batches
"""The first SDK took times for texts, which they never were."""

ENDED = ("completed", "failed", "expired", "cancelled")


def a_line(custom_id, text, **more):
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def an_input(*lines):
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    made = lenient.files.create(file=("requests.jsonl", io.BytesIO(data)), purpose="batch")
    assert (made.purpose, made.bytes) == ("batch", len(data))
    return made.id


def a_batch(file_id, **more):
    return batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h", **more)


def ended(batch):
    return wait_for(lambda: (found := batches.retrieve(batch.id)).status in ENDED and found)


def lines_of(file_id):
    return {line["custom_id"]: line for line in map(json.loads, lenient.files.content(file_id).text.splitlines())}


file_id = an_input(a_line("one", "Hello one"), a_line("two", "Hello two"), a_line("hot", "Hi", temperature=9))
batch = a_batch(file_id, metadata={"walk": "batches"})
assert batch.id.startswith("batch_")
assert (batch.object, batch.status, batch.endpoint) == ("batch", "validating", "/v1/chat/completions")
assert (batch.input_file_id, batch.completion_window) == (file_id, "24h")
assert batch.metadata == {"walk": "batches"}
assert batch.expires_at == batch.created_at + 86_400
assert (batch.request_counts.total, batch.errors, batch.output_file_id) == (0, None, None)
batch = ended(batch)
assert batch.status == "completed"
assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (3, 2, 1)
assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
assert batch.metadata == {"walk": "batches"}
ok("a batch")

answers = lines_of(batch.output_file_id)
texts = {name: line["response"]["body"]["choices"][0]["message"]["content"] for name, line in answers.items()}
assert texts == {"one": "You said: Hello one", "two": "You said: Hello two"}
assert {line["response"]["status_code"] for line in answers.values()} == {200}
(refused,) = lines_of(batch.error_file_id).values()
assert (refused["custom_id"], refused["error"], refused["response"]["status_code"]) == ("hot", None, 400)
file = lenient.files.retrieve(batch.output_file_id)
assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")
ok("its files")

bad = ended(a_batch(an_input(a_line("one", "Hi"), a_line("one", "Hi"))))
assert bad.status == "failed"
assert bad.errors.object == "list"
(fault,) = bad.errors.data
assert (fault.code, fault.line, fault.param) == ("duplicate_custom_id", 2, "custom_id")
error = raises(openai.BadRequestError, a_batch, "file-nobody")
assert error.param == "input_file_id"
raises(openai.NotFoundError, batches.retrieve, "batch_nobody")
ok("refusals")

slow = a_batch(an_input(a_line("slow", "hang"), a_line("quick", "Hello")))
wait_for(lambda: batches.retrieve(slow.id).request_counts.completed == 1)
cancelled = batches.cancel(slow.id)
assert cancelled.status == "cancelling"
assert cancelled.cancelling_at
cancelled = ended(slow)
assert (cancelled.status, cancelled.request_counts.completed) == ("cancelled", 1)
assert cancelled.cancelled_at >= cancelled.cancelling_at
assert set(lines_of(cancelled.output_file_id)) == {"quick"}
assert lines_of(cancelled.error_file_id)["slow"]["error"]["code"] == "batch_cancelled"
raises(openai.BadRequestError, batches.cancel, batch.id)
ok("cancelling")

if not OLD:  # the first one cannot list them
    made = [a_batch(file_id).id for _ in range(5)]
    page = batches.list(limit=2)
    assert [each.id for each in page.data] == [made[4], made[3]]
    found = [each.id for each in batches.list(limit=2)]  # over as many pages as there are
    assert found[:7] == [*made[::-1], slow.id, bad.id]
    assert len(found) == len(set(found))
    after = batches.list(after=made[1], limit=1)
    assert [each.id for each in after.data] == [made[0]]
    ok("lists")
