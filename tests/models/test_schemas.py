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


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "additionalProperties": schema}
    return schema


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
        nested(120),
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


def steps(length: int, **step: Any) -> dict[str, Any]:
    """A chain of definitions: ``NEXT`` in a step stands for a reference to the one behind it."""
    defs: dict[str, Any] = {"d0": {"type": "object"}}
    for number in range(length):
        defs[f"d{number + 1}"] = _with_next(step, {"$ref": f"#/$defs/d{number}"})
    return {"$defs": defs, "$ref": f"#/$defs/d{length}"}


def _with_next(value: Any, reference: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _with_next(item, reference) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_next(item, reference) for item in value]
    return reference if value == NEXT else value


NEXT = "next"
PRODUCT = {"allOf": [{"anyOf": [{"properties": {f"p{a}{b}": {"type": "null"}}} for b in range(20)]} for a in range(4)]}
"""Four choices of twenty, together: 160 000."""
WORDS = [f"word {number}" for number in range(3_000)]


def both_ways() -> dict[str, Any]:
    """Two that meet in a part of one, where they meet again with more."""
    meeting = {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}
    growing = {"allOf": [{"$ref": "#/$defs/b"}, {"properties": {"y": {"type": "null"}}}]}
    return {"$defs": {"a": {"properties": {"x": meeting}}, "b": {"properties": {"x": growing}}}, "$ref": "#/$defs/a"}


def inherited(length: int) -> dict[str, Any]:
    """Each class adds to the one before it, and holds others of its own kind: as programs write it."""
    defs = {}
    for number in range(length):
        before = [{"$ref": f"#/$defs/C{number - 1}"}] if number else []
        kids = {"type": "array", "items": {"$ref": f"#/$defs/C{number}"}}
        own = {"properties": {f"name{number}": {"type": "string"}, f"kids{number}": kids}}
        defs[f"C{number}"] = {"allOf": [*before, own]}
    return {"$defs": defs, "$ref": f"#/$defs/C{length - 1}"}


UNION = {
    "anyOf": [{"type": "object", "properties": {"kind": {"const": n}, "a": {"type": "string"}}} for n in range(200)]
}
EVENTS = {
    "$defs": {"one": UNION},
    "type": "object",
    "properties": {f"e{n}": {"$ref": "#/$defs/one"} for n in range(50)},
}


@pytest.mark.parametrize(
    "schema",
    [
        UNION,
        EVENTS,
        inherited(20),
        steps(10, type="object", properties={"a": NEXT, "b": NEXT}, required=["a", "b"]),
        steps(30, type="object", properties={"a": NEXT, "b": NEXT}),
        steps(30, type="object", additionalProperties=NEXT),
        one(type="string", enum=WORDS),
        one(type="string", enum=WORDS[:300], pattern="^word"),
        {"type": "object", "properties": {f"p{n}": {"type": "string", "enum": WORDS[:10]} for n in range(900)}},
        {"allOf": [{"anyOf": [{"required": [f"p{a}{b}"]} for b in range(5)]} for a in range(3)]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"title": "A", "anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}},
    ],
)
def test_shared_and_merged_schemas_of_a_usual_size_can_be_tried(schema: dict[str, Any]) -> None:
    assert fault(schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        steps(30, allOf=[NEXT, NEXT]),
        steps(30, allOf=[NEXT, {"properties": {"a": NEXT}}], properties={"a": NEXT}),
        steps(30, anyOf=[NEXT, NEXT], type="object"),
        steps(30, oneOf=[NEXT, NEXT], properties={"a": {"type": "null"}}),
        steps(30, anyOf=[NEXT, NEXT], oneOf=[NEXT, NEXT]),
        steps(30, type="object", additionalProperties={"allOf": [NEXT, {"additionalProperties": NEXT}]}),
        PRODUCT,
        one(**PRODUCT),
        {"$defs": {"p": PRODUCT}, "type": "array", "items": {"$ref": "#/$defs/p"}},
        one(allOf=[{"enum": WORDS * 3}, {"pattern": "^w"}, {"format": "uuid"}, {"pattern": "d$"}]),
        {"$defs": {"a": {"anyOf": [{"type": "null"}, {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}]}}}
        | {"$ref": "#/$defs/a"},
        {"$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}], "title": "A", "type": "object"}}}
        | {"$ref": "#/$defs/a"},
        both_ways(),
    ],
)
def test_what_grows_when_it_is_written_out_is_not(schema: dict[str, Any]) -> None:
    began = time.thread_time()
    found = fault(schema)
    assert found is not None
    assert found.startswith("its references and combinations come to more than 20000 parts")
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    "schema",
    [
        steps(30, type="object", properties={"a": NEXT, "b": NEXT}, required=["a", "b"]),
        steps(30, type="array", items=NEXT, minItems=2),
        steps(30, type="array", prefixItems=[NEXT, NEXT], minItems=2),
        steps(30, anyOf=[{"properties": {"a": NEXT, "b": NEXT}, "required": ["a", "b"]}]),
        steps(30, allOf=[{"properties": {"a": NEXT, "b": NEXT}, "required": ["a", "b"]}]),
    ],
)
def test_what_no_model_could_finish_is_not(schema: dict[str, Any]) -> None:
    """It would write till its context is full, and have begun only."""
    assert fault(schema) == "its smallest value has more than 20000 parts"


def test_a_way_out_is_enough() -> None:
    step = {"properties": {"a": NEXT, "b": NEXT}, "required": ["a", "b"]}
    assert fault(steps(30, anyOf=[step, {"type": "null"}])) is None


def test_an_answer_comes_at_once_whatever_the_schema() -> None:
    doubled = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(400)}
    entangled = {"$defs": {**doubled, "d400": {"$ref": "#"}}, "$ref": "#/$defs/d0"}
    mutual = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{m}"} for m in range(40)]} for n in range(40)}
    for schema in (entangled, {"$defs": mutual, "$ref": "#/$defs/d0"}):
        began = time.thread_time()
        assert fault(schema) is not None
        assert time.thread_time() - began < 5


def test_references_are_written_out_for_a_converter_that_cannot_follow_them() -> None:
    assert is_simple(one(type="integer", maximum=9))
    assert not is_simple(TREE)
    shown = simple({"$defs": {"city": {"type": "string", "pattern": "^A"}}, **one(**{"$ref": "#/$defs/city"})})
    assert shown == one(type="string")
    assert is_simple(simple(TREE))
    assert simple(TREE)["properties"]["kids"]["items"]["properties"]["value"] == {"type": "integer"}
    assert len(repr(simple({"$defs": {"a": {"items": [{"$ref": "#/$defs/a"}] * 9}}, "$ref": "#/$defs/a"}))) < 50_000
