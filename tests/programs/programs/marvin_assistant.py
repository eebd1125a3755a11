"""Marvin 2: assistants with tools, each run a stream."""

import os

import marvin
from marvin.beta.assistants import Assistant, Thread

assert marvin.settings.openai.base_url in (None, os.environ["OPENAI_BASE_URL"])


def weather(city: str) -> str:
    """The weather in a city"""
    return f"rain in {city}"


def last_of(thread):
    return thread.get_messages()[-1].content[0].text.value


with Assistant(name="helper", instructions="Be brief.", model="gpt-4o") as helper:
    run = helper.say("hello")
    assert run.run.status == "completed"
    assert last_of(helper.default_thread) == "You said: hello"
print("ok an assistant")

with Assistant(name="reporter", instructions="Be brief.", model="gpt-4o", tools=[weather]) as reporter:
    thread = Thread()
    run = reporter.say("the weather in Oslo", thread=thread)
    assert run.run.status == "completed"
    assert last_of(thread) == "I heard: rain in Oslo"
print("ok a tool")
