"""Schemas that a local engine is not given, and how quickly that is known."""

import time
from typing import Any

import pytest

from everloom.models.llama.schemas import fault, is_simple, simple

TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["value", "kids"],
}
LIST: dict[str, Any] = {
    "$defs": {"node": {"properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}},
    "$ref": "#/$defs/node",
}


def one(**schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


def chain(length: int, end: str) -> dict[str, Any]:
    steps = {f"d{step}": {"$ref": f"#/$defs/d{step + 1}"} for step in range(length)}
    return {"$defs": {**steps, f"d{length}": {"$ref": end}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        TREE,
        LIST,
        {"anyOf": [{"$ref": "#"}, {"type": "object"}]},
        {"$defs": {"unused": {"$ref": "#/$defs/unused"}}, "type": "object"},
        {"$defs": {"a/b~c d": {"type": "string"}}, "$ref": "#/$defs/a~1b~0c%20d"},
        {"anyOf": [{"type": "null"}, {"type": "string"}], "properties": {"x": {"$ref": "#/anyOf/1"}}},
        one(type="array", items={"type": "integer"}, maxItems=10_000),
        one(type="number", multipleOf=0.0001),
        one(type="string", maxLength=10**9, pattern="^[a-z]{1,20}$"),
        one(allOf=[{"pattern": "^a"}, {"pattern": "b$"}]),
        {"type": "object", "properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},
        {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(2_000)}},
        {"required": [7], "properties": {}, "allOf": 7, "anyOf": [], "minItems": "x", "pattern": 7, "$ref": 7},
    ],
)
def test_these_can_be_tried(schema: dict[str, Any]) -> None:
    assert fault(schema) is None


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"$ref": "#"}, "it refers to itself without end"),
        ({"allOf": [{"$ref": "#"}]}, "it refers to itself without end"),
        ({"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]}, "it refers to itself without end"),
        (one(**{"$ref": "#"}), "it refers to itself without end"),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "it refers to itself without end"),
        (chain(20, "#/$defs/d0"), "it refers to itself without end"),
        (chain(3_000, "#/$defs/d0"), "it is nested too deeply"),
        ({"$ref": "#/$defs/none"}, "nothing stands at its reference '#/$defs/none'"),
        ({"$ref": "https://example.org/schema.json"}, "nothing stands at its reference 'https:"),
        ({"$ref": "other.json"}, "its reference 'other.json' leads out of it"),
        ({"enum": [], "$ref": "#/enum/²"}, "nothing stands at its reference"),
        (one(type="array", maxItems=10**8), "its limits of items and properties add up to more than 20000"),
        ({"properties": {str(n): {"minItems": 500} for n in range(50)}}, "its limits of items and properties add up"),
        (one(multipleOf=999_983), "its 'multipleOf' add up to more than 20000"),
        (one(multipleOf=1e300), "its 'multipleOf' add up to more than 20000"),
        (one(multipleOf=0.12345678), "its 'multipleOf' add up to more than 20000"),
        (one(allOf=[{"multipleOf": prime} for prime in (97, 89, 83)]), "its 'allOf' multiplies 'multipleOf'"),
        (one(allOf=[{"pattern": f"x{n}"} for n in range(60)]), "its 'allOf' brings more than 4 patterns together"),
        (one(pattern="(" * 600 + ")" * 600), "a pattern is longer than 1000 characters"),
        ({"enum": ["x" * 300_000]}, "it is longer than 200000 bytes"),
        ({"enum": [[]] * 11_000}, "it has more than 10000 parts"),
    ],
)
def test_these_are_not(schema: dict[str, Any], text: str) -> None:
    found = fault(schema)
    assert found is not None
    assert found.startswith(text)


def test_patterns_behind_references_count_too() -> None:
    defs = {f"d{n}": {"properties": {"a": {"pattern": f"x{n}"}}} for n in range(6)}
    assert fault({"$defs": defs, "allOf": [{"$ref": f"#/$defs/{name}"} for name in defs]}) is not None


def test_an_answer_comes_at_once_whatever_the_schema() -> None:
    doubled = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(400)}
    entangled = {"$defs": {**doubled, "d400": {"$ref": "#"}}, "$ref": "#/$defs/d0"}
    mutual = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{m}"} for m in range(40)]} for n in range(40)}
    for schema in (entangled, {"$defs": mutual, "$ref": "#/$defs/d0"}):
        began = time.monotonic()
        assert fault(schema) is not None
        assert time.monotonic() - began < 5


def test_references_are_written_out_for_a_converter_that_cannot_follow_them() -> None:
    assert is_simple(one(type="integer", maximum=9))
    assert not is_simple(TREE)
    shown = simple({"$defs": {"city": {"type": "string", "pattern": "^A"}}, **one(**{"$ref": "#/$defs/city"})})
    assert shown == one(type="string")
    assert is_simple(simple(TREE))
    assert simple(TREE)["properties"]["kids"]["items"]["properties"]["value"] == {"type": "integer"}
    assert len(repr(simple({"$defs": {"a": {"items": [{"$ref": "#/$defs/a"}] * 9}}, "$ref": "#/$defs/a"}))) < 50_000
