"""Assistant, thread, message, run, answer, steps: the walk of every quickstart."""

from program import MODEL, OLD, WEATHER, a_thread, an_assistant, answer_of, client, ok, text_of

assistant = client.beta.assistants.create(
    model=MODEL,
    name="Guide",
    description="Knows the way",
    instructions="Be brief.",
    tools=[WEATHER],
    metadata={"team": "north"},
)
assert assistant.id.startswith("asst_")
assert assistant.object == "assistant"
assert (assistant.name, assistant.description, assistant.model) == ("Guide", "Knows the way", MODEL)
assert assistant.tools[0].function.name == "weather"
assert assistant.metadata == {"team": "north"}
assert client.beta.assistants.retrieve(assistant.id) == assistant
renamed = client.beta.assistants.update(assistant.id, name="Scout", tools=[], metadata={"team": "south"})
assert (renamed.id, renamed.name, renamed.tools, renamed.metadata) == (assistant.id, "Scout", [], {"team": "south"})
assert (renamed.instructions, renamed.created_at) == (assistant.instructions, assistant.created_at)
assert renamed in list(client.beta.assistants.list(limit=100))
if OLD:
    assert assistant.file_ids == []
else:
    assert assistant.temperature == assistant.top_p == 1
    assert assistant.response_format == "auto"
ok("assistants")

thread = client.beta.threads.create(metadata={"topic": "weather"})
assert thread.id.startswith("thread_")
assert thread.metadata == {"topic": "weather"}
assert client.beta.threads.retrieve(thread.id) == thread
thread = client.beta.threads.update(thread.id, metadata={"topic": "ways"})
assert thread.metadata == {"topic": "ways"}
message = client.beta.threads.messages.create(thread.id, role="user", content="Which way?", metadata={"a": "b"})
assert message.id.startswith("msg_")
assert message.thread_id == thread.id
assert text_of(message) == "Which way?"
assert (message.role, message.run_id, message.assistant_id, message.metadata) == ("user", None, None, {"a": "b"})
assert client.beta.threads.messages.retrieve(message.id, thread_id=thread.id) == message
changed = client.beta.threads.messages.update(message.id, thread_id=thread.id, metadata={"a": "c"})
assert changed.metadata == {"a": "c"}
assert changed.content == message.content
ok("threads and messages")

run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, metadata={"r": "1"})
assert run.id.startswith("run_")
assert run.status == "queued"
assert run.usage is None
assert run.started_at is None
assert run.expires_at == run.created_at + 600
run = client.beta.threads.runs.poll(thread_id=thread.id, run_id=run.id, poll_interval_ms=20)
assert run.status == "completed"
assert run.last_error is None
assert run.expires_at is None
assert run.metadata == {"r": "1"}
assert run.created_at <= run.started_at <= run.completed_at
assert answer_of(run) == "You said: Which way?"
assert client.beta.threads.runs.retrieve(run.id, thread_id=thread.id) == run
assert client.beta.threads.runs.list(thread.id).data == [run]
run = client.beta.threads.runs.update(run.id, thread_id=thread.id, metadata={"r": "2"})
assert run.metadata == {"r": "2"}
assert run.status == "completed"

(step,) = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
assert (step.type, step.status) == ("message_creation", "completed")
assert (step.run_id, step.thread_id, step.assistant_id) == (run.id, thread.id, assistant.id)
assert client.beta.threads.runs.steps.retrieve(step.id, thread_id=thread.id, run_id=run.id) == step
message_id = step.step_details.message_creation.message_id
answer = client.beta.threads.messages.retrieve(message_id, thread_id=thread.id)
assert (answer.run_id, answer.assistant_id, answer.status) == (run.id, assistant.id, "completed")
# The prompt is "Be brief." and "Which way?", the answer "You said: Which way?"; a token is a word.
assert run.usage.completion_tokens == 4
assert run.usage.prompt_tokens == 6
assert run.usage.total_tokens == 10
assert step.usage == run.usage or step.usage.model_dump() == run.usage.model_dump()
ok("runs and steps")

