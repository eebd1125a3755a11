"""What schemathesis is told about this API beyond its schemas. Loaded by schemathesis itself, in its own process.

To a schema an id is a string like any other, so what is generated leads nowhere nearly every time. The ids of
objects that stand come in ``EVERLOOM_TEST_IDS``, as JSON by the names they have in paths and bodies.
"""

import json
import os
import zlib
from typing import Any

import schemathesis

_IDS: dict[str, str] = json.loads(os.environ["EVERLOOM_TEST_IDS"])
_NOBODYS = "X" * 24


@schemathesis.hook
def map_path_parameters(context: schemathesis.HookContext, path_parameters: Any) -> Any:
    """Lead to objects that stand in half of the cases; which half, the generated values say."""
    if not isinstance(path_parameters, dict) or zlib.crc32(repr(path_parameters).encode()) % 2:
        return path_parameters
    ids = _IDS
    if context.operation.path.startswith("/batches/"):  # Those of files have the same name in the reference.
        ids = {"batch_id": _IDS["request_batch_id"]}
    return {name: ids.get(name, value) for name, value in path_parameters.items()}


@schemathesis.hook
def filter_query(context: schemathesis.HookContext, query: Any) -> bool:
    """Leave out what counts as not given: an empty text, or a list of nothing, is no wrong value here."""
    return not isinstance(query, dict) or not any(value in ("", []) for value in query.values())


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Name objects that stand, and never ask for a stream: those are read, and tested, elsewhere."""
    found = _mapped(body)
    if isinstance(found, dict) and context.operation.path == "/completions":
        return _agreeing(found)
    unkept = isinstance(found, dict) and (found.get("store") is None or found["store"] is False)
    if unkept and context.operation.path == "/chat/completions":
        return found | {"store": True}  # What was made can be asked for then, as it is of other creations.
    return found


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Let the objects that were given stand until the end."""
    if case.method.upper() == "DELETE" or case.path.endswith(("/{upload_id}/cancel", "/archive")):
        if "file_id" in case.path_parameters and len(case.path_parameters) > 1:
            return  # A file is taken out of something; the file itself stands.
        for name, id in _IDS.items():
            if case.path_parameters.get(name) == id:
                case.path_parameters[name] = id[:-24] + _NOBODYS


def _agreeing(body: dict[str, Any]) -> dict[str, Any]:
    """Half of the requests without what fits only with others, or not with chat; faults are left in."""
    if zlib.crc32(repr(body).encode()) % 2:
        return body
    right = {
        "stream_options": lambda value: value in ({}, {"include_usage": True}, {"include_usage": False}),
        "suffix": lambda value: isinstance(value, str),
        "best_of": lambda value: type(value) is int and 0 <= value <= 20,
        "max_tokens": lambda value: value == 0,
        "logprobs": lambda value: type(value) is int and 0 <= value <= 5,
    }
    return {name: value for name, value in body.items() if name not in right or not right[name](value)}


def _mapped(node: Any) -> Any:
    if isinstance(node, list):
        return [_mapped(child) for child in node]
    if not isinstance(node, dict):
        return node
    return {name: _value(name, value) for name, value in node.items()}


def _value(name: str, value: Any) -> Any:
    if name == "stream" and value is True:
        return False
    if name in _IDS and isinstance(value, str):
        return _IDS[name]
    if name == "file_ids" and isinstance(value, list):
        return [_IDS["file_id"] if isinstance(item, str) else item for item in value]
    if name == "vector_store_ids" and isinstance(value, list):
        return [_IDS["vector_store_id"] if isinstance(item, str) else item for item in value]
    return _mapped(value)
