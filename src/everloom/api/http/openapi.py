"""The OpenAPI document of what a server has, read off its handlers: paths, parameters, bodies, answers.

What a handler reads for itself is not told: forms, and the members of bodies that go to a model. Source: OpenAPI 3.1.
"""

import inspect
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from everloom import __version__
from everloom.api.http.routes import CURRENT_DIALECT, Download, EventStream, Reply, Route
from everloom.objects.base import Page

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_NAMED = re.compile(r"([a-z][A-Za-z-]*)\.\s*")
"""What a handler's docstring begins with where the reference has a name for the operation."""

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document, as JSON's objects. Operations that ask for no key stand beside ``/v1``, the others below it."""
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path if route.access == "open" else f"/v1{route.path}"
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Everloom", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**schemas.named, "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Schemas:
    """The schemas of types, those of Structs under their names."""

    def __init__(self) -> None:
        self.named: dict[str, Any] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type; an empty one, which says nothing, where it has none."""
        try:
            (schema,), named = msgspec.json.schema_components([kind], ref_template=_REF)
        except TypeError:
            return {}
        self.named |= named
        return schema

    def whole(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """A schema, or what it refers to."""
        return self.named[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    told = " ".join((inspect.getdoc(route.handler) or "").split("\n\n", 1)[0].split())
    named = _NAMED.match(told)
    operation: dict[str, Any] = {
        "operationId": named[1] if named else route.name,
        "summary": told[named.end() :] if named else told,
        "parameters": [*_in_path(route), *_in_query(route, schemas), *_beta(route)],
        "responses": {
            "200": _answer(typing.get_type_hints(route.handler).get("return"), schemas),
            "default": {
                "description": "An error.",
                "content": {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}},
            },
        },
    }
    if route.access != "open":
        operation["security"] = [{"key": []}]
    if route.body is not None:
        schema = {"type": "object"} if route.body is bytes else schemas.of(route.body)
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _in_path(route: Route) -> list[dict[str, Any]]:
    names = _PARAMETER.findall(route.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _in_query(route: Route, schemas: _Schemas) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = schemas.whole(schemas.of(route.query[1]))
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": each}
        for name, each in schema.get("properties", {}).items()
    ]


def _beta(route: Route) -> list[dict[str, Any]]:
    """The header that operations on Assistants ask for."""
    if route.api_family != "assistants":
        return []
    schema = {"type": "string", "default": CURRENT_DIALECT}
    return [{"name": "OpenAI-Beta", "in": "header", "required": True, "schema": schema}]


def _answer(kind: Any, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    kinds = typing.get_args(kind) if typing.get_origin(kind) in _UNIONS else (kind,)
    for each in kinds:
        media_type, schema = _content(each, schemas)
        content[media_type] = {"schema": schema} if schema else {}
    return {"description": "The answer.", "content": content}


def _content(kind: Any, schemas: _Schemas) -> tuple[str, dict[str, Any]]:
    if kind is EventStream:
        return "text/event-stream", {}
    if kind in (Download, Reply):
        return "*/*", {}
    if typing.get_origin(kind) is Page:
        items = schemas.of(typing.get_args(kind)[0])
        texts = {"type": ["string", "null"]}
        fields = {
            "object": {"const": "list"},
            "data": {"type": "array", "items": items},
            "first_id": texts,
            "last_id": texts,
            "has_more": {"type": "boolean"},
        }
        return "application/json", {"type": "object", "properties": fields}
    return "application/json", {"type": "object"} if kind is bytes else schemas.of(kind)


_UNIONS = (typing.Union, type(int | str))