again = client.beta.threads.runs.create_and_poll(
    thread_id=a_thread("Hello").id, assistant_id=assistant.id, poll_interval_ms=20
)
assert again.status == "completed"
assert answer_of(again) == "You said: Hello"
ok("create_and_poll")

recital = a_thread("one", "two", "recite")
run = client.beta.threads.runs.create_and_poll(
    thread_id=recital.id,
    assistant_id=an_assistant(instructions="Be brief.").id,
    additional_instructions="Be kind.",
    additional_messages=[{"role": "user", "content": "three"}, {"role": "user", "content": "recite again"}],
    poll_interval_ms=20,
)
assert run.status == "completed", run.last_error
said = "user: one | user: two | user: recite | user: three | user: recite again"
assert answer_of(run) == f"system: Be brief.\nBe kind. | {said}"
texts = [text_of(message) for message in client.beta.threads.messages.list(recital.id, order="asc")]
assert texts[:5] == ["one", "two", "recite", "three", "recite again"]
run = client.beta.threads.runs.create_and_poll(
    thread_id=a_thread("recite").id, assistant_id=assistant.id, instructions="Sing.", poll_interval_ms=20
)
assert answer_of(run) == "system: Sing. | user: recite"
assert run.instructions == "Sing."
ok("additional messages and instructions")

run = client.beta.threads.runs.create_and_poll(
    thread_id=a_thread("one", "two", "recite").id,
    assistant_id=assistant.id,
    temperature=0.25,
    **({} if OLD else {"top_p": 0.5}),
    truncation_strategy={"type": "last_messages", "last_messages": 2},
    response_format={"type": "json_object"},
    max_prompt_tokens=500,
    poll_interval_ms=20,
)
assert answer_of(run) == "system: Be brief. | user: two | user: recite"
assert (run.temperature, run.truncation_strategy.last_messages, run.max_prompt_tokens) == (0.25, 2, 500)
assert run.response_format.type == "json_object"
ok("options of a run")

if not OLD:
    parts = [
        {"type": "text", "text": "recite"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    ]
    thread_of_parts = client.beta.threads.create(messages=[{"role": "user", "content": parts}])
    (message_of_parts,) = client.beta.threads.messages.list(thread_of_parts.id).data
    assert [part.type for part in message_of_parts.content] == ["text", "image_url"]
    assert message_of_parts.content[1].image_url.detail == "low"
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread_of_parts.id, assistant_id=assistant.id, poll_interval_ms=20
    )
    assert answer_of(run).startswith("system: Be brief. | user: recite")
    ok("a message of parts")

run = client.beta.threads.create_and_run(
    assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}], "metadata": {"x": "y"}}
)
assert run.status == "queued"
run = client.beta.threads.runs.poll(run.id, thread_id=run.thread_id, poll_interval_ms=20)
assert answer_of(run) == "You said: Hi"
assert client.beta.threads.retrieve(run.thread_id).metadata == {"x": "y"}
run = client.beta.threads.create_and_run_poll(
    assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hey"}]}, poll_interval_ms=20
)
assert run.status == "completed"
assert answer_of(run) == "You said: Hey"
ok("create_and_run")

if not OLD:
    gone = client.beta.threads.messages.delete(message.id, thread_id=thread.id)
    assert (gone.id, gone.object, gone.deleted) == (message.id, "thread.message.deleted", True)
    assert [each.id for each in client.beta.threads.messages.list(thread.id)] == [answer.id]
gone = client.beta.threads.delete(thread.id)
assert (gone.id, gone.object, gone.deleted) == (thread.id, "thread.deleted", True)
gone = client.beta.assistants.delete(assistant.id)
assert (gone.id, gone.object, gone.deleted) == (assistant.id, "assistant.deleted", True)
ok("deletions")
