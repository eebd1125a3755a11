"""A model's answer on its way to the client: read whole, or streamed in the blocks in which it comes."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

import msgspec

from everloom.context.counted_streams import UsageFilter
from everloom.kit import sse
from everloom.kit.errors import NO_JSON, ApiError, ModelFailure
from everloom.kit.foreign_errors import told_error
from everloom.kit.secrets import SECRETS
from everloom.models.failures import failed_midway, unreadable
from everloom.objects.base import JsonObject, encode

_LONGEST_LINE = 64 * 1024 * 1024
"""Bytes that are held of a stream while its line has no end: an image of 4096 by 4096 is a line."""


class Streamed(Protocol):
    """An answer that can be streamed (``MeteredAnswer`` is one)."""

    content_type: str
    hides_usage: bool
    """Whether it tells a usage that its caller did not ask for."""

    def blocks(self) -> AsyncIterator[bytes]: ...

    async def close(self) -> None: ...


class Proxied(Streamed, Protocol):
    """One that can be read whole, too (``CompletionAnswer`` is one)."""

    async def whole(self) -> bytes: ...


async def read_whole(asked: Coroutine[Any, Any, Proxied]) -> bytes:
    """The body of the answer that ``asked`` brings, which is closed in any case."""
    answer = await asked
    try:
        return _without_secrets(await answer.whole())
    finally:
        await answer.close()


async def frames(answer: Streamed) -> AsyncIterator[bytes]:
    """The stream as it comes, cut at line ends only, so that a failure in the middle can be told as an event.

    An answer that came whole, though a stream was asked for, is one event of it.
    """
    if answer.content_type.startswith("application/json"):
        yield await _as_events(answer)
        return
    rest = bytearray()
    shown = UsageFilter().shown if answer.hides_usage else bytes
    try:
        async for block in answer.blocks():
            end = block.rfind(b"\n") + 1
            if end:
                if lines := shown(bytes(rest) + block[:end]):
                    yield _without_secrets(lines)
                rest.clear()
            rest += block[end:]
            if len(rest) > _LONGEST_LINE:
                raise ModelFailure(f"The model sent a line of more than {_LONGEST_LINE} bytes.", code="upstream_broken")
        if rest:
            yield _without_secrets(shown(bytes(rest) + b"\n\n"))
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


def _without_secrets(lines: bytes) -> bytes:
    """Whole lines of an answer: those that tell of an error may quote the key that the model's server was asked with.

    Within the text of an answer the name would stand with its quotation marks escaped.
    """
    if b'"error"' not in lines:
        return lines
    return b"".join(
        SECRETS.hide(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if b'"error"' in line
        else line
        for line in lines.splitlines(keepends=True)
    )
