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
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


class UsageFilter:
    """Takes out of a stream's lines what stands there for the sake of a usage that was not asked for.

    Inside the text of an answer these could not stand: there every quotation mark is escaped.
    """

    def __init__(self) -> None:
        self._skipping = False

    def shown(self, lines: bytes) -> bytes:
        """Whole lines, without the event of the usage and the empty line behind it."""
        if self._skipping:
            self._skipping, lines = not lines, lines.removeprefix(b"\r").removeprefix(b"\n")
        if b'"usage"' not in lines:
            return lines
        lines = lines.replace(_COMPACT_NULL, b"")
        if b'"usage"' not in lines:
            return lines
        lines = _NULL.sub(b"", lines)
        if not _USAGE.search(lines) or not _NO_CHOICES.search(lines):
            return lines
        return b"".join(self._kept(lines.splitlines(keepends=True)))

    def _kept(self, lines: list[bytes]) -> list[bytes]:
        kept = []
        for line in lines:
            if self._skipping and not line.strip():
                self._skipping = False
                continue
            self._skipping = bool(line.startswith(b"data:") and _USAGE.search(line) and _NO_CHOICES.search(line))
            if not self._skipping:
                kept.append(line)
        return kept
