"""What the newest reference lets a program send to Assistants, files, uploads, vector stores, fine-tuning and the
organization is known here.
"""

from collections.abc import Iterator
from typing import Any

import msgspec.inspect as mi
import pytest

from everloom.api.http.routes import Route
from everloom.app.http import ROUTES
from tests.spec.newest import newest
from tests.spec.spec import needs_spec

pytestmark = needs_spec

Json = dict[str, Any]
ROOMS = ("/assistants", "/threads", "/files", "/uploads", "/vector_stores", "/fine_tuning/jobs")
ORGANIZATION = "/organization/"

BODIES = [
    route
    for route in ROUTES
    if route.method == "POST" and route.path.startswith((*ROOMS, ORGANIZATION)) and route.body is not None
]


def asked(route: Route, media: str) -> Json:
    """The body of an operation in the newest reference."""
    schema: Json = newest()["paths"][route.path]["post"]["requestBody"]["content"][media]["schema"]
    return schema


@pytest.mark.parametrize("route", BODIES, ids=lambda route: route.name)
def test_what_it_names_is_no_unknown_parameter(route: Route) -> None:
    assert list(unknown(mi.type_info(route.body), asked(route, "application/json"), "")) == []


def test_every_operation_with_a_body_is_looked_at() -> None:
    places = {
        path
        for path, item in newest()["paths"].items()
        if path.startswith(ROOMS)
        and "application/json" in item.get("post", {}).get("requestBody", {}).get("content", {})
    }
    assert places == {route.path for route in BODIES if not route.path.startswith(ORGANIZATION)}


def test_the_fields_of_a_file_are_known() -> None:
    (route,) = [route for route in ROUTES if (route.method, route.path) == ("POST", "/files")]
    (form,) = branches(asked(route, "multipart/form-data"))
    assert form["properties"].keys() == {"file", "purpose", "expires_after"}


def unknown(form: mi.Type, schema: Json, place: str) -> Iterator[str]:
    """Members and values that a schema has and a form has not, at any depth."""
    schemas = branches(schema)
    for choice in form.types if isinstance(form, mi.UnionType) else (form,):
        if isinstance(choice, mi.ListType):
            for each in schemas:
                if "items" in each:
                    yield from unknown(choice.item_type, each["items"], f"{place}[]")
        elif isinstance(choice, mi.StructType):
            yield from _unknown_members(choice, schemas, place)
    literals = [each for each in schemas if each.get("type") == "string" and "enum" in each]
    known = {value for choice in _choices(form) if isinstance(choice, mi.LiteralType) for value in choice.values}
    if not any(isinstance(choice, mi.StrType) for choice in _choices(form)):
        yield from (f"{place}={value}" for each in literals for value in each["enum"] if value not in known)
    tags = {choice.tag for choice in _choices(form) if isinstance(choice, mi.StructType)} - {None}
    if tags:
        named = {value for each in schemas for value in _tag(each)}
        yield from (f"{place}<{tag}>" for tag in named - tags)


def _unknown_members(struct: mi.StructType, schemas: list[Json], place: str) -> Iterator[str]:
    fields = {field.encode_name: field.type for field in struct.fields}
    for each in schemas:
        if struct.tag is not None and struct.tag not in _tag(each):
            continue
        for name, member in each.get("properties", {}).items():
            if name in fields:
                yield from unknown(fields[name], member, f"{place}.{name}")
            elif name != struct.tag_field:
                yield f"{place}.{name}"


def _choices(form: mi.Type) -> tuple[mi.Type, ...]:
    return form.types if isinstance(form, mi.UnionType) else (form,)


def _tag(schema: Json) -> list[str]:
    found: list[str] = schema.get("properties", {}).get("type", {}).get("enum", [])
    return found


def branches(schema: Json) -> list[Json]:
    """What a schema may be, its references followed."""
    if "$ref" in schema:
        named: Json = newest()["components"]["schemas"]
        return branches(named[schema["$ref"].rpartition("/")[2]])
    several = [each for key in ("oneOf", "anyOf", "allOf") for each in schema.get(key, ())]
    return [found for each in several for found in branches(each)] or [schema]
