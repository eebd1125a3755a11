"""A model's answer on its way to the client, streamed in the blocks in which it comes."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from everloom.context.counted_streams import UsageFilter
from everloom.kit import sse
from everloom.kit.errors import NO_JSON, ApiError, ModelFailure
from everloom.kit.foreign_errors import told_error
from everloom.models.failures import failed_midway, unreadable
from everloom.objects.base import JsonObject, encode
from everloom.work.inference.answers import Streamed, without_secrets

_LONGEST_LINE = 64 * 1024 * 1024
"""Bytes that are held of a stream while its line has no end: an image of 4096 by 4096 is a line."""


async def frames(answer: Streamed) -> AsyncIterator[bytes]:
    """The stream as it comes, cut at line ends only, so that a failure in the middle can be told as an event.

    An answer that came whole, though a stream was asked for, is one event of it.
    """
    if answer.content_type.startswith("application/json"):
        yield await _as_events(answer)
        return
    rest = bytearray()
    usage = UsageFilter() if answer.hides_usage else None
    shown = bytes if usage is None else usage.shown
    try:
        async for block in answer.blocks():
            end = block.rfind(b"\n") + 1
            if not rest and end == len(block):
                if lines := shown(block):
                    yield without_secrets(lines)
                continue
            if end:
                if lines := shown(bytes(rest) + block[:end]):
                    yield without_secrets(lines)
                rest.clear()
            rest += block[end:]
            if len(rest) > _LONGEST_LINE:
                raise ModelFailure(f"The model sent a line of more than {_LONGEST_LINE} bytes.", code="upstream_broken")
        if rest:
            yield without_secrets(shown(bytes(rest) + b"\n\n"))
        if usage is not None and (held := usage.rest()):
            yield without_secrets(held)
    except ApiError as error:
        yield b"\n" + sse.frame(encode(error.envelope()))


async def _as_events(answer: Streamed) -> bytes:
    """A whole answer in the form of a stream."""
    try:
        data = b"".join([block async for block in answer.blocks()])
        value = msgspec.json.decode(data, type=JsonObject)
    except NO_JSON:
        return sse.frame(encode(unreadable("that was asked").envelope()))
    except ApiError as error:
        return sse.frame(encode(error.envelope()))
    if (text := told_error(value)) is not None:
        return sse.frame(encode(failed_midway("that was asked", text.encode()).envelope()))
    if value.get("object") == "chat.completion":
        value |= {"object": "chat.completion.chunk", "choices": [*map(_as_delta, _list(value.get("choices")))]}
    return sse.frame(encode(value)) + sse.frame(sse.DONE)


def _as_delta(choice: Any) -> Any:
    """A whole choice as a chunk has it; what is none is left to the client."""
    if not isinstance(choice, dict) or not isinstance(message := choice.get("message"), dict):
        return choice
    calls = [
        {"index": index, **call}
        for index, call in enumerate(_list(message.get("tool_calls")))
        if isinstance(call, dict)
    ]
    delta = message | ({"tool_calls": calls} if calls else {})
    return {name: value for name, value in choice.items() if name != "message"} | {"delta": delta}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
