"""Every answer that a test sees, held against the platform's own description of it.

``CheckedTransport`` stands under the HTTP clients of ``tests/servers.py``: what comes back is checked as it is
read, and a violation is an ``AssertionError`` that names the place. Where the specifications are not at
hand nothing is checked.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tests.spec.overlay import STREAMS, Dialect, Json, document
from tests.spec.spec import SPEC

_LONG = "model|rate_limit_id"
"""Parameters that end a path and may have slashes."""

_FAMILY = ("/assistants", "/threads")
"""Where the beta header says which form of the API answers."""


class CheckedTransport(httpx.HTTPTransport):
    """A transport whose answers are checked, streams event by event."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if not SPEC.is_dir():
            return response
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _CheckedStream(response.stream, _Answer(request, response))
        return response


class _CheckedStream(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, check: "_Answer") -> None:
        self._stream = stream
        self._check = check

    def __iter__(self) -> Iterator[bytes]:
        for block in self._stream:
            self._check.feed(block)
            yield block
        self._check.end()

    def close(self) -> None:
        self._stream.close()


class _Answer:
    """The check of one answer, fed with its body as that arrives."""

    def __init__(self, request: httpx.Request, response: httpx.Response) -> None:
        path = request.url.path
        self.what = f"{request.method} {path} -> {response.status_code}"
        self.status = response.status_code
        self.media = response.headers.get("content-type", "").split(";")[0]
        path = path.removeprefix("/v1")
        self.dialect = dialect_of(path, request.headers.get("openai-beta", ""))
        self.operation = (
            None if request.method in ("HEAD", "OPTIONS") else operation_of(self.dialect, request.method, path)
        )
        self.rest = b""
        self._events = self.operation is not None and self.media == "text/event-stream" and self.status == 200
        self._unread = self.media == "application/octet-stream"
        """A file's bytes have no schema, and there may be hundreds of megabytes of them."""

    def feed(self, block: bytes) -> None:
        if self._unread:
            return
        self.rest += block
        if self._events:
            *events, self.rest = self.rest.split(b"\n\n")
            for event in events:
                self._event(event)

    def end(self) -> None:
        if self.operation is None and self.status < 400:
            return  # /healthz and its like, which no specification knows.
        if self.status == 204 or self._events:
            return
        check_body(self.dialect, self.operation, self.status, self.media, self.rest, self.what)

    def _event(self, event: bytes) -> None:
        assert self.operation is not None
        fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if line and not line.startswith(b":"))
        if fields:
            check_event(self.dialect, self.operation, fields.get(b"event", b"").decode(), fields[b"data"], self.what)


def dialect_of(path: str, beta: str) -> Dialect:
    """Which form of the API a request speaks; outside the Assistants family there is one alone."""
    return "assistants=v1" if path.startswith(_FAMILY) and "assistants=v1" in beta else "assistants=v2"


def operation_of(dialect: Dialect, method: str, path: str) -> str | None:
    """The id of the operation that the documents have at this place, if they have one."""
    for pattern, operations in _paths(dialect):
        if method in operations and pattern.fullmatch(path):
            return operations[method]
    return None


@cache
def _paths(dialect: Dialect) -> list[tuple[re.Pattern[str], dict[str, str]]]:
    """The paths as patterns, those without parameters first."""
    paths = sorted(document(dialect)["paths"].items(), key=lambda item: item[0].count("{"))
    return [
        (
            re.compile(re.sub(rf"\{{(?:{_LONG})\}}", "[^?]+", re.sub(rf"\{{(?!{_LONG})\w+\}}", "[^/]+", path))),
            {method.upper(): operation["operationId"] for method, operation in item.items()},
        )
        for path, item in paths
    ]


def check_body(dialect: Dialect, operation: str | None, status: int, media: str, body: bytes, what: str) -> None:
    """Hold a whole body against what the operation answers (or, from 400 on, against the form of errors)."""
    if status >= 400:
        assert media == "application/json", f"{what}: an error of type {media!r}"
        _check(_schema(dialect, "ErrorResponse"), _parsed(body, what), what)
        return
    assert operation is not None
    content = _contents(dialect)[operation]
    assert media in content, f"{what}: {media!r} instead of {' or '.join(content)}"
    if media == "application/json":
        _check(_content(dialect, operation), _parsed(body, what), what)


def check_event(dialect: Dialect, operation: str, name: str, data: bytes, what: str) -> None:
    """Hold an event of a stream against what the operation sends under this name."""
    what = f"{what}, event {name!r}"
    if STREAMS[operation] == "AssistantStreamEvent":
        schema = _events(dialect).get(name)
        assert schema is not None, f"{what}: no such event"
        if name == "done":
            assert data == b"[DONE]", f"{what}: {data!r}"
            return
        _check(schema, _parsed(data, what), what)
    elif data != b"[DONE]":
        found = _parsed(data, what)
        failed = isinstance(found, dict) and "error" in found
        _check(_schema(dialect, "ErrorResponse" if failed else STREAMS[operation]), found, what)


def _parsed(body: bytes, what: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise AssertionError(f"{what}: not JSON ({error}): {body[:200]!r}") from error


def _check(validator: Draft202012Validator, found: Any, what: str) -> None:
    error = best_match(validator.iter_errors(found))
    assert error is None, f"{what}: {error.json_path}: {error.message[:500]}"


@cache
def _schema(dialect: Dialect, name: str) -> Draft202012Validator:
    return _validator(dialect, {"$ref": f"#/components/schemas/{name}"})


@cache
def _content(dialect: Dialect, operation: str) -> Draft202012Validator:
    return _validator(dialect, _contents(dialect)[operation]["application/json"]["schema"])


@cache
def _contents(dialect: Dialect) -> dict[str, Json]:
    """What each operation answers when all is well, by media type."""
    return {
        operation["operationId"]: operation["responses"]["200"]["content"]
        for item in document(dialect)["paths"].values()
        for operation in item.values()
        if "200" in operation["responses"]
    }


@cache
def _events(dialect: Dialect) -> dict[str, Draft202012Validator]:
    """What the data of each event of the Assistants family is, by the event's name."""
    schemas = document(dialect)["components"]["schemas"]
    events: dict[str, Draft202012Validator] = {}
    for kind in schemas["AssistantStreamEvent"]["oneOf"]:
        event = schemas[kind["$ref"].rpartition("/")[2]]
        for form in event.get("oneOf", [event]):
            (name,) = form["properties"]["event"]["enum"]
            events[name] = _validator(dialect, form["properties"]["data"])
    return events


def _validator(dialect: Dialect, schema: Json) -> Draft202012Validator:
    return Draft202012Validator(_plain(schema) | {"components": {"schemas": _plain_schemas(dialect)}})


@cache
def _plain_schemas(dialect: Dialect) -> Json:
    found: Json = _plain(document(dialect)["components"]["schemas"])
    return found


def _plain(node: Any) -> Any:
    """The schema as JSON Schema: OpenAPI 3.0's ``nullable`` written out, and bounds that are no value themselves."""
    if isinstance(node, list):
        return [_plain(child) for child in node]
    if not isinstance(node, dict):
        return node
    plain = {name: _plain(child) for name, child in node.items() if name != "nullable"}
    if node.get("exclusiveMinimum") is True:
        plain["exclusiveMinimum"] = plain.pop("minimum")
    return {"anyOf": [plain, {"type": "null"}]} if node.get("nullable") is True else plain
