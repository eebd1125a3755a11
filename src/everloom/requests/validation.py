"""Why a request was refused, in the platform's words.

msgspec says no in its own terms and stops there; this walks the parsed JSON against the same type and finds the first
fault again, with the message, ``param`` and ``code`` that clients know. Only ever run
on requests that are refused anyway, so it is written to be read, not to be fast.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec.inspect as mi

from everloom.kit.errors import BadRequest
from everloom.objects.base import encode

Fault = BadRequest | None


def explain(value: Any, info: mi.Type, path: str = "") -> Fault:
    """The first fault of ``value`` (parsed JSON) against ``info``, or None when there is none to be found.

    ``path`` is where the value stands in the request, as in ``tools[1].type``.
    """
    check = _CHECKS.get(type(info))
    return None if check is None else check(value, info, path)


def missing(path: str) -> BadRequest:
    """A parameter that has to be there and is not."""
    return BadRequest(f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def unknown(path: str) -> BadRequest:
    """A parameter that this operation does not have."""
    return BadRequest(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")


def unsupported_value(path: str, value: Any, supported: Iterable[Any]) -> BadRequest:
    """A value that is not one of the ``supported`` ones."""
    words = [f"'{word}'" for word in sorted(supported, key=str)]
    return BadRequest(
        f"Invalid value: {_quote(value)}. Supported values are: {_join(words, 'and')}.",
        param=path,
        code="invalid_value",
    )


def wrong_type(path: str, value: Any, info: mi.Type) -> BadRequest:
    """A value of another JSON type than ``info`` asks for."""
    return BadRequest(
        f"Invalid type for '{path}': expected {_expected(info)}, but got {_got(value)} instead.",
        param=path,
        code="invalid_type",
    )


def invalid(path: str, fault: str, code: str) -> BadRequest:
    """A value of the right type that breaks a bound; ``fault`` is the sentence behind the parameter's name."""
    return BadRequest(f"Invalid '{path}': {fault}", param=path, code=code)


def below(path: str, key: str) -> str:
    """The path of the member ``key`` of the object at ``path``."""
    return f"{path}.{_clip(key)}" if path else _clip(key)


# --- a check for each kind of type ---------------------------------------------------------------------------------


def _string(value: Any, info: mi.StrType, path: str) -> Fault:
    if not isinstance(value, str):
        return wrong_type(path, value, info)
    if fault := _length(value, info, path, "string"):
        return fault
    if info.pattern is not None and re.search(info.pattern, value) is None:
        # Python's end of text is written \Z, the wire's patterns are written the JavaScript way.
        pattern = info.pattern.replace(r"\Z", "$")
        text = f"string does not match pattern. Expected a string that matches the pattern '{pattern}'."
        return invalid(path, text, "invalid_value")
    return None


def _integer(value: Any, info: mi.IntType, path: str) -> Fault:
    if not isinstance(value, int) or isinstance(value, bool):
        return wrong_type(path, value, info)
    return _range(value, info, path, "integer")


def _decimal(value: Any, info: mi.FloatType, path: str) -> Fault:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return wrong_type(path, value, info)
    return _range(value, info, path, "decimal")


def _boolean(value: Any, info: mi.BoolType, path: str) -> Fault:
    return None if isinstance(value, bool) else wrong_type(path, value, info)


def _null(value: Any, info: mi.NoneType, path: str) -> Fault:
    return None if value is None else wrong_type(path, value, info)


def _literal(value: Any, info: mi.LiteralType, path: str) -> Fault:
    return _one_of(value, info.values, info, path)


def _enum(value: Any, info: mi.EnumType, path: str) -> Fault:
    return _one_of(value, [member.value for member in info.cls], info, path)


def _array(value: Any, info: mi.ListType, path: str) -> Fault:
    if not isinstance(value, list):
        return wrong_type(path, value, info)
    if fault := _length(value, info, path, "array"):
        return fault
    items = (explain(item, info.item_type, f"{path}[{index}]") for index, item in enumerate(value))
    return next(filter(None, items), None)


def _mapping(value: Any, info: mi.DictType, path: str) -> Fault:
    if not isinstance(value, dict):
        return wrong_type(path, value, info)
    if info.max_length is not None and len(value) > info.max_length:
        text = (
            f"too many properties. Expected an object with at most {info.max_length} properties, "
            f"but got an object with {len(value)} properties instead."
        )
        return invalid(path, text, "object_above_max_properties")
    for key, member in value.items():
        if fault := explain(key, info.key_type, path):
            # The key itself may be long or strange: the object it stands in is named instead.
            text = fault.message.replace(f"'{path}'", f"property name in '{path}'", 1)
            return BadRequest(text, param=path, code=fault.code)
        if fault := explain(member, info.value_type, below(path, key)):
            return fault
    return None


def _object(value: Any, info: mi.StructType, path: str) -> Fault:
    if not isinstance(value, dict):
        return wrong_type(path, value, info)
    fields = {field.encode_name: field for field in info.fields}
    for key, member in value.items():
        here = below(path, key)
        if key == info.tag_field:
            fault = _one_of(member, [info.tag], mi.StrType(), here)
        elif key in fields:
            fault = explain(member, fields[key].type, here)
        else:
            fault = unknown(here) if info.forbid_unknown_fields else None
        if fault:
            return fault
    absent = (name for name, field in fields.items() if field.required and name not in value)
    return next((missing(below(path, name)) for name in absent), None)


