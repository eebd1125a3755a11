"""Which JSON schemas a local engine is given, since it compiles them where all its requests wait.

The limits were measured on the engine (docs/decisions/local-engine.md): a list of a hundred million items, or four
``multipleOf`` together, kept it busy for minutes, and a schema that only refers to itself admits nothing at all.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import reduce
from math import inf
from operator import mul
from typing import Any
from urllib.parse import unquote

from everloom.models.llama.schema_size import MOST_WRITTEN, SchemaTooLarge, measure
from everloom.objects.base import JsonObject, encode

MOST_BYTES = 200_000
MOST_CONTAINERS = 10_000
MOST_ITEMS = 20_000
"""The sum of what ``minItems``, ``maxItems`` and their like ask for in a schema."""
MOST_STEPS = 20_000
"""The sum of its ``multipleOf``, each as a whole number: 0.01 is 1, 2.5 is 25."""
MOST_LEAST = 20_000
"""Parts of the smallest value that follows a schema. No model here could write more; it would write till its end."""
LONGEST_PATTERN = 1_000
MOST_TOGETHER = 4
"""Patterns (and formats) that branches of one ``allOf`` may bring along: each one more can double the work."""
_MOST_VISITS = 100_000

_COUNTS = ("minItems", "maxItems", "minContains", "maxContains", "minProperties", "maxProperties")
_SIMPLE_COUNT = 1_000
_COUNTING = re.compile(r"(?:min|max)(?:Items|Length|Properties|Contains)")
_EXACT = 2**53
_INLINED = 100
_DEEPEST = 4


class _TooMuch(Exception):
    """A limit is passed; the message says which."""


def fault(schema: JsonObject) -> str | None:
    """Why the engine cannot be given a schema, None where it can be tried."""
    try:
        if len(encode(schema)) > MOST_BYTES:
            raise _TooMuch(f"it is longer than {MOST_BYTES} bytes")
        walk = _Walk(schema)
        walk.measure()
        if not walk.ends():
            return "it refers to itself without end"
        if walk.least() > MOST_LEAST:
            return f"its smallest value has more than {MOST_LEAST} parts"
        measure(schema, walk.target)
    except _TooMuch as limit:
        return str(limit)
    except SchemaTooLarge:
        return f"its references and combinations come to more than {MOST_WRITTEN} parts when they are written out"
    except RecursionError:
        return "it is nested too deeply"
    return None


class _Walk:
    """One schema, looked at."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._visits = 0
        self._finite: set[int] = set()
        self._sizes: dict[int, float] = {}

    def measure(self) -> None:
        """Raise ``_TooMuch`` for what would take the engine too long."""
        items, steps, containers = 0, 0, 0
        for node in _nodes(self._root):
            containers += 1
            if containers > MOST_CONTAINERS:
                raise _TooMuch(f"it has more than {MOST_CONTAINERS} parts")
            if not isinstance(node, dict):
                continue
            items += sum(node[name] for name in _COUNTS if isinstance(node.get(name), int))
            steps += _step(node)
            if isinstance(node.get("pattern"), str) and len(node["pattern"]) > LONGEST_PATTERN:
                raise _TooMuch(f"a pattern is longer than {LONGEST_PATTERN} characters")
            if isinstance(node.get("$ref"), str):
                self.target(node["$ref"])
            if isinstance(node.get("allOf"), list):
                self._measure_together(node)
        if items > MOST_ITEMS:
            raise _TooMuch(f"its limits of items and properties add up to more than {MOST_ITEMS}")
        if steps > MOST_STEPS:
            raise _TooMuch(f"its 'multipleOf' add up to more than {MOST_STEPS}")

    def _measure_together(self, node: JsonObject) -> None:
        own = {name: value for name, value in node.items() if name != "allOf"}
        found = [self._costs(branch) for branch in (own, *node["allOf"])]
        if sum(bool(patterns) for patterns, _ in found) > 1 and sum(patterns for patterns, _ in found) > MOST_TOGETHER:
            raise _TooMuch(f"its 'allOf' brings more than {MOST_TOGETHER} patterns together")
        if reduce(mul, (step for _, step in found if step), 1) > MOST_STEPS:
            raise _TooMuch(f"its 'allOf' multiplies 'multipleOf' to more than {MOST_STEPS}")

    def _costs(self, branch: Any) -> tuple[int, int]:
        """The patterns in a branch and behind its references, and its ``multipleOf`` multiplied (0: none)."""
        patterns, step = 0, 0
        seen: set[int] = set()
        rest = [branch]
        while rest:
            for node in _nodes(rest.pop()):
                self._visit()
                if not isinstance(node, dict):
                    continue
                patterns += isinstance(node.get("pattern"), str) + isinstance(node.get("format"), str)
                step = (step or 1) * _step(node) if _step(node) else step
                if isinstance(node.get("$ref"), str):
                    target = self.target(node["$ref"])
                    if id(target) not in seen:
                        seen.add(id(target))
                        rest.append(target)
        return patterns, step

    def ends(self) -> bool:
        """Whether there is a value of finite size, as far as references say."""
        known = -1
        while known < len(self._finite):
            known = len(self._finite)
            if self._is_finite(self._root, set()):
                return True
        return False

    def _is_finite(self, node: Any, above: set[int]) -> bool:
        """What is under way counts as endless: whether it is, a later round says."""
        if not isinstance(node, dict) or id(node) in self._finite:
            return True
        if id(node) in above:
            return False
        self._visit()
        above.add(id(node))
        finite = all(self._is_finite(part, above) for part in self._all_of(node)) and all(
            any(self._is_finite(part, above) for part in node[name])
            for name in ("anyOf", "oneOf")
            if isinstance(node.get(name), list) and node[name]
        )
        above.discard(id(node))
        if finite:
            self._finite.add(id(node))
        return finite

    def _all_of(self, node: JsonObject) -> Iterator[Any]:
        """The schemas that a value, or a part that it must have, follows."""
        if isinstance(node.get("$ref"), str):
            yield self.target(node["$ref"])
        if isinstance(node.get("allOf"), list):
            yield from node["allOf"]
        properties, required = node.get("properties"), node.get("required")
        if isinstance(properties, dict) and isinstance(required, list):
            yield from (properties[name] for name in required if isinstance(name, str) and name in properties)
        if isinstance(node.get("minItems"), int) and node["minItems"] > 0:
            yield node.get("items")

    def least(self) -> float:
        """The parts that the smallest value has at least; thirty objects that need each the next one twice: 2³⁰."""
        return self._least(self._root, set())

    def _least(self, node: Any, above: set[int]) -> float:
        """What is under way cannot be part of its own smallest value."""
        if not isinstance(node, dict):
            return 1
        if id(node) in self._sizes:
            return self._sizes[id(node)]
        if id(node) in above:
            return inf
        self._visit()
        above.add(id(node))
        size = max(
            1 + sum(times * self._least(part, above) for part, times in _needed(node)), *self._beside(node, above)
        )
        above.discard(id(node))
        if size < inf:
            self._sizes[id(node)] = size
        return size

    def _beside(self, node: JsonObject, above: set[int]) -> Iterator[float]:
        """The sizes that the schemas ask for which hold for the same value."""
        yield 1
        if isinstance(node.get("$ref"), str):
            yield self._least(self.target(node["$ref"]), above)
        for part in node["allOf"] if isinstance(node.get("allOf"), list) else ():
            yield self._least(part, above)
        for name in ("anyOf", "oneOf"):
            if isinstance(node.get(name), list) and node[name]:
                yield min(self._least(part, above) for part in node[name])

    def target(self, reference: str) -> Any:
        """What a reference leads to; ``_TooMuch`` where that is nothing in this schema."""
        found: Any = self._root
        path, *parts = reference.split("/")
        for part in parts:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isascii() and name.isdigit() and int(name[:9]) < len(found):
                found = found[int(name[:9])]
            else:
                raise _TooMuch(f"nothing stands at its reference '{reference[:100]}'")
        if path != "#":
            raise _TooMuch(f"its reference '{reference[:100]}' leads out of it")
        return found

    def _visit(self) -> None:
        self._visits += 1
        if self._visits > _MOST_VISITS:
            raise _TooMuch("its references and combinations are too entangled")


