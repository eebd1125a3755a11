"""What a stream has cost that was left before it said so: what was seen of it, said aloud or thought."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from everloom.context.answers import CompletionAnswer
from everloom.context.metering import Meter, UsageRecord
from everloom.context.seen_words import seen_tokens
from everloom.objects.tools import EstimatedUsage
from tests.asking import CALLER

WORDS = "ten tokens of words, at four bytes each "
"""Forty bytes."""


def event(delta: Any, **more: Any) -> bytes:
    head = {"id": "chatcmpl-" + "a" * 29, "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "o9"}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return b"data: " + json.dumps(head | {"choices": [choice | more]}).encode() + b"\n\n"


def call(text: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}


class Stream:
    """An answer of which so many events come."""

    content_type = "text/event-stream"
    model = "o9"

    def __init__(self, events: list[bytes]) -> None:
        self._events = events

    async def blocks(self) -> AsyncIterator[bytes]:
        for each in self._events:
            yield each

    async def close(self) -> None: ...


def left(events: list[bytes]) -> int:
    """The tokens that are charged for an answer that was left behind these."""

    async def main() -> int:
        record = UsageRecord(caller=CALLER, capability="chat", model="o9")

        async def count() -> int:
            return 7

        answer = CompletionAnswer(Stream(events), record, Meter(), count, streams=True)
        blocks = answer.blocks()
        for _ in events:
            await anext(blocks)
        await answer.close()
        assert isinstance(record.usage, EstimatedUsage)
        return record.usage.completion_tokens

    return asyncio.run(main())


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": WORDS},
        {"reasoning": WORDS, "content": None},
        {"reasoning": WORDS, "reasoning_content": WORDS},
        {"content": WORDS},
        call(WORDS),
    ],
    ids=str,
)
def test_what_was_seen_is_counted_however_it_was_said(delta: dict[str, Any]) -> None:
    assert left([event({"role": "assistant", "content": ""}), *[event(delta)] * 100]) == pytest.approx(1000, rel=0.1)


def test_a_token_an_event_is_as_many_tokens() -> None:
    assert left([event({"content": "a"})] * 103) == pytest.approx(100, rel=0.1)


def test_log_probabilities_are_no_words() -> None:
    rivals = [{"token": "a", "logprob": -0.5, "bytes": [97]}] * 20
    events = [event({"content": "word"}, logprobs={"content": rivals})] * 103
    assert left(events) == pytest.approx(100, rel=0.1)


NONE = [b"{", b"[]", b'{"choices":[]}', b'{"choices":[5]}', b'{"choices":{}}', b"[DONE]", b"\xff"]


@pytest.mark.parametrize("data", NONE)
def test_where_no_event_can_be_looked_at_most_of_it_is_no_text(data: bytes) -> None:
    assert seen_tokens(b"\ndata: " + data + b"\n\n", 10, 10 * 300 + 400) == 100


@pytest.mark.parametrize("delta", [None, [], {"content": 5, "reasoning": {}, "tool_calls": [None, {"function": []}]}])
def test_deltas_of_no_known_form_are_no_text(delta: Any) -> None:
    assert left([event(delta)] * 13) == 10