def _union(value: Any, info: mi.UnionType, path: str) -> Fault:
    fitting = [choice for choice in info.types if _fits(value, choice)]
    if not fitting:
        return wrong_type(path, value, info)
    structs = [choice for choice in fitting if isinstance(choice, mi.StructType)]
    if len(structs) > 1:
        return _tagged(value, structs, path)
    # An integer fits a decimal too: one choice that takes the value is enough.
    faults = [explain(value, choice, path) for choice in fitting]
    return None if None in faults else faults[0]


def _tagged(value: dict[str, Any], choices: list[mi.StructType], path: str) -> Fault:
    name = choices[0].tag_field or "type"
    here = below(path, name)
    if name not in value:
        return missing(here)
    tag = value[name]
    if fault := _one_of(tag, [choice.tag for choice in choices], mi.StrType(), here):
        return fault
    return next(explain(value, choice, path) for choice in choices if choice.tag == tag)


_CHECKS: dict[type[mi.Type], Callable[[Any, Any, str], Fault]] = {
    mi.StrType: _string,
    mi.IntType: _integer,
    mi.FloatType: _decimal,
    mi.BoolType: _boolean,
    mi.NoneType: _null,
    mi.LiteralType: _literal,
    mi.EnumType: _enum,
    mi.ListType: _array,
    mi.DictType: _mapping,
    mi.StructType: _object,
    mi.UnionType: _union,
    mi.Metadata: lambda value, info, path: explain(value, info.type, path),
}


# --- bounds --------------------------------------------------------------------------------------------------------


def _one_of(value: Any, supported: Iterable[Any], info: mi.Type, path: str) -> Fault:
    supported = list(supported)
    if type(value) not in {type(choice) for choice in supported}:
        return wrong_type(path, value, info)
    return None if value in supported else unsupported_value(path, value, supported)


def _length(value: Any, info: Any, path: str, word: str) -> Fault:
    length, low, high = len(value), info.min_length, info.max_length
    if high is not None and length > high:
        text = f"{word} too long. Expected {_a(word)} with maximum length {high}, "
        code = f"{word}_above_max_length"
    elif low is not None and length < low:
        text = f"{word} too short. " if length else f"empty {word}. "
        text += f"Expected {_a(word)} with minimum length {low}, "
        code = f"{word}_below_min_length" if length else f"empty_{word}"
    else:
        return None
    got = f"{_a(word)} with length {length}" if length else f"an empty {word}"
    return invalid(path, f"{text}but got {got} instead.", code)


def _range(value: float, info: Any, path: str, word: str) -> Fault:
    bounds = (
        (info.ge, ">=", "below minimum", "below_min", operator.ge),
        (info.gt, ">", "below minimum", "below_min", operator.gt),
        (info.le, "<=", "above maximum", "above_max", operator.le),
        (info.lt, "<", "above maximum", "above_max", operator.lt),
    )
    for bound, sign, side, code, holds in bounds:
        if bound is not None and not holds(value, bound):
            got = _number(value)
            text = f"{word} {side} value. Expected a value {sign} {bound}, but got {got} instead."
            return invalid(path, text, f"{word}_{code}_value")
    return None


def _number(value: float) -> str:
    """As in JSON. An integer may have thousands of digits, more than a float can hold."""
    if isinstance(value, int):
        return _clip(str(value))
    return encode(value).decode() if math.isfinite(value) else str(value)


# --- words ---------------------------------------------------------------------------------------------------------


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "decimal"
    return "array" if isinstance(value, list) else "object"


_WORDS: dict[type[mi.Type], str] = {
    mi.StrType: "string",
    mi.IntType: "integer",
    mi.FloatType: "decimal",
    mi.BoolType: "boolean",
    mi.NoneType: "null",
    mi.ListType: "array",
    mi.DictType: "object",
    mi.StructType: "object",
}


def _kinds(info: mi.Type) -> set[str]:
    """The JSON types that ``info`` takes; empty for those that take anything."""
    if isinstance(info, mi.UnionType):
        return set().union(*map(_kinds, info.types))
    if isinstance(info, mi.Metadata):
        return _kinds(info.type)
    if isinstance(info, mi.LiteralType):
        return set(map(_kind, info.values))
    if isinstance(info, mi.EnumType):
        return {_kind(member.value) for member in info.cls}
    return {_WORDS[type(info)]} if type(info) in _WORDS else set()


def _fits(value: Any, info: mi.Type) -> bool:
    kinds = _kinds(info)
    kind = _kind(value)
    return not kinds or kind in kinds or (kind == "integer" and "decimal" in kinds)


def _expected(info: mi.Type) -> str:
    choices = info.types if isinstance(info, mi.UnionType) else (info,)
    words = sorted({word for choice in choices for word in _expected_words(choice)} - {"null"})
    if not words:
        return "null"
    first = _a(words[0])
    return first if len(words) == 1 else f"one of {_join([first, *words[1:]], 'or')}"


def _expected_words(info: mi.Type) -> set[str]:
    if isinstance(info, mi.ListType):
        items = _kinds(info.item_type) - {"null"}
        return {f"array of {items.pop()}s" if len(items) == 1 else "array"}
    return _kinds(info)


def _got(value: Any) -> str:
    kind = _kind(value)
    return kind if kind == "null" else _a(kind)


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _join(words: list[str], last: str) -> str:
    if len(words) < 3:
        return f" {last} ".join(words)
    return f"{', '.join(words[:-1])}, {last} {words[-1]}"


def _quote(value: Any) -> str:
    return f"'{_clip(value)}'" if isinstance(value, str) else encode(value).decode()


def _clip(text: str) -> str:
    """What a caller wrote, as far as it belongs in a message."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_SHOWN = 256
