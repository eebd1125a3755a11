"""What v1 clients are shown and may ask is what v1's specification names, member by member: no more, no less."""

from collections.abc import Iterator
from typing import Any

import msgspec.inspect as mi
import pytest
from msgspec import Struct

from everloom.api.v1 import DIALECT, bodies, objects
from everloom.app.http import ROUTES
from tests.spec.overlay import Json, document
from tests.spec.spec import needs_spec

SHOWN: dict[type[Struct], str] = {
    objects.AssistantV1: "AssistantObject",
    objects.AssistantFileV1: "AssistantFileObject",
    objects.ThreadV1: "ThreadObject",
    objects.MessageV1: "MessageObject",
    objects.MessageFileV1: "MessageFileObject",
    objects.MessageDeltaV1: "MessageDeltaObject",
    objects.RunV1: "RunObject",
    objects.RunStepV1: "RunStepObject",
    objects.RunStepDeltaV1: "RunStepDeltaObject",
}
ASKED: dict[type[Struct], str] = {
    bodies.NewAssistantV1: "CreateAssistantRequest",
    bodies.AssistantChangesV1: "ModifyAssistantRequest",
    bodies.NewThreadV1: "CreateThreadRequest",
    bodies.NewMessageV1: "CreateMessageRequest",
    bodies.MetadataChangeV1: "ModifyRunRequest",
    bodies.NewRunV1: "CreateRunRequest",
    bodies.NewThreadRunV1: "CreateThreadAndRunRequest",
    bodies.ToolOutputsV1: "SubmitToolOutputsRunRequest",
}

RECORDED = {"AssistantObject.top_p", "AssistantObject.temperature", "AssistantObject.response_format"}
"""What the platform was recorded showing beyond its specification."""

TAKEN = ".tools[].function.strict"
"""What is newer than v1 and is taken under it all the same."""


@needs_spec
@pytest.mark.parametrize(("form", "schema"), (SHOWN | ASKED).items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_form_has_the_members_of_its_schema(form: type[Struct], schema: str) -> None:
    reference = document(DIALECT.name)["components"]["schemas"]
    found = set(differences(mi.type_info(form), reference[schema], schema))
    taken = {place for place in found if form in ASKED and place.endswith(TAKEN)}
    assert found - taken == {place for place in RECORDED if place.startswith(f"{schema}.")}


def differences(form: mi.Type, schema: Json, place: str) -> Iterator[str]:
    """The members that only one of the two has, at any depth."""
    schemas = branches(schema)
    if isinstance(form, mi.UnionType):
        for choice in form.types:
            yield from differences(choice, schema, place)
    elif isinstance(form, mi.ListType):
        for each in schemas:
            if "items" in each:
                yield from differences(form.item_type, each["items"], f"{place}[]")
    elif isinstance(form, mi.StructType):
        tag = form.tag
        schemas = [each for each in schemas if tag is None or each["properties"]["type"]["enum"] == [tag]]
        known: Json = {}
        for each in schemas:
            known |= each.get("properties", {})
        own: dict[str, mi.Type | None] = {field.encode_name: field.type for field in form.fields}
        if tag is not None:
            own["type"] = None
        yield from (f"{place}.{name}" for name in own.keys() ^ known.keys())
        for name, type in own.items():
            if type is not None and name in known:
                yield from differences(type, known[name], f"{place}.{name}")


def branches(schema: Json) -> list[Json]:
    """The objects and arrays that a schema may be, its references followed."""
    if "$ref" in schema:
        named: dict[str, Any] = document(DIALECT.name)["components"]["schemas"]
        return branches(named[schema["$ref"].rpartition("/")[2]])
    several = [each for key in ("oneOf", "anyOf", "allOf") for each in schema.get(key, ())]
    return [found for each in several for found in branches(each)] or [schema]


def test_every_operation_that_v1_reaches_takes_a_body_of_its_own() -> None:
    own = {(route.method, route.path) for route in DIALECT.routes}
    common = [route for route in ROUTES if route.api_family == "assistants"]
    asked = {route.name for route in common if route.body is not None and (route.method, route.path) not in own}
    assert asked == set(DIALECT.bodies)
