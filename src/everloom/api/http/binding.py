"""Query strings, and the fields of forms, become the types a handler asked for, or the platform's 400.

JSON bodies are read by ``requests/binding.py``; what it knows of types is used here too.
"""

import contextlib
import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
import msgspec.inspect as mi
from msgspec import StructMeta

from everloom.requests.binding import bind, convert, nul_in
from everloom.requests.validation import explain, unknown

T = TypeVar("T")


def decode_query(pairs: Sequence[tuple[str, str]], type: type[T]) -> T:
    """The query string as ``type``; unknown names are passed over, as the platform does.
    What stands in brackets behind a known one is not: a filter that was misspelt would let everything through.

    ``name=a,b``, ``name=a&name=b`` and ``name[]=a&name[]=b`` are the same list; ``name[key]=value`` is
    a member of an object, and ``name=null`` says that there is none. Where a single value is asked for and several are
    given, the last one counts.
    """
    if not pairs and (nothing := _of_nothing(cast(Any, type))) is not None:
        return cast(T, nothing)
    bound = bind(cast(Any, type))
    raw = _gather(pairs, bound.fields) if pairs else {}
    try:
        return msgspec.convert(raw, type)
    except msgspec.ValidationError:
        if fault := explain(raw, bound.info):
            raise fault from None
        return convert(raw, type)


@cache
def _of_nothing(type: type[Any]) -> Any:
    """What an empty query string is as ``type``; None where it has to say something, or where one who is given it may
    change it.
    """
    if not (isinstance(type, StructMeta) and type.__struct_config__.frozen):
        return None
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert({}, type)
    return None


_QUERY_NAME = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")


def _gather(pairs: Sequence[tuple[str, str]], fields: dict[str, mi.Type]) -> dict[str, Any]:
    """The pairs as the JSON object they stand for."""
    raw: dict[str, Any] = {}
    for full_name, text in pairs:
        name, key = full_name, None
        if "[" in full_name and (found := _QUERY_NAME.fullmatch(full_name)):
            name, key = found.groups()
        elif "[" in full_name and full_name.partition("[")[0] in fields:
            raise unknown(full_name)
        shape = fields.get(name)
        if not text and not isinstance(shape, mi.DictType):
            continue  # Clients that leave nothing out send an empty text for what was not given.
        if shape is not None and "\0" in text:
            raise nul_in(full_name)
        if isinstance(shape, mi.ListType):
            texts = text.split(",") if key is None else [text]
            raw.setdefault(name, []).extend(_scalar(item, shape.item_type) for item in texts)
        elif isinstance(shape, mi.DictType) and key is not None:
            _members(raw, name)[key] = _scalar(text, shape.value_type)
        elif isinstance(shape, mi.StructType) and key is not None:
            types = {field.encode_name: field.type for field in shape.fields}
            if key not in types:
                raise unknown(full_name)
            _members(raw, name)[key] = _scalar(text, types[key])
        elif isinstance(shape, mi.DictType) and key is None and text == "null":
            raw[name] = None
        elif shape is not None and key is None:
            raw[name] = _scalar(text, shape)
    return raw


def _members(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """The object under ``name``; a plain ``name=text`` that came before does not count."""
    if not isinstance(raw.get(name), dict):
        raw[name] = {}
    return cast(dict[str, Any], raw[name])


_BOOLEANS = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
_INTEGER = re.compile(r"-?[0-9]{1,30}")
_DECIMAL = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][-+]?[0-9]{1,4})?")


def _scalar(text: str, info: mi.Type) -> Any:
    """The text as the first of the types asked for that it can be read as; else as it is, for ``explain`` to refuse."""
    for choice in info.types if isinstance(info, mi.UnionType) else (info,):
        if isinstance(choice, mi.IntType) and _INTEGER.fullmatch(text):
            return int(text)
        if isinstance(choice, mi.BoolType) and text in _BOOLEANS:
            return _BOOLEANS[text]
        if isinstance(choice, mi.FloatType) and _DECIMAL.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
    return text
