"""The lines of an input file before any of them is asked: faults make a failed batch, each told with its line."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from everloom.context.admission import Need, needs
from everloom.kit.errors import NO_JSON
from everloom.objects.base import JsonObject
from everloom.objects.batches import BY_NAME, BatchError, BatchLine, Endpoint
from everloom.work.files.lines import RawLine

MOST_LINES = 50_000
MOST_INPUTS = 50_000
"""Texts that all lines of a batch of embeddings may have together."""

MOST_ERRORS = 1_000
"""Faults that are told of one file; behind them it is not read on."""

_CODES = {"custom_id": str, "method": str, "url": str, "body": dict}
"""The members of a line, and what each has to be."""

_NO_MODEL: frozenset[Endpoint] = frozenset({"/v1/moderations", "/v1/images/generations", "/v1/images/edits"})
"""Endpoints at which a default answers where no model is named."""

_NEEDS = {
    "/v1/chat/completions": needs.of_chat,
    "/v1/completions": needs.of_completion,
    "/v1/embeddings": needs.of_embedding,
    "/v1/moderations": needs.of_moderation,
}


class _Body(Struct):
    model: str | None = None
    input: Raw = Raw(b"null")


_line = msgspec.json.Decoder(BatchLine)
_body = msgspec.json.Decoder(_Body)
_items = msgspec.json.Decoder(list[Raw])
_any = msgspec.json.Decoder()


class LineChecker:
    """Takes the lines of a file in their order. ``errors`` are the faults found so far; what is right is in ``ends``,
    as (number, offset, end), with the one ``model`` that all ask.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.errors: list[BatchError] = []
        self.ends: list[tuple[int, int, int]] = []
        self.model: str | None = None
        self.counts_tokens = False
        """Whether ``tokens`` are wanted: they cost as much time as all the rest."""
        self.tokens = 0
        self._endpoint: Endpoint = endpoint
        self._ids: set[bytes] = set()
        self._inputs = 0
        self._had_model = False

    @property
    def is_full(self) -> bool:
        """Whether enough faults have been found, or too many lines."""
        return len(self.errors) >= MOST_ERRORS or len(self.ends) > MOST_LINES

    def take(self, lines: Iterable[RawLine]) -> None:
        """Look at lines. It may take long, so it is done beside the loop."""
        for line in lines:
            if self.is_full:
                return
            if (error := self._check(line)) is not None:
                error.line = line.number
                self.errors.append(error)
            self.ends.append((line.number, line.offset, line.end))

    def finish(self) -> None:
        """Look at what can be said of the whole."""
        if len(self.ends) > MOST_LINES:
            self.errors = [_error("too_many_tasks", f"The batch has more than the {MOST_LINES} requests it may have.")]
        elif self._inputs > MOST_INPUTS:
            text = f"The requests of the batch have {self._inputs} inputs together. They may have {MOST_INPUTS}."
            self.errors.append(_error("too_many_tasks", text, "body.input"))
        elif not self.ends:
            self.errors.append(_error("empty_file", "The input file has no requests in it."))

    def _check(self, line: RawLine) -> BatchError | None:
        if line.data is None:
            return _error("line_too_long", "This line is longer than a request may be.")
        try:
            line.data.decode()
            request = _line.decode(line.data)
        except NO_JSON:
            return _why(line.data)
        digest = hashlib.blake2b(request.custom_id.encode(), digest_size=16).digest()
        if digest in self._ids:
            return _error(
                "duplicate_custom_id",
                f"The custom_id '{request.custom_id[:128]}' for this request is a duplicate of another request. The "
                "custom_id parameter must be unique for each request in a batch.",
                "custom_id",
            )
        self._ids.add(digest)
        if BY_NAME.get(request.url) != self._endpoint:
            text = "The URL provided for this request does not match the batch endpoint."
            return _error("url_mismatch", text, "url")
        return self._check_body(bytes(request.body))

    def _check_body(self, raw: bytes) -> BatchError | None:
        if not raw.startswith(b"{"):
            return _wrong_type("body", "an object")
        try:
            body = _body.decode(raw)
        except NO_JSON:
            return _wrong_type("body.model", "a string")
        if not body.model and self._endpoint not in _NO_MODEL:
            return _missing("body.model")
        if not self._had_model:
            self.model, self._had_model = body.model, True
        elif body.model != self.model:
            asked, first = (body.model or "")[:128], (self.model or "")[:128]
            text = (
                f"The model '{asked}' of this request is not '{first}', which the first request asks. All requests of "
                "a batch have the same model."
            )
            return _error("mismatched_model", text, "body.model")
        self._inputs += self._count_inputs(body.input)
        if self.counts_tokens:
            self.tokens += _tokens(self._endpoint, raw)
        return None

    def _count_inputs(self, given: Raw) -> int:
        if self._endpoint != "/v1/embeddings" or not bytes(given).startswith(b"["):
            return 1
        items = _items.decode(given)
        return 1 if items and bytes(items[0])[:1].isdigit() else len(items)


def _tokens(endpoint: Endpoint, raw: bytes) -> int:
    """About how many tokens a request reads; one that will be refused reads none."""
    if (need_of := _NEEDS.get(endpoint)) is None:
        return 0
    try:
        request: JsonObject = msgspec.json.decode(raw)
        need: Need = need_of(request)
    except (*NO_JSON, TypeError, AttributeError, KeyError, ValueError):
        return 0
    return need.input_tokens


def _why(data: bytes) -> BatchError:
    """What is wrong with a line that is none."""
    try:
        data.decode()
        value: Any = _any.decode(data)
    except NO_JSON:
        return _error("invalid_json_line", "This line is not parseable as valid JSON.")
    if not isinstance(value, Mapping):
        return _error("invalid_json_line", "This line is not a JSON object.")
    for name, type in _CODES.items():
        if value.get(name) is None:
            return _missing(name)
        if not isinstance(value[name], type):
            return _wrong_type(name, "an object" if type is dict else "a string")
    if value["method"] != "POST":
        return _error("invalid_method", "The method of a request in a batch must be 'POST'.", "method")
    return _error("invalid_custom_id", "The custom_id must have between 1 and 512 characters.", "custom_id")


def _missing(name: str) -> BatchError:
    return _error("missing_required_parameter", f"Missing required parameter: '{name}'.", name)


def _wrong_type(name: str, expected: str) -> BatchError:
    return _error("invalid_type", f"Invalid type for '{name}': expected {expected}.", name)


def _error(code: str, message: str, param: str | None = None) -> BatchError:
    return BatchError(code=code, message=message, param=param)
