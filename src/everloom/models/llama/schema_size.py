"""How large a schema becomes when it is written out as a grammar, which the engine does where all its requests wait.

What stands alone behind a reference is written once and shared, so a tree costs no more than its branch. But schemas
that hold together for one value (those of an ``allOf``, a reference with something beside it, every branch of an
``anyOf`` with what stands beside that) are merged, and merged anew at each place: two references in each of thirty
steps make 2³⁰ places, and two ``anyOf``s of a hundred branches ten thousand. Here they are counted the same way.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from everloom.objects.base import JsonObject

MOST_WRITTEN = 20_000
"""Parts of a grammar, and values of an ``enum`` that a pattern is tried on."""

_SAYS_NOTHING = frozenset(
    ("$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "title", "description", "default", "examples")
)
"""What a schema may hold that no value is measured by."""

_CHOICES = ("anyOf", "oneOf")

Place = tuple[JsonObject, ...]
"""Schemas that one value must follow together."""


class SchemaTooLarge(Exception):
    """It comes to more than ``MOST_WRITTEN``."""


def measure(root: JsonObject, target: Callable[[str], Any]) -> None:
    """Write a schema out, as far as ``MOST_WRITTEN``. ``target``: what a reference leads to.

    Errors: ``SchemaTooLarge``.
    """
    writing = _Writing(target)
    places: list[Place] = [(root,)]
    while places:
        places.extend(writing.below(places.pop()))


class _Writing:
    def __init__(self, target: Callable[[str], Any]) -> None:
        self._target = target
        self._left = MOST_WRITTEN
        self._shared: set[int] = set()

    def below(self, place: Place) -> Iterator[Place]:
        """The places that come of one: a choice's branches, or the parts of a value."""
        if len(place) == 1 and _says_only(place[0], "$ref"):
            self._spend(1)
            found = self._target(place[0]["$ref"])
            if isinstance(found, dict) and id(found) not in self._shared:
                self._shared.add(id(found))
                yield (found,)
            return
        met = self._met(place)
        for at, node in enumerate(met):
            for name in _CHOICES:
                if isinstance(node.get(name), list) and node[name]:
                    yield from self._branches(met, at, name)
                    return
        if met:
            self._spend(_trials(met))
            yield from self._parts(met)

    def _met(self, place: Place) -> list[JsonObject]:
        """All that holds for the value, references and ``allOf`` written out."""
        met: list[JsonObject] = []
        rest: list[Any] = [*place]
        while rest:
            node = rest.pop()
            if not isinstance(node, dict):
                continue
            self._spend(1)
            if isinstance(node.get("$ref"), str):
                rest.append(self._target(node["$ref"]))
            if isinstance(node.get("allOf"), list):
                rest.extend(node["allOf"])
            left = {name: value for name, value in node.items() if name not in _SAYS_NOTHING | {"$ref", "allOf"}}
            if left:
                met.append(left)
        return met

    def _branches(self, met: list[JsonObject], at: int, name: str) -> Iterator[Place]:
        """Each branch of a choice, with all that stands beside it."""
        rest = {key: value for key, value in met[at].items() if key != name}
        beside = [*met[:at], *([rest] if rest else []), *met[at + 1 :]]
        for branch in met[at][name]:
            if isinstance(branch, dict):
                self._spend(len(beside))
                yield (branch, *beside)

    def _parts(self, met: list[JsonObject]) -> Iterator[Place]:
        """The places within an object or a list: what is said of one part by several is said together."""
        tables = [node["properties"] for node in met if isinstance(node.get("properties"), dict)]
        names = dict.fromkeys(name for table in tables for name in table)
        self._spend(len(names) * (len(met) - 1))
        for name in names:
            yield from _together(_property(node, name) for node in met)
        for keyword in ("additionalProperties", "items", "contains", "propertyNames"):
            yield from _together(node.get(keyword) for node in met)
        lists = [node["prefixItems"] for node in met if isinstance(node.get("prefixItems"), list)]
        for index in range(max(map(len, lists), default=0)):
            yield from _together(items[index] for items in lists if index < len(items))
        for node in met:
            for schema in _values(node.get("patternProperties")):
                yield from _together([schema])

    def _spend(self, parts: int) -> None:
        self._left -= parts
        if self._left < 0:
            raise SchemaTooLarge


def _says_only(node: JsonObject, name: str) -> bool:
    return isinstance(node.get(name), str) and not (node.keys() - _SAYS_NOTHING - {name})


def _property(node: JsonObject, name: str) -> Any:
    table = node.get("properties")
    if isinstance(table, dict) and name in table:
        return table[name]
    return node.get("additionalProperties")


def _together(schemas: Iterable[Any]) -> Iterator[Place]:
    """The place where these schemas meet, if any of them says something."""
    if place := tuple(schema for schema in schemas if isinstance(schema, dict) and schema):
        yield place


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _trials(met: list[JsonObject]) -> int:
    """How often a pattern is tried on a value of an ``enum``."""
    patterns = sum(isinstance(node.get(name), str) for node in met for name in ("pattern", "format"))
    return patterns * sum(len(node["enum"]) for node in met if isinstance(node.get("enum"), list))
