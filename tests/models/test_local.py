"""Chat on the default model."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from everloom.kit.errors import ApiError, NotFound
from tests.models.local_model import NAME, Local, loaded, user

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z][a-z]{1,8}$"},
        "age": {"type": "integer", "minimum": 1, "maximum": 120},
        "kind": {"enum": ["cat", "dog"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with loaded() as local:
        yield local


def refused(local: Local, **body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        local.chat(**body)
    return caught.value


def test_an_answer_in_the_references_shape(local: Local) -> None:
    answer = local.chat(messages=user("What is the capital of France?"))
    (choice,) = answer.choices
    assert choice.message.content
    assert (answer.object, answer.model, choice.message.role) == ("chat.completion", NAME, "assistant")
    assert answer.id.startswith("chatcmpl-")
    assert answer.system_fingerprint is not None
    raw = json.loads(local.run(local.bytes(messages=user("Hi"), max_tokens=2)))["choices"][0]
    assert raw["message"] == {"role": "assistant", "content": raw["message"]["content"], "refusal": None}
    assert raw["logprobs"] is None


def test_the_stream_says_the_same(local: Local) -> None:
    asked: dict[str, Any] = {"messages": user("Name a colour."), "seed": 7, "temperature": 0}
    whole = local.chat(**asked)
    chunks = local.stream(**asked, stream_options={"include_usage": True})
    *said, last = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in said)
    assert text == whole.choices[0].message.content
    assert said[0].choices[0].delta.role == "assistant"
    assert said[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert all(chunk.usage is None for chunk in said)
    assert last.choices == []
    assert last.usage is not None
    assert whole.usage is not None
    assert last.usage.total_tokens == whole.usage.total_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_without_usage_has_no_such_key(local: Local) -> None:
    text = local.run(local.bytes(messages=user("Hi"), max_tokens=2, stream=True)).decode()
    assert '"usage"' not in text
    assert "timings" not in text


def test_the_count_is_the_usage(local: Local) -> None:
    for messages in (user("Grüße, 世界! 🦊"), [{"role": "system", "content": "Be brief."}, *user("Hi")]):
        usage = local.chat(messages=messages, max_tokens=3).usage
        assert usage is not None
        assert usage.prompt_tokens == local.run(local.backend.count(local.request(messages=messages)))
        assert usage.completion_tokens == 3
        assert usage.total_tokens == usage.prompt_tokens + 3


def test_the_limit_of_tokens_is_kept_and_told(local: Local) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        answer = local.chat(messages=user("Tell me a long story."), **{"max_tokens": None, name: 4})
        assert answer.choices[0].finish_reason == "length"


def test_it_stops_where_it_is_told(local: Local) -> None:
    plain = local.chat(messages=user("Count to nine.")).choices[0].message.content or ""
    mark = plain[10:14]
    for stop in (mark, ["never said", mark]):
        (choice,) = local.chat(messages=user("Count to nine."), stop=stop).choices
        assert choice.message.content == plain[: plain.index(mark)]
        assert choice.finish_reason == "stop"


def test_a_seed_repeats_and_choices_differ(local: Local) -> None:
    asked: dict[str, Any] = {
        "messages": user("Invent a word."),
        "temperature": 1.5,
        "seed": 42,
        "n": 3,
        "max_tokens": 8,
    }
    first, again = local.chat(**asked), local.chat(**asked)
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in first.choices}) > 1
    assert first.choices[0].message.content == again.choices[0].message.content
    assert first.usage is not None
    assert 16 < first.usage.completion_tokens <= 24


def test_choices_of_a_stream_are_told_apart(local: Local) -> None:
    chunks = local.stream(messages=user("Say something."), n=2, max_tokens=3, temperature=1)
    ends = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(ends) == [0, 1]


def test_log_probabilities(local: Local) -> None:
    answer = local.chat(messages=user("Hi"), max_tokens=3, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(token.token for token in logprobs.content) == answer.choices[0].message.content
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in logprobs.content)
    bare = local.chat(messages=user("Hi"), max_tokens=1, logprobs=True).choices[0].logprobs
    assert bare is not None
    assert bare.content is not None
    assert bare.content[0].top_logprobs == []


def test_a_banned_token_is_not_said(local: Local) -> None:
    said = local.chat(messages=user("Say hello"), max_tokens=1, logprobs=True)
    token = local.run(_token_id(local, said.choices[0].message.content or ""))
    other = local.chat(messages=user("Say hello"), max_tokens=1, logit_bias={str(token): -100})
    assert other.choices[0].message.content != said.choices[0].message.content


async def _token_id(local: Local, text: str) -> int:
    engine = (await local.backend._models[NAME].engine()).plain
    tokens: list[int] = (await engine.ask("/tokenize", {"content": text}))["tokens"]
    return tokens[0]


def test_penalties_are_heard(local: Local) -> None:
    asked: dict[str, Any] = {"messages": user("Repeat the word fox for ever."), "max_tokens": 24}
    plain = local.chat(**asked).choices[0].message.content
    assert local.chat(**asked, frequency_penalty=2, presence_penalty=2).choices[0].message.content != plain


@pytest.mark.parametrize("strict", [True, False, None])
def test_json_by_a_schema(local: Local, strict: bool | None) -> None:
    format = {"type": "json_schema", "json_schema": {"name": "animal", "schema": PERSON, "strict": strict}}
    answer = local.chat(messages=user("Describe Tom the cat."), response_format=format, max_tokens=60, temperature=1)
    assert answer.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(answer.choices[0].message.content or ""), PERSON)


def test_json_mode_begins_an_object(local: Local) -> None:
    answer = local.chat(messages=user("A fox as JSON"), response_format={"type": "json_object"}, max_tokens=12)
    assert (answer.choices[0].message.content or "").startswith("{")
    plain = local.chat(messages=user("Say hi"), response_format={"type": "text"}, max_tokens=2)
    assert plain.choices[0].message.content


def test_a_schema_that_cannot_be_enforced_is_refused_when_strict(local: Local) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?=a)b$"}}, "required": ["a"]}
    format = {"type": "json_schema", "json_schema": {"name": "odd", "schema": schema, "strict": True}}
    error = refused(local, messages=user("Hi"), response_format=format)
    assert (error.status, error.param) == (400, "response_format")
    assert error.message.startswith("Invalid schema for response_format 'odd'")
    format["json_schema"] = {"name": "odd", "schema": schema}
    relaxed = local.chat(messages=user("Hi"), response_format=format, max_tokens=60)
    assert (relaxed.choices[0].message.content or "").startswith('{"a": "')


TREE = {
    "type": "object",
    "properties": {
        "value": {"type": "integer", "minimum": 0, "maximum": 9},
        "kids": {"type": "array", "items": {"$ref": "#"}, "maxItems": 1},
    },
    "required": ["value", "kids"],
    "additionalProperties": False,
}


def test_a_schema_that_refers_to_itself_makes_trees(local: Local) -> None:
    format = {"type": "json_schema", "json_schema": {"name": "tree", "schema": TREE, "strict": True}}
    (choice,) = local.chat(
        messages=user("A tree"), response_format=format, max_tokens=120, temperature=0.8, seed=3
    ).choices
    assert (choice.message.content or "").startswith('{"value": ')
    if choice.finish_reason == "stop":
        jsonschema.validate(json.loads(choice.message.content or ""), TREE)


@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_that_only_refers_to_itself_is_refused(local: Local, strict: bool) -> None:
    child = local.backend.children()
    for schema in ({"$ref": "#"}, {"type": "array", "maxItems": 10**8}):
        format = {"type": "json_schema", "json_schema": {"name": "loop", "schema": schema, "strict": strict}}
        error = refused(local, messages=user("Hi"), response_format=format)
        assert (error.status, error.param) == (400, "response_format")
        assert error.message.startswith("Invalid schema for response_format 'loop': it")
        tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": strict}}
        error = refused(local, messages=user("Hi"), tools=[tool])
        assert (error.param, error.code) == ("tools[0].function.parameters", "invalid_function_parameters")
    assert local.backend.children() == child


def test_tokens_that_the_model_does_not_have(local: Local) -> None:
    error = refused(local, messages=user("Hi"), logit_bias={"100257": 5})
    assert (error.status, error.param) == (400, "logit_bias")
    assert error.message == "Invalid key in 'logit_bias': 100257. Maximum value is 49151."


def test_an_empty_sequence_stops_nothing(local: Local) -> None:
    for stop in ("", ["", "never said"]):
        assert local.chat(messages=user("Hi"), stop=stop, max_tokens=4).choices[0].message.content


def test_there_is_one_tier(local: Local) -> None:
    for tier in ("auto", "default"):
        told = json.loads(local.run(local.bytes(messages=user("Hi"), max_tokens=1, service_tier=tier)))
        assert told["service_tier"] == "default"
    error = refused(local, messages=user("Hi"), service_tier="flex")
    assert (error.param, error.code) == ("service_tier", "invalid_value")


def test_a_prompt_longer_than_the_window(local: Local) -> None:
    window = local.run(local.backend.traits(NAME)).context_window
    assert window == 4096
    messages = user("hi " * 6000)
    tokens = local.run(local.backend.count(local.request(messages=messages)))
    error = refused(local, messages=messages)
    assert (error.status, error.param, error.code) == (400, "messages", "context_length_exceeded")
    assert error.message == (
        f"This model's maximum context length is 4096 tokens. However, your messages resulted in {tokens} tokens. "
        "Please reduce the length of the messages."
    )


@pytest.mark.parametrize("messages", [user("hi") * 200_000, user("hi " * 5_000_000)], ids=["many", "long"])
def test_a_prompt_without_hope_is_refused_at_once(local: Local, messages: list[dict[str, str]]) -> None:
    begun = time.monotonic()
    assert refused(local, messages=messages).code == "context_length_exceeded"
    assert time.monotonic() - begun < 5


def test_content_parts_are_text_or_refused(local: Local) -> None:
    parts = [{"type": "text", "text": "What is the capital"}, {"type": "text", "text": "of France?"}]
    assert local.chat(messages=[{"role": "user", "content": parts}], max_tokens=3).choices[0].message.content
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    error = refused(local, messages=[{"role": "user", "content": [parts[0], image]}])
    assert (error.status, error.param) == (400, "messages.[0].content.[1].type")
    assert "image_url is only supported by certain models" in error.message


@pytest.mark.parametrize("name", ["prediction", "audio", "modalities", "reasoning_effort", "top_k"])
def test_what_cannot_be_honoured_is_refused(local: Local, name: str) -> None:
    error = refused(local, messages=user("Hi"), **{name: {"type": "x"}})
    assert (error.status, error.param, error.code) == (400, name, "unsupported_parameter")


def test_what_is_null_or_the_servers_business_passes(local: Local) -> None:
    answer = local.chat(
        messages=user("Hi"), max_tokens=1, audio=None, stop=None, tools=None, seed=None, user="u", store=False, n=None
    )
    assert len(answer.choices) == 1
    assert json.loads(local.run(local.bytes(messages=user("Hi"), max_tokens=1, service_tier="auto")))["service_tier"]


def test_four_at_once_and_more_in_a_queue(local: Local) -> None:
    async def all_of_them() -> list[bytes]:
        return await asyncio.gather(*(local.bytes(messages=user(f"Say {index}"), max_tokens=8) for index in range(9)))

    answers = [json.loads(said) for said in local.run(all_of_them())]
    assert all(answer["choices"][0]["message"]["content"] for answer in answers)


def test_a_model_by_another_name_is_not_found(local: Local) -> None:
    with pytest.raises(NotFound) as caught:
        local.run(local.backend.chat({"model": "gpt-4", "messages": user("Hi")}))
    assert caught.value.code == "model_not_found"
    assert [model.id for model in local.run(local.backend.models())] == [NAME]
