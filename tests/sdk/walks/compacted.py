"""Runs whose logs have been compacted, read again: the SDK's accumulators rebuild what it had rebuilt live.

``begin`` makes the runs and prints what their streams had; ``again``, given those lines in WALK_SEEN, reads their logs.
"""

import json
import os
import sys

import openai
from openai.types.beta import AssistantStreamEvent
from program import OLD, WEATHER, a_thread, an_assistant, client, ok, text_of
from typing_extensions import override


class Listener(openai.AssistantEventHandler):
    """Notes what the SDK builds from the deltas alone, and what it calls its handler for."""

    def __init__(self):
        super().__init__()
        self.texts, self.steps, self.calls, self.deltas, self.run = {}, {}, [], 0, None

    @override
    def on_event(self, event):
        self.deltas += event.event.endswith(".delta")

    @override
    def on_text_created(self, text):
        self.calls.append("text_created")

    @override
    def on_text_done(self, text):
        self.calls.append(f"text_done {text.value}")

    @override
    def on_message_delta(self, delta, snapshot):
        self.texts[snapshot.id] = text_of(snapshot)

    @override
    def on_tool_call_created(self, tool_call):
        self.calls.append(f"tool_call_created {tool_call.function.name}")

    @override
    def on_tool_call_done(self, tool_call):
        self.calls.append(f"tool_call_done {tool_call.function.arguments}")

    @override
    def on_run_step_delta(self, delta, snapshot):
        calls = snapshot.step_details.tool_calls
        self.steps[snapshot.id] = [(call.id, call.function.name, call.function.arguments) for call in calls]

    def seen(self):
        """All of it, as JSON has it."""
        return json.loads(json.dumps([self.texts, self.steps, self.calls]))


def read(stream):
    """The run as it is behind its stream."""
    with stream as events:
        events.until_done()
    return events.current_run


def replayed(path):
    """A run's log by the SDK's own stream and handler."""
    listener = Listener()
    stream = client.get(
        path,
        cast_to=AssistantStreamEvent,
        options={"headers": {"OpenAI-Beta": "assistants=v1" if OLD else "assistants=v2"}},
        stream=True,
        stream_cls=openai.Stream[AssistantStreamEvent],
    )
    listener._init(stream)
    listener.until_done()
    return listener


def begin():
    assistant = an_assistant(tools=[WEATHER])
    for question in ("a poem", "call weather for Oslo and Bergen"):
        thread = a_thread(question)
        run = read(client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id))
        if run.status == "requires_action":
            calls = run.required_action.submit_tool_outputs.tool_calls
            outputs = [{"tool_call_id": call.id, "output": "rain"} for call in calls]
            read(
                client.beta.threads.runs.submit_tool_outputs_stream(
                    thread_id=thread.id, run_id=run.id, tool_outputs=outputs
                )
            )
        path = f"/threads/{thread.id}/runs/{run.id}/events"
        listener = replayed(path)
        assert listener.deltas > 4, listener.deltas
        print(json.dumps([path, listener.seen()]))


def again():
    for line in os.environ["WALK_SEEN"].splitlines():
        path, seen = json.loads(line)
        listener = replayed(path)
        assert listener.seen() == seen, (listener.seen(), seen)
        assert listener.deltas <= 4, listener.deltas
        assert listener.current_run.status == "completed"
        ok("replayed")


{"begin": begin, "again": again}[sys.argv[1]]()
