"""Filters over the attributes of files: comparisons, and ``and`` or ``or`` of them (ComparisonFilter, CompoundFilter).

A file without the attribute equals nothing and is greater or less than nothing, so it fits ``ne`` and ``nin`` alone.
Numbers compare with numbers and texts with texts; true and false can only be equal.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from everloom.kit.errors import BadRequest
from everloom.objects.base import JsonObject
from everloom.objects.vector_stores import AttributeValue

Fits = Callable[[Mapping[str, AttributeValue]], bool]

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_TYPES = ("eq", "ne", *_ORDER, "in", "nin", "and", "or")


def filter_of(wanted: Any, param: str = "filters") -> Fits:
    """A function that says whether a file's attributes fit. Errors: 400 for what is no filter."""
    shape = _object(wanted, param)
    kind = shape.get("type", "eq")
    if kind in ("and", "or"):
        return _compound(shape, kind, param)
    if kind not in _TYPES:
        shown = ", ".join(repr(name) for name in _TYPES)
        raise _wrong(f"{param}.type", f"expected one of {shown}, but got {kind!r} instead", "invalid_value")
    return _comparison(shape, kind, param)


def _compound(shape: JsonObject, kind: str, param: str) -> Fits:
    _only(shape, {"type", "filters"}, param)
    parts = shape["filters"]
    if not isinstance(parts, list) or not parts:
        raise _wrong(f"{param}.filters", "expected a list of one or more filters", "invalid_type")
    fits = [filter_of(part, f"{param}.filters[{place}]") for place, part in enumerate(parts)]
    joined = all if kind == "and" else any
    return lambda attributes: joined(fit(attributes) for fit in fits)


def _comparison(shape: JsonObject, kind: str, param: str) -> Fits:
    _only(shape, {"type", "key", "value"}, param)
    key, value = shape["key"], shape["value"]
    if not isinstance(key, str):
        raise _wrong(f"{param}.key", "expected a string", "invalid_type")
    if kind in ("in", "nin"):
        if not isinstance(value, list) or not all(isinstance(item, str | int | float) for item in value):
            raise _wrong(f"{param}.value", "expected a list of strings or numbers", "invalid_type")
        within = kind == "in"
        return lambda attributes: any(_equal(attributes.get(key), item) for item in value) == within
    if not isinstance(value, str | int | float):
        raise _wrong(f"{param}.value", "expected a string, a number or a boolean", "invalid_type")
    if kind in ("eq", "ne"):
        same = kind == "eq"
        return lambda attributes: _equal(attributes.get(key), value) == same
    compare = _ORDER[kind]
    return lambda attributes: _ordered(attributes.get(key), value) and compare(attributes[key], value)


def _equal(found: Any, value: Any) -> bool:
    """``True`` is not 1 here, as it is not on the wire."""
    return found is not None and isinstance(found, bool) == isinstance(value, bool) and bool(found == value)


def _ordered(found: Any, value: Any) -> bool:
    if isinstance(found, bool) or isinstance(value, bool):
        return False
    return isinstance(found, str) == isinstance(value, str) and found is not None


def _object(wanted: Any, param: str) -> JsonObject:
    if not isinstance(wanted, dict):
        raise _wrong(param, "expected an object", "invalid_type")
    return wanted


def _only(shape: JsonObject, names: set[str], param: str) -> None:
    for name in sorted(names - shape.keys() - {"type"}):
        full = f"{param}.{name}"
        raise BadRequest(f"Missing required parameter: '{full}'.", param=full, code="missing_required_parameter")
    for name in shape.keys() - names:
        full = f"{param}.{name}"
        raise BadRequest(f"Unknown parameter: '{full}'.", param=full, code="unknown_parameter")


def _wrong(param: str, text: str, code: str) -> BadRequest:
    return BadRequest(f"Invalid '{param}': {text}.", param=param, code=code)