def _needed(node: JsonObject) -> Iterator[tuple[Any, int]]:
    """The parts that a value must have, and how often."""
    properties, required = node.get("properties"), node.get("required")
    if isinstance(properties, dict) and isinstance(required, list):
        names = dict.fromkeys(name for name in required if isinstance(name, str))
        yield from ((properties[name], 1) for name in names if name in properties)
    if isinstance(node.get("minItems"), int) and node["minItems"] > 0:
        first = node["prefixItems"] if isinstance(node.get("prefixItems"), list) else []
        yield from ((part, 1) for part in first[: node["minItems"]])
        if node["minItems"] > len(first):
            yield node.get("items"), node["minItems"] - len(first)


def _nodes(value: Any) -> Iterator[Any]:
    """Every object and array in a value, itself included."""
    rest = [value]
    while rest:
        node = rest.pop()
        if isinstance(node, dict):
            yield node
            rest.extend(node.values())
        elif isinstance(node, list):
            yield node
            rest.extend(node)


def _step(node: JsonObject) -> int:
    """``multipleOf`` as a whole number, 0 where there is none."""
    step = node.get("multipleOf")
    if isinstance(step, bool) or not isinstance(step, int | float):
        return 0
    _, digits, exponent = Decimal(str(step)).as_tuple()
    if not isinstance(exponent, int) or exponent > 30:
        return MOST_STEPS + 1
    whole = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    return MOST_STEPS + 1 if whole > MOST_STEPS else int(whole)


# --- for the engine's own reader of calls -----------------------------------------------------------------------------


def is_simple(schema: JsonObject) -> bool:
    """Whether llama.cpp's own converter takes a schema as it is: references and combinations it expands without end."""
    return not any(isinstance(node, dict) and _odd(node) for node in _nodes(schema))


def simple(schema: JsonObject) -> JsonObject:
    """A schema for that converter: references written out as far as they lead, what it cannot take left away."""
    shown: JsonObject = _Simple(schema).of(schema, _DEEPEST)
    return shown


def _odd(node: JsonObject) -> bool:
    return any(_is_odd(name, value) for name, value in node.items())


def _is_odd(name: str, value: Any) -> bool:
    if name == "$ref" or name == "pattern":
        return isinstance(value, str)
    if name in ("allOf", "$defs", "definitions"):
        return isinstance(value, list | dict)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return name == "multipleOf" or abs(value) > (_SIMPLE_COUNT if _COUNTING.fullmatch(name) else _EXACT)


class _Simple:
    def __init__(self, root: JsonObject) -> None:
        self._walk = _Walk(root)
        self._left = _INLINED

    def of(self, node: Any, depth: int) -> Any:
        if isinstance(node, list):
            return [self.of(item, depth) for item in node]
        if not isinstance(node, dict):
            return node
        self._left -= 1
        if isinstance(node.get("$ref"), str):
            target = self._walk.target(node["$ref"])
            written = self.of(target, depth - 1) if depth and self._left > 0 and isinstance(target, dict) else {}
            return {**written, **{name: node[name] for name in ("description",) if name in node}}
        return {name: self.of(value, depth) for name, value in node.items() if not _is_odd(name, value)}
