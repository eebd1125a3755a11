"""What every walk begins with: the official client, just as strict as it can be made.

The address and the key come from the variables that the SDK itself reads, OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import os
import time
import warnings

import openai
from openai import OpenAI

# The newest SDK calls the Assistants API deprecated; that is why these programs are here.
warnings.simplefilter("ignore", DeprecationWarning)

MODEL = os.environ["WALK_MODEL"]
OLD = openai.__version__ == "1.20.0"
"""Whether this SDK speaks v1, in which nothing is called file_search, attachments or incomplete."""

client = OpenAI(_strict_response_validation=True, max_retries=0, timeout=60)

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
COMPARE = {
    "type": "function",
    "function": {
        "name": "compare",
        "description": "Compare reports",
        "parameters": {"type": "object", "properties": {"reports": {"type": "array", "items": {"type": "string"}}}},
    },
}


def an_assistant(**fields):
    return client.beta.assistants.create(**{"model": MODEL, "instructions": "Be brief.", **fields})


def a_thread(*texts):
    return client.beta.threads.create(messages=[{"role": "user", "content": text} for text in texts])


def text_of(message):
    (part,) = message.content
    assert part.type == "text"
    return part.text.value


def answer_of(run):
    """The newest message of the run's thread, which must be the run's own."""
    message = client.beta.threads.messages.list(run.thread_id).data[0]
    assert message.run_id == run.id
    assert message.role == "assistant"
    return text_of(message)


def wait_for(look, seconds=30):
    """What ``look()`` returns, once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
    return found


def raises(kind, call, *args, **kwargs):
    """The SDK's error of exactly this class that the call must raise."""
    try:
        call(*args, **kwargs)
    except kind as error:
        if type(error) is kind:
            return error
        raise
    raise AssertionError(f"{kind.__name__} was not raised")


def ok(what):
    print("ok", what, flush=True)
