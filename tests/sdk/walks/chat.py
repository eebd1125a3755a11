"""Models and chat completions, whole and streamed."""

import json

import openai
from program import MODEL, OLD, WEATHER, client, ok, raises

models = list(client.models.list())
assert MODEL in [model.id for model in models]
assert len({model.id for model in models}) == len(models)
model = client.models.retrieve(MODEL)
assert (model.id, model.object) == (MODEL, "model")
assert model.owned_by
assert isinstance(model.created, int)
ok("models")

hello = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]
done = client.chat.completions.create(model=MODEL, messages=hello)
assert done.id.startswith("chatcmpl-")
assert done.object == "chat.completion"
assert done.model == MODEL
(choice,) = done.choices
assert (choice.index, choice.finish_reason) == (0, "stop")
assert choice.message.role == "assistant"
assert choice.message.content == "You said: Hello there"
assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
cut = client.chat.completions.create(model=MODEL, messages=hello, max_tokens=2, stop=["zzz"], temperature=0.5)
assert cut.choices[0].finish_reason == "length"
assert cut.choices[0].message.content == "You said:"
ok("a completion")

chunks = list(client.chat.completions.create(model=MODEL, messages=hello, stream=True))
assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
assert len({chunk.id for chunk in chunks}) == 1
text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
assert text == "You said: Hello there"
assert chunks[-1].choices[0].finish_reason == "stop"
assert chunks[0].choices[0].delta.role == "assistant"
assert len(chunks) > 4
ok("a stream")

if not OLD:
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model=MODEL, messages=hello, stream=True, stream_options=options))
    assert chunks[-1].choices == []
    assert chunks[-1].usage == done.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    ok("usage in a stream")

question = [{"role": "user", "content": "call weather for Oslo and Bergen"}]
asked = client.chat.completions.create(model=MODEL, messages=question, tools=[WEATHER])
calls = asked.choices[0].message.tool_calls
assert asked.choices[0].finish_reason == "tool_calls"
assert asked.choices[0].message.content is None
assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Oslo", "Bergen"]
turn = {"role": "assistant", "content": None, "tool_calls": [call.model_dump() for call in calls]}
outputs = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in calls]
told = client.chat.completions.create(model=MODEL, messages=[*question, turn, *outputs], tools=[WEATHER])
assert told.choices[0].message.content == "I heard: rain; rain"
pieces = {}
for chunk in client.chat.completions.create(model=MODEL, messages=question, tools=[WEATHER], stream=True):
    for call in chunk.choices[0].delta.tool_calls or []:
        pieces.setdefault(call.index, []).append(call.function.arguments or "")
assert ["".join(piece) for piece in pieces.values()] == [call.function.arguments for call in calls]
ok("tools")

raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=hello)
assert raw.headers["x-request-id"].startswith("req_")
assert raw.headers["openai-version"] == "2020-10-01"
assert raw.parse().choices[0].message.content == "You said: Hello there"
error = raises(openai.BadRequestError, client.chat.completions.create, model=MODEL, messages=hello, temperature=3)
assert error.param == "temperature"
ok("headers and refusals")
