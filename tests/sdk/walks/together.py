"""Eight conversations at once over one asynchronous client: each stream brings its own run and nothing else."""

import asyncio

import openai
from openai import AsyncOpenAI
from program import WEATHER, an_assistant, ok

client = AsyncOpenAI(_strict_response_validation=True, max_retries=0, timeout=60)
assistant = an_assistant(tools=[WEATHER])


class Listener(openai.AsyncAssistantEventHandler):
    def __init__(self):
        super().__init__()
        self.runs, self.threads, self.heard = set(), set(), ""

    async def on_event(self, event):
        data = event.data
        if event.event.startswith("thread.run.") and not event.event.startswith("thread.run.step."):
            self.runs.add(data.id)
        for name, found in (("run_id", self.runs), ("thread_id", self.threads)):
            if getattr(data, name, None):
                found.add(getattr(data, name))

    async def on_text_delta(self, delta, snapshot):
        self.heard += delta.value or ""


async def conversation(number):
    runs = client.beta.threads.runs
    city = f"City {number}"
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": f"call weather for {city}"}])
    first, second = Listener(), Listener()
    async with runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=first) as stream:
        await stream.until_done()
    run = await first.get_final_run()
    assert run.status == "requires_action", run
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    assert city in call.function.arguments
    outputs = [{"tool_call_id": call.id, "output": f"{city} is dry"}]
    async with runs.submit_tool_outputs_stream(
        thread_id=thread.id, run_id=run.id, tool_outputs=outputs, event_handler=second
    ) as stream:
        await stream.until_done()
    assert second.heard == f"I heard: {city} is dry"
    assert first.runs == second.runs == {run.id}
    assert first.threads == second.threads == {thread.id}
    messages = [message async for message in client.beta.threads.messages.list(thread.id, limit=1)]
    assert [message.role for message in messages] == ["assistant", "user"]
    return run.id


async def main():
    async with client:
        made = await asyncio.gather(*(conversation(number) for number in range(8)))
    assert len(set(made)) == 8


asyncio.run(main())
ok("eight at once")
