"""The assistant's own tools, as a program of either era uses them: files asked about, code run, plots fetched."""

from program import MODEL, OLD, an_assistant, answer_of, client, ok, wait_for

SEARCH = "retrieval" if OLD else "file_search"
runs = client.beta.threads.runs


def a_file(name, data):
    return client.files.create(file=(name, data), purpose="assistants")


def calls_of(run):
    steps = runs.steps.list(run_id=run.id, thread_id=run.thread_id, order="asc")
    return [call for step in steps if step.type == "tool_calls" for call in step.step_details.tool_calls]


def run_on(words, assistant, **message):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": words, **message}])
    run = runs.create(thread_id=thread.id, assistant_id=assistant.id)

    def ended():
        found = runs.retrieve(run.id, thread_id=thread.id)
        return found if found.status not in ("queued", "in_progress") else None

    run = wait_for(ended, seconds=90)
    assert run.status == "completed", run.last_error
    return run


boats = a_file("boats.txt", b"The oldest boat in the harbour is the Albatross.")
if OLD:
    assistant = an_assistant(tools=[{"type": "retrieval"}], file_ids=[boats.id])
    assert assistant.file_ids == [boats.id]
    assert [file.id for file in client.beta.assistants.files.list(assistant.id)] == [boats.id]
else:
    store = client.vector_stores.create(name="boats")
    client.vector_stores.files.create_and_poll(boats.id, vector_store_id=store.id, poll_interval_ms=20)
    resources = {"file_search": {"vector_store_ids": [store.id]}}
    assistant = an_assistant(tools=[{"type": "file_search"}], tool_resources=resources)
    wait_for(lambda: client.vector_stores.retrieve(store.id).status == "completed")
run = wait_for(
    lambda: (found := run_on("search for the oldest boat", assistant)) and "【" in answer_of(found) and found
)
message = client.beta.threads.messages.list(run.thread_id).data[0]
(part,) = message.content
(cited,) = part.text.annotations
assert part.text.value[cited.start_index : cited.end_index] == cited.text
assert cited.file_citation.file_id == boats.id
(call,) = calls_of(run)
assert call.type == SEARCH
if not OLD:
    assert call.file_search.results[0].file_id == boats.id
    include = "step_details.tool_calls[*].file_search.results[*].content"
    (step,) = [
        step
        for step in runs.steps.list(run_id=run.id, thread_id=run.thread_id, include=[include])
        if step.type == "tool_calls"
    ]
    assert "Albatross" in step.step_details.tool_calls[0].file_search.results[0].content[0].text
ok("search")

table = a_file("numbers.csv", b"number\n20\n22\n")
coder = an_assistant(tools=[{"type": "code_interpreter"}])
attached = (
    {"file_ids": [table.id]}
    if OLD
    else {"attachments": [{"file_id": table.id, "tools": [{"type": "code_interpreter"}]}]}
)
run = run_on("add up and plot numbers.csv", coder, **attached)
(call,) = calls_of(run)
assert call.type == "code_interpreter"
assert "numbers.csv" in call.code_interpreter.input
logs = "".join(output.logs for output in call.code_interpreter.outputs if output.type == "logs")
(image,) = [output.image.file_id for output in call.code_interpreter.outputs if output.type == "image"]
assert "42" in logs
assert client.files.content(image).read().startswith(b"\x89PNG")
message = client.beta.threads.messages.list(run.thread_id).data[0]
picture, text = message.content
assert picture.image_file.file_id == image
(path,) = text.text.annotations
assert path.type == "file_path"
assert client.files.content(path.file_path.file_id).read() == b"42"
assert client.files.retrieve(path.file_path.file_id).filename == "sum.txt"
ok("code")

if OLD:
    asked = client.beta.threads.messages.list(run.thread_id, order="asc").data[0]
    assert asked.file_ids == [table.id]
    (file,) = client.beta.threads.messages.files.list(asked.id, thread_id=run.thread_id)
    assert file.id == table.id
    client.beta.assistants.files.delete(boats.id, assistant_id=assistant.id)
    assert client.beta.assistants.retrieve(assistant.id).file_ids == []
else:
    poll = client.beta.threads.create_and_run_poll
    thread = {"messages": [{"role": "user", "content": "say something", "attachments": []}]}
    assert poll(assistant_id=coder.id, thread=thread, model=MODEL, poll_interval_ms=20).status == "completed"
ok("files")
