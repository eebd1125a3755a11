"""A model's answer on its way to the client, streamed in the blocks in which it comes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from everloom.context.counted_streams import UsageFilter
from everloom.kit import sse
from everloom.kit.errors import NO_JSON, ApiError, ModelFailure
from everloom.kit.foreign_errors import told_error
from everloom.kit.pouring import Pour, Put, Room, joined, pour
from everloom.models.failures import failed_midway, unreadable
from everloom.objects.base import JsonObject, encode
from everloom.work.inference.answers import Streamed, without_secrets

_LONGEST_LINE = 64 * 1024 * 1024
"""Bytes that are held of a stream while its line has no end: an image of 4096 by 4096 is a line."""


def frames(answer: Streamed) -> Pour:
    """The stream as it comes, cut at line ends only, so that a failure in the middle can be told as an event.

    An answer that came whole, though a stream was asked for, is one event of it.
    """
    return partial(_frames, answer)


async def _frames(answer: Streamed, put: Put, room: Room) -> None:
    if answer.content_type.startswith("application/json"):
        last = await _as_events(answer)
    else:
        lines = _Lines(hides_usage=answer.hides_usage)

        def put_shown(block: bytes) -> bool:
            # Nearly all blocks are such: what is asked of them here is all that a chunk pays that comes alone.
            if not lines.amid and block[-2:] == b"\n\n" and b'"usage"' not in block and b'"error"' not in block:
                return put(block)
            return not (shown := lines.shown(block)) or put(shown)

        try:
            await pour(answer, put_shown, room)
            last = lines.rest()
        except ApiError as error:
            last = b"\n" + sse.frame(encode(error.envelope()))
    if last and not put(last):
        await room()


class _Lines:
    """What of a stream may be shown: whole lines, without secrets, and without a usage that was not asked for."""

    def __init__(self, *, hides_usage: bool) -> None:
        self._rest = bytearray()
        """The beginning of a line whose end has not come yet."""
        self._usage = UsageFilter() if hides_usage else None
        self._of: Callable[[bytes], bytes] = bytes if self._usage is None else self._usage.shown
        self.amid = False
        """Whether what comes next cannot be looked at alone."""

    def shown(self, block: bytes) -> bytes:
        """What may be shown now that this has come. Errors: ``ModelFailure`` for a line without an end."""
        end = block.rfind(b"\n") + 1
        lines = b""
        if end:
            lines = without_secrets(self._of(bytes(self._rest) + block[:end]))
            self._rest.clear()
        self._rest += block[end:]
        self.amid = bool(self._rest) or (self._usage is not None and self._usage.amid)
        if len(self._rest) > _LONGEST_LINE:
            raise ModelFailure(f"The model sent a line of more than {_LONGEST_LINE} bytes.", code="upstream_broken")
        return lines

    def rest(self) -> bytes:
        """What is to be shown when the stream has ended."""
        lines = self._of(bytes(self._rest) + b"\n\n") if self._rest else b""
        return without_secrets(lines + (b"" if self._usage is None else self._usage.rest()))


async def _as_events(answer: Streamed) -> bytes:
    """A whole answer in the form of a stream."""
    try:
        data = await joined(answer)
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
