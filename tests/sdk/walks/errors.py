"""Every refusal arrives as the SDK's own class, with the platform's words."""

import openai
from openai import OpenAI
from program import MODEL, OLD, WEATHER, a_thread, an_assistant, client, ok, raises, wait_for

threads, runs = client.beta.threads, client.beta.threads.runs
assistant = an_assistant(tools=[WEATHER])
thread = a_thread("begin and hang")


def refused(error, code, message, param=None, kind="invalid_request_error"):
    assert message in error.message, error.message
    assert (error.code, error.param, error.type) == (code, param, kind), (error.code, error.param, error.type)
    assert error.request_id.startswith("req_") if not OLD else error.response.headers["x-request-id"]
    return error


stranger = OpenAI(api_key="sk-nobody-knows-this-one", max_retries=0)
error = raises(openai.AuthenticationError, stranger.models.list)
refused(error, "invalid_api_key", "Incorrect API key provided: sk-")
assert "sk-nobody-knows-this-one" not in error.message
raises(openai.AuthenticationError, stranger.beta.threads.create)
ok("AuthenticationError")

missing = {
    "assistant": (client.beta.assistants.retrieve, "asst_" + "0" * 24),
    "thread": (threads.retrieve, "thread_" + "0" * 24),
}
for noun, (call, id) in missing.items():
    refused(raises(openai.NotFoundError, call, id), None, f"No {noun} found with id '{id}'.")
other = a_thread("Hi")
finished = runs.create_and_poll(thread_id=other.id, assistant_id=assistant.id, poll_interval_ms=20)
for call, args, place in (
    (runs.retrieve, ["run_" + "0" * 24], {"thread_id": other.id}),
    (runs.retrieve, [finished.id], {"thread_id": thread.id}),
    (threads.messages.retrieve, ["msg_" + "0" * 24], {"thread_id": other.id}),
    (threads.messages.list, ["thread_" + "0" * 24], {}),
    (runs.steps.retrieve, ["step_" + "0" * 24], {"thread_id": other.id, "run_id": finished.id}),
    (runs.create, [], {"thread_id": other.id, "assistant_id": "asst_" + "0" * 24}),
    (client.beta.assistants.delete, ["asst_" + "0" * 24], {}),
):
    assert " found with id " in raises(openai.NotFoundError, call, *args, **place).message
error = raises(openai.NotFoundError, client.files.retrieve, "file-" + "0" * 22)
assert "No such File object: file-" in error.message
ok("NotFoundError")

none = {"OpenAI-Beta": ""}
error = raises(openai.BadRequestError, client.beta.assistants.list, extra_headers=none)
refused(error, "invalid_beta", "You must provide the 'OpenAI-Beta' header to access the Assistants API.")
refused(raises(openai.BadRequestError, threads.create, extra_headers=none), "invalid_beta", "'OpenAI-Beta' header")
ok("invalid_beta")

error = raises(openai.BadRequestError, threads.create, extra_body={"colour": "blue"})
refused(error, "unknown_parameter", "Unknown parameter: 'colour'.", "colour")
error = raises(openai.BadRequestError, threads.create, metadata={str(number): "x" for number in range(17)})
assert error.param == "metadata"
error = raises(openai.BadRequestError, threads.messages.create, other.id, role="robot", content="Hi")
refused(error, "invalid_value", "Invalid value: 'robot'. Supported values are: 'assistant' and 'user'.", "role")
error = raises(openai.BadRequestError, threads.messages.list, other.id, limit=101)
assert error.param == "limit"
known = (
    "'code_interpreter', 'function', and 'retrieval'" if OLD else "'code_interpreter', 'file_search', and 'function'"
)
wrong = "file_search" if OLD else "retrieval"
error = raises(openai.BadRequestError, client.beta.assistants.create, model=MODEL, tools=[WEATHER, {"type": wrong}])
refused(error, "invalid_value", f"Invalid value: '{wrong}'. Supported values are: {known}.", "tools[1].type")
ok("BadRequestError")

run = runs.create(thread_id=thread.id, assistant_id=assistant.id)
wait_for(lambda: runs.retrieve(run.id, thread_id=thread.id).status == "in_progress")
error = raises(openai.BadRequestError, threads.messages.create, thread.id, role="user", content="Are you there?")
refused(error, None, f"Can't add messages to {thread.id} while a run {run.id} is active.")
error = raises(openai.BadRequestError, runs.create, thread_id=thread.id, assistant_id=assistant.id)
refused(error, None, f"Thread {thread.id} already has an active run {run.id}.")
error = raises(openai.BadRequestError, runs.create, thread_id=thread.id, assistant_id=assistant.id, stream=True)
refused(error, None, f"Thread {thread.id} already has an active run {run.id}.")
outputs = [{"tool_call_id": "call_x", "output": "x"}]
error = raises(openai.BadRequestError, runs.submit_tool_outputs, run.id, thread_id=thread.id, tool_outputs=outputs)
refused(error, None, 'Runs in status "in_progress" do not accept tool outputs.')
error = raises(openai.BadRequestError, runs.update, run.id, thread_id=thread.id, metadata={"a": "b"})
refused(error, None, "Cannot update run with status 'in_progress'.")
runs.cancel(run.id, thread_id=thread.id)
assert runs.poll(run.id, thread_id=thread.id, poll_interval_ms=20).status == "cancelled"
error = raises(openai.BadRequestError, runs.cancel, run.id, thread_id=thread.id)
refused(error, None, "Cannot cancel run with status 'cancelled'.")
threads.messages.create(thread.id, role="user", content="call weather for Oslo and Bergen")
ok("a held thread")

run = runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
first, second = [call.id for call in run.required_action.submit_tool_outputs.tool_calls]
outputs = [{"tool_call_id": first, "output": "sun"}]
error = raises(openai.BadRequestError, runs.submit_tool_outputs, run.id, thread_id=thread.id, tool_outputs=outputs)
refused(error, None, f"Expected tool outputs for call_ids ['{first}', '{second}'], got ['{first}']")
runs.cancel(run.id, thread_id=thread.id)
ok("outputs that are not all there")

run = runs.create_and_poll(thread_id=a_thread("fail with 500").id, assistant_id=assistant.id, poll_interval_ms=20)
assert run.status == "failed"
assert run.last_error.code == "server_error"
assert run.failed_at
run = runs.create_and_poll(thread_id=a_thread("fail with 429").id, assistant_id=assistant.id, poll_interval_ms=20)
assert (run.status, run.last_error.code) == ("failed", "rate_limit_exceeded"), run.last_error
ok("runs that fail")


def chat(words):
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": words}])


assert raises(openai.RateLimitError, chat, "fail with 429").code == "rate_limit_exceeded"
assert raises(openai.InternalServerError, chat, "fail with 500").status_code >= 500
ok("RateLimitError and InternalServerError")
