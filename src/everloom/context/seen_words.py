"""About how much an answer has said that was streamed without a word of what it cost."""

from collections.abc import Iterator
from typing import Any

import msgspec

from everloom.kit.errors import NO_JSON

_EVENT_BYTES = 300
"""Of an event beside its words, where none can be looked at; more than most take."""

_BYTES_A_TOKEN = 4
_TEXTS = ("content", "text", "refusal")
_THOUGHTS = ("reasoning_content", "reasoning")
"""What a model thinks, by the names of several servers; some send it under both. It is paid for like what it says."""


def seen_tokens(tail: bytes, events: int, size: int) -> int:
    """The tokens of a stream of so many events and bytes, which ends with ``tail``.

    Most servers send a token an event, and some a few words. How much of an event is no text (ids, log probabilities)
    is measured in those of the tail.
    """
    sampled = texts = samples = 0
    for line in tail.splitlines(keepends=True)[1:]:  # The first may have lost its beginning.
        if line.startswith(b"data:") and (text := _text_in(line[5:])) is not None:
            sampled, texts, samples = sampled + len(line) + 1, texts + text, samples + 1  # With the empty line behind.
    beside = (sampled - texts) / samples if samples else _EVENT_BYTES
    # Beside the tokens there are the events that open and end a stream.
    return max(0, events - 3, round((size - beside * events) / _BYTES_A_TOKEN))


def _text_in(data: bytes) -> int | None:
    """The bytes of text in an event; None where it is no chunk of an answer, or has no end."""
    try:
        chunk = msgspec.json.decode(data)
    except NO_JSON:
        return None
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        return None
    return sum(len(text.encode("utf-8", "replace")) for choice in choices for text in _texts(choice))


def _texts(choice: dict[str, Any]) -> Iterator[str]:
    delta = choice.get("delta")
    said = delta if isinstance(delta, dict) else choice
    yield from (text for name in _TEXTS if isinstance(text := said.get(name), str))
    yield max((text for name in _THOUGHTS if isinstance(text := said.get(name), str)), key=len, default="")
    calls = said.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield from (text for text in function.values() if isinstance(text, str))
