"""Function calling: parallel calls, a second round, and what the run keeps of them."""

import json

from program import COMPARE, OLD, WEATHER, a_thread, an_assistant, answer_of, client, ok, text_of

assistant = an_assistant(tools=[WEATHER, COMPARE])
thread = a_thread("call weather for Oslo and Bergen, then compare")
runs = client.beta.threads.runs

run = runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
assert run.status == "requires_action"
assert run.required_action.type == "submit_tool_outputs"
oslo, bergen = run.required_action.submit_tool_outputs.tool_calls
assert oslo.id != bergen.id
assert oslo.type == bergen.type == "function"
assert [json.loads(call.function.arguments)["city"] for call in (oslo, bergen)] == ["Oslo", "Bergen"]
assert run.usage is None
assert run.completed_at is None
ok("parallel calls")

outputs = [{"tool_call_id": bergen.id, "output": "rain"}, {"tool_call_id": oslo.id, "output": "sun"}]
run = runs.submit_tool_outputs_and_poll(thread_id=thread.id, run_id=run.id, tool_outputs=outputs, poll_interval_ms=20)
assert run.status == "requires_action"
(compare,) = run.required_action.submit_tool_outputs.tool_calls
assert compare.function.name == "compare"
assert json.loads(compare.function.arguments) == {"reports": ["sun", "rain"]}
ok("a second round")

run = runs.submit_tool_outputs(
    thread_id=thread.id, run_id=run.id, tool_outputs=[{"tool_call_id": compare.id, "output": "Oslo wins"}]
)
assert run.status == "queued"
assert run.required_action is None
run = runs.poll(run.id, thread_id=thread.id, poll_interval_ms=20)
assert run.status == "completed"
assert answer_of(run) == "I heard: sun; rain; Oslo wins"
ok("submit, then poll")

steps = runs.steps.list(run.id, thread_id=thread.id, order="asc").data
kinds = [(step.type, step.status) for step in steps]
spoken, called = ("message_creation", "completed"), ("tool_calls", "completed")
assert kinds == [called, spoken, called, spoken], kinds
found = [(call.id, call.function.output) for call in steps[0].step_details.tool_calls]
assert found == [(oslo.id, "sun"), (bergen.id, "rain")]
assert [call.function.output for call in steps[2].step_details.tool_calls] == ["Oslo wins"]
assert sum(step.usage.total_tokens for step in steps) == run.usage.total_tokens
texts = [text_of(message) for message in client.beta.threads.messages.list(thread.id, order="asc")]
assert texts[1:] == ["Let me compare.", "I heard: sun; rain; Oslo wins"]
ok("what was kept")

choice = {"type": "function", "function": {"name": "compare"}}
run = runs.create_and_poll(
    thread_id=a_thread("Hi").id, assistant_id=assistant.id, tool_choice=choice, poll_interval_ms=20
)
assert run.status == "requires_action"
assert run.tool_choice.function.name == "compare"
(call,) = run.required_action.submit_tool_outputs.tool_calls
assert call.function.name == "compare"
run = runs.cancel(run.id, thread_id=run.thread_id)
assert run.status in ("cancelling", "cancelled")
run = runs.poll(run.id, thread_id=run.thread_id, poll_interval_ms=20)
assert run.status == "cancelled"
assert run.required_action is None
ok("a forced call, given up")

tools = [COMPARE]
run = runs.create_and_poll(
    thread_id=a_thread("call weather for Rome").id,
    assistant_id=an_assistant().id,
    tools=[WEATHER],
    poll_interval_ms=20,
    **({} if OLD else {"parallel_tool_calls": False}),
)
assert run.status == "requires_action"
assert [tool.function.name for tool in run.tools] == ["weather"]
if not OLD:
    assert run.parallel_tool_calls is False
ok("tools of the run alone")
