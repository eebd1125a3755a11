"""Streams that tell what they have cost, whether or not their caller wants to hear it: else nobody would know."""

import re
from collections.abc import Awaitable, Callable

import msgspec

from everloom.kit.errors import ApiError
from everloom.models.base import Answer, Backend
from everloom.models.missing_endpoints import MissingEndpoints
from everloom.objects.base import JsonObject

_MEMBER = b',"stream_options":{"include_usage":true}}'
_REFUSED = (400, 422)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Counted:
    """A request for a completion, asked so that its stream tells its usage, where the model's server lets it."""

    def __init__(self, body: JsonObject, raw: bytes | None, backend: Backend, uncounted: MissingEndpoints) -> None:
        self._body = body
        self._raw = raw
        self._backend = backend
        self._uncounted = uncounted
        self.unasked = False
        """Whether the stream tells a usage that its caller has not asked for."""

    async def ask(self, verb: Callable[[JsonObject, bytes | None], Awaitable[Answer]]) -> Answer:
        """What ``verb``, of the backend, answers. A server that knows no such option is asked again without it."""
        body, raw = self._body, self._raw
        options = body.get("stream_options") or {}
        if not body.get("stream") or options.get("include_usage") or self._backend in self._uncounted:
            return await verb(body, raw)
        try:
            answer = await verb({**body, "stream_options": {**options, "include_usage": True}}, _with_usage(raw))
        except ApiError as error:
            told = error.param == "stream_options" or "stream_options" in error.message
            if error.status not in _REFUSED or not told:
                raise
            answer = await verb(body, raw)
            self._uncounted.add(self._backend)  # It was that: a request may have the word in a fault of its own.
            return answer
        self.unasked = True
        return answer


def renamed(raw: bytes, model: str) -> bytes:
    """A request with another model name, every other byte of its members as it was."""
    members = _members.decode(raw)
    members["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(members)


def _with_usage(raw: bytes | None) -> bytes | None:
    """The request as its caller wrote it, and the wish for a usage behind all else."""
    if raw is None:
        return None
    if b'"stream_options"' in raw:  # It may say more, or stand in somebody's text.
        members = _members.decode(raw)
        options = msgspec.json.decode(members.get("stream_options", b"null"), type=JsonObject | None) or {}
        members["stream_options"] = msgspec.Raw(msgspec.json.encode({**options, "include_usage": True}))
        return msgspec.json.encode(members)
    return raw.rstrip()[:-1] + _MEMBER


_COMPACT_NULL = b',"usage":null'
_NULL = re.compile(rb',\s*"usage"\s*:\s*null')
_FIRST_NULL = re.compile(rb'\{(\s*)"usage"\s*:\s*null\s*(?:,\s*)?')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*(?:\[\s*\]|null)')
_BETWEEN_EVENTS = (b"\n\n", b"\n\r\n")
_BESIDE_DATA = (b"event:", b"id:", b"retry:", b":")
_MOST_HELD = 4096
"""Bytes of an event before its data: an id and a name take few."""


class UsageFilter:
    """Takes out of a stream's lines what stands there for the sake of a usage that was not asked for: its event with
    all its lines, and the member where it is null.

    Inside the text of an answer these could not stand: there every quotation mark is escaped.
    """

    def __init__(self) -> None:
        self.amid = False
        """Whether what comes next belongs to what came last; one of these:"""
        self._skipping = False
        """Whether what comes next belongs to an event that is not shown."""
        self._held = b""
        """The beginning of an event whose data has not come yet, but for comments, which tell that a server lives."""

    def shown(self, lines: bytes) -> bytes:
        """Of whole lines, those that may be shown now."""
        if self.amid or lines[-2:] != b"\n\n":
            lines = self._between(lines)
        if b'"usage"' not in lines:
            return lines
        lines = lines.replace(_COMPACT_NULL, b"")
        if b'"usage"' not in lines:
            return lines
        lines = _NULL.sub(b"", lines)
        if b'"usage"' not in lines:
            return lines
        lines = _FIRST_NULL.sub(rb"{\1", lines)
        if not _USAGE.search(lines) or not _NO_CHOICES.search(lines):
            return lines
        return b"".join(self._kept(lines.splitlines(keepends=True)))

    def rest(self) -> bytes:
        """What was held back when the stream has ended."""
        held, self._held = self._held, b""
        return b"" if self._skipping else held

    def _between(self, lines: bytes) -> bytes:
        """What may be shown of lines behind or before a part of an event."""
        lines, self._held = self._held + lines, b""
        if self._skipping:
            lines = self._behind_event(lines)
        if not lines.endswith(_BETWEEN_EVENTS):
            lines = self._hold_back(lines)
        self.amid = bool(self._held) or self._skipping
        return lines

    def _behind_event(self, lines: bytes) -> bytes:
        """Without the rest of the event that is not shown: its end is an empty line, or the data of another."""
        at = 0
        while at < len(lines):
            end = lines.find(b"\n", at) + 1 or len(lines)
            if lines.startswith(b"data:", at) or not lines[at:end].strip():
                self._skipping = False
                return lines[at if lines.startswith(b"data:", at) else end :]
            at = end
        return b""

    def _hold_back(self, lines: bytes) -> bytes:
        """Without the lines at the end that name an event, or number it, before its data."""
        start, held = len(lines), False
        while start and lines.startswith(_BESIDE_DATA, begin := lines.rfind(b"\n", 0, start - 1) + 1):
            held |= not lines.startswith(b":", begin)
            start = begin
            if len(lines) - start > _MOST_HELD:
                return lines
        if not held:
            return lines
        self._held = lines[start:]
        return lines[:start]

    def _kept(self, lines: list[bytes]) -> list[bytes]:
        kept: list[bytes] = []
        began = 0
        """Where in what is kept the event begins that a line belongs to."""
        for line in lines:
            is_data, is_end = line.startswith(b"data:"), not line.strip()
            if self._skipping and not is_data:
                self._skipping = not is_end
                continue
            self._skipping = bool(is_data and _USAGE.search(line) and _NO_CHOICES.search(line))
            if self._skipping:
                del kept[began:]
                continue
            kept.append(line)
            if is_data or is_end:
                began = len(kept)
        self.amid = bool(self._held) or self._skipping
        return kept
