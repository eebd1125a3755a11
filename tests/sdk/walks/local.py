"""The model that comes with the install: the protocol is exact, whatever a small model says."""

from program import MODEL, OLD, a_thread, client, ok, text_of

assistant = client.beta.assistants.create(model=MODEL, instructions="Be brief.")
runs = client.beta.threads.runs

run = runs.create_and_poll(
    thread_id=a_thread("Count from one to ten, in words.").id,
    assistant_id=assistant.id,
    max_completion_tokens=12,
    poll_interval_ms=50,
)
assert run.last_error is None, run.last_error
assert run.status == "completed" or (not OLD and run.status == "incomplete"), run.status
assert 0 < run.usage.completion_tokens <= 12
assert run.usage.prompt_tokens > 5
assert run.usage.total_tokens == run.usage.prompt_tokens + run.usage.completion_tokens
(step,) = runs.steps.list(run.id, thread_id=run.thread_id).data
assert (step.type, step.status, step.usage.model_dump()) == ("message_creation", "completed", run.usage.model_dump())
message = client.beta.threads.messages.list(run.thread_id).data[0]
assert message.id == step.step_details.message_creation.message_id
assert text_of(message).strip()
ok("a run")

thread = a_thread("Say hello.")
with runs.stream(thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=8) as stream:
    text = "".join(stream.text_deltas)
run = stream.get_final_run()
message = client.beta.threads.messages.list(thread.id).data[0]
assert text_of(message) == text
assert text.strip()
assert message.run_id == run.id
assert run == runs.retrieve(run.id, thread_id=thread.id)
ok("a stream")

asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
done = client.chat.completions.create(**asked)
assert done.choices[0].message.content
assert 0 < done.usage.completion_tokens <= 4
chunks = list(client.chat.completions.create(**asked, stream=True))
assert chunks[-1].choices[0].finish_reason in ("stop", "length")
assert MODEL in [model.id for model in client.models.list()]
ok("chat")
