"""What every backend that chats promises, whoever answers behind it: the port ``Chats`` of ``models/base.py``."""

import asyncio
from typing import Any

import msgspec
import pytest

from everloom.kit.sse import DataLines
from everloom.models.base import Answer, Chats
from tests.contracts.adapters import Opened, of


def says(model: str, text: str = "Say a few words about rain.", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 24, **more}


async def read(answer: Answer) -> bytes:
    try:
        return b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()


async def whole(backend: Chats, body: dict[str, Any]) -> dict[str, Any]:
    answer = await backend.chat(body)
    assert answer.content_type == "application/json"
    assert answer.model
    return msgspec.json.decode(await read(answer))


async def chunks(backend: Chats, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await backend.chat({**body, "stream": True})
    assert answer.content_type.partition(";")[0] == "text/event-stream"
    events = DataLines().feed(await read(answer))
    assert events[-1] == b"[DONE]"
    return [msgspec.json.decode(event) for event in events[:-1]]


@of("chat")
def test_a_completion(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        answer = await whole(backend, says(model))
        assert answer["object"] == "chat.completion"
        assert answer["id"].startswith("chatcmpl-")
        [choice] = answer["choices"]
        assert choice["message"]["role"] == "assistant"
        assert choice["message"]["content"]
        assert choice["finish_reason"] in ("stop", "length")
        usage = answer["usage"]
        assert usage["prompt_tokens"] > 0
        assert 0 < usage["completion_tokens"] <= 24
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    opened.run(main())


@of("chat")
def test_a_stream(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        events = await chunks(backend, says(model))
        assert {event["object"] for event in events} == {"chat.completion.chunk"}
        assert len({(event["id"], event["created"]) for event in events}) == 1
        assert events[0]["choices"][0]["delta"]["role"] == "assistant"
        text = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
        assert text
        assert events[-1]["choices"][0]["finish_reason"] in ("stop", "length")
        assert not any(event.get("usage") for event in events)

    opened.run(main())


@of("chat")
def test_a_stream_with_usage(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        events = await chunks(backend, says(model, stream_options={"include_usage": True}))
        assert events[-1]["choices"] == []
        assert events[-1]["usage"]["completion_tokens"] > 0
        assert all(event["usage"] is None for event in events[:-1])

    opened.run(main())


@of("chat")
def test_the_token_limit_holds(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        answer = await whole(backend, says(model, "Count from one to one hundred, in words.", max_tokens=3))
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] == 3

    opened.run(main())


@of("chat")
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_forced_function_is_called(opened: Opened, choice: Any) -> None:
    function = {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}},
    }

    async def main() -> None:
        backend, model, _ = opened
        tools = [{"type": "function", "function": function}]
        body = says(model, "What is the weather in Oslo?", tools=tools, tool_choice=choice, max_tokens=64)
        [call] = (await whole(backend, body))["choices"][0]["message"]["tool_calls"]
        assert (call["type"], call["function"]["name"]) == ("function", "weather")
        assert isinstance(msgspec.json.decode(call["function"]["arguments"]), dict)
        deltas = [event["choices"][0]["delta"] for event in await chunks(backend, body)]
        pieces = [piece for delta in deltas for piece in delta.get("tool_calls") or ()]
        assert pieces[0]["id"]
        assert pieces[0]["function"]["name"] == "weather"
        arguments = "".join(piece["function"].get("arguments") or "" for piece in pieces)
        assert isinstance(msgspec.json.decode(arguments), dict)

    opened.run(main())


@of("chat")
def test_several_at_once(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        answers = await asyncio.gather(*(whole(backend, says(model, f"Number {n}")) for n in range(4)))
        assert all(answer["choices"][0]["message"]["content"] for answer in answers)

    opened.run(main())


@of("chat")
def test_closed_early_it_answers_the_next_one(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        for _ in range(6):
            answer = await backend.chat(says(model, "Tell a long story.", stream=True, max_tokens=500))
            await anext(aiter(answer.blocks()))
            await answer.close()
            await answer.close()
        assert (await whole(backend, says(model)))["choices"]

    opened.run(main())


@of("chat")
def test_the_count_covers_the_prompt(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        body = says(model, "Rain falls on the plain. " * 20, max_tokens=1)
        counted = await backend.count(body)
        answer = await whole(backend, body)
        assert counted >= answer["usage"]["prompt_tokens"] > 0
        assert (await backend.traits(model)).context_window > counted

    opened.run(main())


@of("chat")
def test_it_lists_its_models(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        assert model in [listed.id for listed in await backend.models()]

    opened.run(main())


@of("chat")
def test_it_opens_again(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        await backend.close()
        await backend.open()
        assert (await whole(backend, says(model, max_tokens=2)))["choices"]

    opened.run(main())
