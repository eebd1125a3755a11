"""The event handler of Chainlit's cookbook for assistants, with stand-ins for what Chainlit shows."""

import asyncio

from openai import AsyncAssistantEventHandler, AsyncOpenAI

client = AsyncOpenAI()


class Message:
    def __init__(self):
        self.content = ""
        self.elements = []

    def stream_token(self, token):
        self.content += token


class Step:
    def __init__(self, name):
        self.name = name
        self.input = ""
        self.output = ""
        self.ended = False


class EventHandler(AsyncAssistantEventHandler):
    def __init__(self):
        super().__init__()
        self.message = None
        self.messages = []
        self.steps = []
        self.images = []
        self.files = {}
        self.errors = []

    async def on_text_created(self, text):
        self.message = Message()
        self.messages.append(self.message)

    async def on_text_delta(self, delta, snapshot):
        self.message.stream_token(delta.value)

    async def on_text_done(self, text):
        assert self.message.content == text.value
        for annotation in text.annotations:
            if annotation.type == "file_path":
                response = await client.files.with_raw_response.content(annotation.file_path.file_id)
                name = annotation.text.split("/")[-1]
                self.files[name] = response.content
                self.message.content = self.message.content.replace(annotation.text, f"/files/{name}")
            if annotation.type == "file_citation":
                cited = await client.files.retrieve(annotation.file_citation.file_id)
                self.message.content = self.message.content.replace(annotation.text, f" [{cited.filename}]")

    async def on_tool_call_created(self, tool_call):
        self.steps.append(Step(tool_call.type))

    async def on_tool_call_delta(self, delta, snapshot):
        if delta.type != "code_interpreter":
            return
        if delta.code_interpreter.outputs:
            for output in delta.code_interpreter.outputs:
                if output.type == "logs":
                    self.steps[-1].output += output.logs
        elif delta.code_interpreter.input:
            self.steps[-1].input += delta.code_interpreter.input

    async def on_tool_call_done(self, tool_call):
        self.steps[-1].ended = True

    async def on_image_file_done(self, image_file):
        response = await client.files.with_raw_response.content(image_file.file_id)
        self.images.append(response.content)

    async def on_event(self, event):
        if event.event == "error":
            self.errors.append(event.data.message)

    async def on_exception(self, exception):
        self.errors.append(str(exception))


async def say(assistant, words):
    thread = await client.beta.threads.create()
    await client.beta.threads.messages.create(thread_id=thread.id, role="user", content=words)
    handler = EventHandler()
    async with client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id=assistant.id, event_handler=handler
    ) as stream:
        await stream.until_done()
    assert handler.errors == [], handler.errors
    return handler


async def main():
    boats = await client.files.create(
        file=("boats.txt", b"The oldest boat in the harbour is the Albatross."), purpose="assistants"
    )
    store = await client.vector_stores.create(name="boats")
    await client.vector_stores.files.create_and_poll(boats.id, vector_store_id=store.id, poll_interval_ms=50)
    assistant = await client.beta.assistants.create(
        model="gpt-4o",
        instructions="Be brief.",
        tools=[{"type": "code_interpreter"}, {"type": "file_search"}],
        tool_resources={"file_search": {"vector_store_ids": [store.id]}},
    )
    handler = await say(assistant, "hello")
    assert [message.content for message in handler.messages] == ["You said: hello"]
    print("ok text")

    handler = await say(assistant, "Which is the oldest boat?")
    assert handler.messages[-1].content == "It is the Albatross [boats.txt].", handler.messages[-1].content
    assert [step.name for step in handler.steps] == ["file_search"]
    print("ok citations")

    handler = await say(assistant, "draw it")
    (step,) = handler.steps
    assert step.ended
    assert "plt.show()" in step.input
    assert "42" in step.output
    (image,) = handler.images
    assert image.startswith(b"\x89PNG")
    assert handler.files == {"sum.txt": b"42"}
    assert handler.messages[-1].content == "It is 42: [sum](/files/sum.txt)."
    print("ok pictures and files")


asyncio.run(main())
