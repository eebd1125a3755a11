"""A run stopped in the middle of its answer, seen in its stream and by polling; and one that ran out of tokens."""

from program import OLD, a_thread, an_assistant, client, ok, text_of, wait_for

assistant = an_assistant()
runs = client.beta.threads.runs


def check_stopped(run_id, thread):
    """Everything the run left behind says that it was cancelled, and the thread is free again."""
    run = runs.retrieve(run_id, thread_id=thread.id)
    assert run.status == "cancelled"
    assert run.cancelled_at
    assert run.completed_at is None
    assert run.last_error is None
    (step,) = runs.steps.list(run.id, thread_id=thread.id).data
    assert step.status == "cancelled"
    assert step.cancelled_at
    assert step.completed_at is None
    message = client.beta.threads.messages.list(thread.id).data[0]
    assert message.id == step.step_details.message_creation.message_id
    assert message.status == "incomplete"
    assert message.incomplete_details.reason == "run_cancelled"
    assert message.incomplete_at
    assert message.completed_at is None
    client.beta.threads.messages.create(thread.id, role="user", content="Go on")
    return message


thread = a_thread("a slow poem")
names, heard = [], ""
with runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
    for event in stream:
        names.append(event.event)
        if event.event == "thread.run.created":
            run_id = event.data.id
        if event.event == "thread.message.delta":
            heard += event.data.delta.content[0].text.value or ""
            if names.count("thread.message.delta") == 3:
                assert runs.cancel(run_id, thread_id=thread.id).status == "cancelling"
assert "thread.run.completed" not in names
assert names[-1] == "thread.run.cancelled"
assert "thread.run.cancelling" in names
assert "thread.message.incomplete" in names
assert "thread.run.step.cancelled" in names
message = check_stopped(run_id, thread)
assert text_of(message) == heard
assert heard.startswith("line1")
assert "line40" not in heard
ok("cancelled in its stream")

thread = a_thread("begin and hang")
run = runs.create(thread_id=thread.id, assistant_id=assistant.id)
wait_for(lambda: runs.steps.list(run.id, thread_id=thread.id).data)
assert runs.cancel(run.id, thread_id=thread.id).status == "cancelling"
run = runs.poll(run.id, thread_id=thread.id, poll_interval_ms=20)
check_stopped(run.id, thread)
ok("cancelled by polling")

run = runs.create_and_poll(
    thread_id=a_thread("a poem").id, assistant_id=assistant.id, max_completion_tokens=16, poll_interval_ms=20
)
assert run.status == ("completed" if OLD else "incomplete"), run.status
assert run.incomplete_details.reason == "max_completion_tokens"
assert run.usage.completion_tokens == 16
assert run.max_completion_tokens == 16
message = client.beta.threads.messages.list(run.thread_id).data[0]
assert message.status == "incomplete"
assert message.incomplete_details.reason == "max_tokens"
assert len(text_of(message).split()) == 16
ok("out of tokens")

with runs.stream(thread_id=a_thread("a poem").id, assistant_id=assistant.id, max_completion_tokens=16) as stream:
    names = [event.event for event in stream]
assert names[-3:-1] == ["thread.message.incomplete", "thread.run.step.completed"]
assert names[-1] == ("thread.run.completed" if OLD else "thread.run.incomplete")
assert stream.get_final_run().status == ("completed" if OLD else "incomplete")
ok("out of tokens, in a stream")
