"""Streams read with the SDK's event handler: what its accumulators rebuild is what the server keeps."""

import openai
from program import WEATHER, a_thread, an_assistant, client, ok, text_of
from typing_extensions import override


class Listener(openai.AssistantEventHandler):
    """Notes every event, and the snapshots that the SDK builds from the deltas alone."""

    def __init__(self):
        super().__init__()
        self.events, self.calls = [], []
        self.texts, self.text, self.steps, self.tool_calls = {}, "", {}, {}
        self.done_messages, self.done_steps, self.done_texts = [], [], []
        self.ended = 0

    @override
    def on_event(self, event):
        self.events.append(event.event)

    @override
    def on_text_created(self, text):
        self.calls.append("text_created")

    @override
    def on_text_delta(self, delta, snapshot):
        self.text += delta.value or ""
        assert snapshot.value == self.text or snapshot.value == delta.value
        self.text = snapshot.value

    @override
    def on_message_delta(self, delta, snapshot):
        self.texts[snapshot.id] = text_of(snapshot)

    @override
    def on_text_done(self, text):
        self.done_texts.append(text.value)

    @override
    def on_message_done(self, message):
        self.done_messages.append(message)

    @override
    def on_run_step_delta(self, delta, snapshot):
        self.steps[snapshot.id] = [call.model_copy(deep=True) for call in snapshot.step_details.tool_calls]

    @override
    def on_tool_call_created(self, tool_call):
        self.calls.append(f"tool_call_created {tool_call.function.name}")

    @override
    def on_tool_call_done(self, tool_call):
        self.tool_calls[tool_call.id] = (tool_call.function.name, tool_call.function.arguments)

    @override
    def on_run_step_done(self, run_step):
        self.done_steps.append(run_step)

    @override
    def on_end(self):
        self.ended += 1


def collapsed(events):
    """The events without their repetitions one after another."""
    return [event for place, event in enumerate(events) if place == 0 or events[place - 1] != event]


BEGIN = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
SPOKEN = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
]
CALLED = ["thread.run.step.created", "thread.run.step.in_progress", "thread.run.step.delta"]

assistant = an_assistant(tools=[WEATHER])

thread = a_thread("a poem")
listener = Listener()
with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=listener) as stream:
    stream.until_done()
assert collapsed(listener.events) == [*BEGIN, *SPOKEN, "thread.run.completed"]
assert listener.events.count("thread.message.delta") >= 40
(rebuilt,) = listener.texts.items()
run = listener.get_final_run()
assert run.status == "completed"
assert run == client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
stored = client.beta.threads.messages.list(thread.id).data[0]
assert rebuilt == (stored.id, text_of(stored))
assert len(text_of(stored).split()) == 40
assert listener.done_messages == [stored]
assert listener.get_final_messages() == [stored]
assert listener.done_texts == [text_of(stored)]
assert listener.calls == ["text_created"]
assert listener.ended == 1
steps = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
assert listener.done_steps == steps
assert len(steps) == 1
ok("a message rebuilt")

thread = a_thread("call weather for Oslo and Bergen")
listener = Listener()
with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=listener) as stream:
    stream.until_done()
assert collapsed(listener.events) == [*BEGIN, *CALLED, "thread.run.requires_action"]
run = listener.get_final_run()
assert run.status == "requires_action"
assert run == client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
wanted = run.required_action.submit_tool_outputs.tool_calls
(step,) = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
assert step.status == "in_progress"
assert step.usage is None
((step_id, rebuilt),) = listener.steps.items()
assert step_id == step.id


def plain(calls):
    return [(call.id, call.type, call.function.name, call.function.arguments) for call in calls]


assert plain(rebuilt) == plain(step.step_details.tool_calls) == plain(wanted)
assert len(wanted) == 2
assert [call.function.output for call in rebuilt] == [None, None]
assert listener.tool_calls == {call.id: (call.function.name, call.function.arguments) for call in wanted}
assert listener.calls == ["tool_call_created weather", "tool_call_created weather"]
ok("calls rebuilt")

listener = Listener()
outputs = [{"tool_call_id": call.id, "output": f"rain {number}"} for number, call in enumerate(wanted)]
with client.beta.threads.runs.submit_tool_outputs_stream(
    thread_id=thread.id, run_id=run.id, tool_outputs=outputs, event_handler=listener
) as stream:
    assert "".join(stream.text_deltas) == "I heard: rain 0; rain 1"
after = ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]
assert collapsed(listener.events) == [*after, *SPOKEN, "thread.run.completed"]
done, told = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc").data
assert listener.done_steps == [done, told]
assert [call.function.output for call in done.step_details.tool_calls] == ["rain 0", "rain 1"]
assert plain(done.step_details.tool_calls) == plain(wanted)
assert done.status == "completed"
run = client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
assert run == listener.get_final_run()
assert run.required_action is None
assert run.usage.total_tokens == done.usage.total_tokens + told.usage.total_tokens
ok("a stream of submitted outputs")

with client.beta.threads.create_and_run_stream(
    assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "a poem"}]}
) as stream:
    events = list(stream)
assert collapsed([event.event for event in events]) == ["thread.created", *BEGIN, *SPOKEN, "thread.run.completed"]
assert events[0].data == client.beta.threads.retrieve(events[0].data.id)
assert events[-1].data.thread_id == events[0].data.id
ok("create_and_run_stream")

thread = a_thread("Hi")
raw = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True)
names = [event.event for event in raw]
assert collapsed(names) == [*BEGIN, *SPOKEN, "thread.run.completed"]
ok("a plain stream")
