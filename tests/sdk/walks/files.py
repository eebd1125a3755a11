"""Files uploaded, listed, read back, attached and deleted."""

import io

import openai
from program import MODEL, OLD, client, ok, raises

DATA = bytes(range(256)) * 5

made = client.files.create(file=("notes.txt", DATA), purpose="assistants")
assert made.id.startswith("file-")
assert made.object == "file"
assert (made.filename, made.bytes, made.purpose) == ("notes.txt", len(DATA), "assistants")
assert made.status in ("uploaded", "processed")
assert client.files.retrieve(made.id).id == made.id
ready = client.files.wait_for_processing(made.id, poll_interval=0.05)
assert ready.status == "processed"
assert client.files.content(made.id).read() == DATA
with client.files.with_streaming_response.content(made.id) as answer:
    assert b"".join(answer.iter_bytes()) == DATA
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="notes.txt"'
ok("upload and content")

line = b'{"prompt": "a", "completion": "b"}\n'
tuning = client.files.create(file=("train.jsonl", io.BytesIO(line)), purpose="fine-tune")
assert tuning.bytes == len(line)
listed = list(client.files.list(purpose="fine-tune"))
assert tuning.id in [each.id for each in listed]
assert made.id not in [each.id for each in listed]
assert {each.purpose for each in listed} == {"fine-tune"}
# The first SDK is so strict that it refuses a list with a purpose of later days in it.
mine = {made.id, tuning.id}
everything = client.with_options(_extra_kwargs={"_strict_response_validation": not OLD}).files
assert mine <= {each.id for each in everything.list()}
if not OLD:
    assert [each.id for each in client.files.list(limit=1, order="asc", after=made.id)] == [tuning.id]
ok("lists")

if OLD:
    tools = [{"type": "code_interpreter"}]
    assistant = client.beta.assistants.create(model=MODEL, tools=tools, file_ids=[made.id])
    assert assistant.file_ids == [made.id]
    attached = client.beta.assistants.files.create(assistant.id, file_id=tuning.id)
    assert (attached.id, attached.object, attached.assistant_id) == (tuning.id, "assistant.file", assistant.id)
    files = client.beta.assistants.files.list(assistant.id, order="asc")
    assert [each.id for each in files] == [made.id, tuning.id]
    assert client.beta.assistants.files.retrieve(tuning.id, assistant_id=assistant.id) == attached
    gone = client.beta.assistants.files.delete(tuning.id, assistant_id=assistant.id)
    assert (gone.id, gone.object, gone.deleted) == (tuning.id, "assistant.file.deleted", True)
    assert client.beta.assistants.retrieve(assistant.id).file_ids == [made.id]
    assert client.files.retrieve(tuning.id).id == tuning.id
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(thread.id, role="user", content="Look", file_ids=[made.id])
    assert message.file_ids == [made.id]
    (file,) = client.beta.threads.messages.files.list(message.id, thread_id=thread.id)
    assert (file.id, file.object, file.message_id) == (made.id, "thread.message.file", message.id)
    found = client.beta.threads.messages.files.retrieve(made.id, thread_id=thread.id, message_id=message.id)
    assert found == file
    ok("files of assistants and messages")
else:
    resources = {"code_interpreter": {"file_ids": [made.id]}}
    tools = [{"type": "code_interpreter"}]
    assistant = client.beta.assistants.create(model=MODEL, tools=tools, tool_resources=resources)
    assert assistant.tool_resources.code_interpreter.file_ids == [made.id]
    thread = client.beta.threads.create(tool_resources=resources)
    assert thread.tool_resources.code_interpreter.file_ids == [made.id]
    attachment = {"file_id": tuning.id, "tools": tools}
    message = client.beta.threads.messages.create(thread.id, role="user", content="Look", attachments=[attachment])
    assert message.attachments[0].file_id == tuning.id
    thread = client.beta.threads.retrieve(thread.id)
    assert set(thread.tool_resources.code_interpreter.file_ids) == {made.id, tuning.id}
    ok("files of assistants, threads and messages")

for file in (made, tuning):
    gone = client.files.delete(file.id)
    assert (gone.id, gone.object, gone.deleted) == (file.id, "file", True)
    raises(openai.NotFoundError, client.files.retrieve, file.id)
    raises(openai.NotFoundError, client.files.content, file.id)
assert not mine & {each.id for each in everything.list()}
left = client.beta.assistants.retrieve(assistant.id)
assert (left.file_ids if OLD else left.tool_resources.code_interpreter.file_ids) == []
ok("deletions")

error = raises(openai.BadRequestError, client.files.create, file=("batch.txt", b"x"), purpose="batch")
assert "Invalid file format for Batch API. Must be .jsonl" in error.message
error = raises(openai.BadRequestError, client.files.create, file=("a.txt", b"x"), purpose="fun")
assert error.param == "purpose"
ok("refusals")
