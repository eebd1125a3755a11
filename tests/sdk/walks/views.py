"""One object seen by clients of both ages: the newest SDK asked to speak v1 by the header, beside its own v2."""

from openai import OpenAI
from program import MODEL, WEATHER, client, ok

# Not strict: these classes describe v2 alone.
older = OpenAI(max_retries=0, default_headers={"OpenAI-Beta": "assistants=v1"})
V1 = {"OpenAI-Beta": "assistants=v1"}
"""Each call of the newest SDK names v2 by itself, which a default header does not outweigh; a call's own does."""

file = client.files.create(file=("notes.txt", b"Oslo is in Norway."), purpose="assistants")
extra = {"file_ids": [file.id]}
made = older.beta.assistants.create(
    model=MODEL, tools=[{"type": "code_interpreter"}, WEATHER], extra_body=extra, extra_headers=V1
)
assert made.model_extra == {"file_ids": [file.id]}
assert made.tool_resources is None
seen = client.beta.assistants.retrieve(made.id)
assert seen.tool_resources.code_interpreter.file_ids == [file.id]
assert not seen.model_extra
assert (seen.id, seen.created_at, seen.model, seen.metadata) == (made.id, made.created_at, made.model, made.metadata)
ok("an assistant made in v1")

made = client.beta.assistants.create(model=MODEL, tools=[{"type": "file_search"}, WEATHER], instructions="Be brief.")
seen = older.beta.assistants.retrieve(made.id, extra_headers=V1)
assert [tool.type for tool in seen.tools] == ["retrieval", "function"]
assert seen.model_extra == {"file_ids": []}
ok("an assistant made in v2")

assistant = client.beta.assistants.create(model=MODEL, tools=[WEATHER], instructions="Be brief.")
thread = client.beta.threads.create(messages=[{"role": "user", "content": "a poem"}])
assert "tool_resources" not in older.beta.threads.retrieve(thread.id, extra_headers=V1).model_fields_set
run = client.beta.threads.runs.create_and_poll(
    thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=16, poll_interval_ms=20
)
assert run.status == "incomplete"
seen = older.beta.threads.runs.retrieve(run.id, thread_id=thread.id, extra_headers=V1)
assert seen.status == "completed"
assert seen.incomplete_details == run.incomplete_details
assert seen.usage == run.usage
assert seen.model_extra == {"file_ids": []}
assert "parallel_tool_calls" not in seen.model_fields_set
(step,) = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
(seen,) = older.beta.threads.runs.steps.list(run.id, thread_id=thread.id, extra_headers=V1).data
assert seen == step
ok("a run and its steps")

message = client.beta.threads.messages.list(thread.id).data[0]
seen = older.beta.threads.messages.retrieve(message.id, thread_id=thread.id, extra_headers=V1)
assert seen.content == message.content
assert seen.model_extra == {"file_ids": []}
said = older.beta.threads.messages.create(thread.id, role="user", content="Look", extra_body=extra, extra_headers=V1)
seen = client.beta.threads.messages.retrieve(said.id, thread_id=thread.id)
assert [attachment.file_id for attachment in seen.attachments] == [file.id]
ok("messages")

# What a default header does: without a beta of the method's own, as for a plain request, it is what is sent.
seen = older.get(f"/assistants/{assistant.id}", cast_to=object)
assert "file_ids" in seen
assert "tool_resources" not in seen
ok("the documented default header")
