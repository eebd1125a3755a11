"""Requests as other servers' clients write them, turned into ours before a route is looked for.

Doubled slashes, packed bodies (``Content-Encoding``), engines (the model in the path, as SDKs before 1.0 put it), and
Azure's shapes: ``/openai/…`` paths with an ``api-version``, where the model is the deployment that the path names and
Assistants need no beta header: the ``api-version`` is taken for one, since it says which form they have.
"""

import re
from collections.abc import MutableMapping
from typing import Any

import msgspec

from everloom.api.http.routes import Receive, Scope
from everloom.api.http.unpacking import Unpacked
from everloom.kit.errors import NO_JSON

_SLASHES = re.compile("//+")

_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/(.+)")
_PREFIX = re.compile(r"(?:/api/projects/[^/]+|/openai)(?:/v1(?=/))?(?=/)")
"""What stands before a path: a project of Azure's (its name is the operator's to choose), or its API."""

_ENGINE = re.compile(r"(?:/v1)?/engines/([^/]+)/(chat/completions|completions|embeddings)")

_VERSION = re.compile(rb"(?:^|&)api-version=(\d{4}-[\w-]{1,32})(?:&|$)")

_PARSED_BYTES = 1024 * 1024


def as_ours(scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """The request as our own clients would have made it."""
    path: str = scope["path"]
    if "//" in path:
        path = _SLASHES.sub("/", path)
        scope = {**scope, "path": path}
    if path.startswith(("/openai/", "/api/projects/")) or b"api-version=" in scope["query_string"]:
        scope = _from_azure(scope)
    elif "/engines/" in path and (engine := _ENGINE.fullmatch(path)):
        scope = {**scope, "path": f"/{engine[2]}", "deployment": engine[1]}
    if scope["method"] == "POST":
        encoding = _header(scope, b"content-encoding").strip().lower()
        if encoding and encoding != b"identity":
            left_out = (b"content-encoding", b"content-length")
            headers = [header for header in scope["headers"] if header[0] not in left_out]
            scope, receive = {**scope, "headers": headers}, Unpacked(encoding, receive)
        if "deployment" in scope and b"multipart/form-data" in _header(scope, b"content-type"):
            receive = _with_field(scope, receive)
    return scope, receive


def with_model(body: bytes, deployment: str | None) -> bytes:
    """A JSON body with the deployment of its path as its model, which it need not name."""
    if deployment is None:
        return body
    name = msgspec.json.encode(deployment)
    if len(body) <= _PARSED_BYTES:
        try:
            members = msgspec.json.decode(body or b"{}", type=dict[str, msgspec.Raw])
        except NO_JSON:
            return body
        return msgspec.json.encode(members | {"model": msgspec.Raw(name)})
    # Of two members of one name the last counts, and the body is checked before it is taken apart.
    stripped = body.rstrip()
    return stripped[:-1] + b',"model":' + name + b"}" if stripped.endswith(b"}") else body


def _from_azure(scope: Scope) -> Scope:
    path: str = scope["path"]
    headers = list(scope["headers"])
    found: dict[str, Any] = {}
    if deployed := _DEPLOYMENT.fullmatch(path):
        found["deployment"], path = deployed[1], f"/{deployed[2]}"
    else:
        path = _PREFIX.sub("", path, count=1)
    if not _header(scope, b"openai-beta"):
        words = [b"assistants=" + version for version in _VERSION.findall(scope["query_string"])[:1]]
        headers.append((b"openai-beta", b", ".join([*words, b"assistants=v2"])))  # the first that a dialect goes by
    return {**scope, "path": path, "headers": headers, **found}


def _with_field(scope: Scope, receive: Receive) -> Receive:
    """The form with its model in front; one that it names itself, later, is the same to every client we know."""
    boundary = re.search(rb'boundary="?([^";]+)', _header(scope, b"content-type"))
    if boundary is None:
        return receive
    part = b'--%s\r\ncontent-disposition: form-data; name="model"\r\n\r\n%s\r\n' % (
        boundary[1].strip(),
        scope["deployment"].encode(),
    )
    began = False

    async def received() -> MutableMapping[str, Any]:
        nonlocal began
        message = await receive()
        if not began and message["type"] == "http.request":
            began = True
            return {**message, "body": part + message.get("body", b"")}
        return message

    return received


def _header(scope: Scope, name: bytes) -> bytes:
    for known, value in scope["headers"]:
        if known == name:
            found: bytes = value
            return found
    return b""
