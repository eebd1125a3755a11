"""JSON bodies become the types they are asked to be, or the platform's 400, wherever they come from.

The good case is one call of a cached msgspec decoder. What it refuses is looked at a second time by
``explain``, which knows the platform's texts. Query strings are the HTTP floor's: ``api/http/binding.py``.
"""

import codecs
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
import msgspec.inspect as mi
from msgspec import Struct

from everloom.kit.errors import BadRequest
from everloom.objects.base import JsonObject, encode
from everloom.requests.validation import below, explain, invalid

T = TypeVar("T")

MAX_NESTING = 128
"""How deep arrays and objects may stand in each other where a body may hold any JSON (a function's schema).

Far above any schema a model understands, far below what would exhaust the stack of whoever walks it later.
"""

MAX_CONTAINERS = 250_000
"""How many arrays and objects such a body may hold: two bytes each on the wire, a hundred in memory."""

MAX_VALUES = 1_000_000
"""How many values any body may list: two bytes each on the wire, up to sixty in memory. Longest among honest ones are
lists of tokens, of which the platform takes 300 000.
"""

_UNREADABLE = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
    "figuring out how to fix this, see the API reference.)"
)


class Binding(Struct, frozen=True):
    """What is worked out once a type, by ``bind``."""

    decoder: Any
    info: mi.Type
    takes_any: bool
    """Somewhere in it any JSON may stand."""
    takes_nothing: bool
    """It is an object without required members, so that no body at all will do."""
    fields: dict[str, mi.Type]
    """The types of its members, None left aside."""


@cache
def bind(type: Any) -> Binding:
    """How a type is read."""
    info = mi.type_info(type)
    fields = info.fields if isinstance(info, mi.StructType) else ()
    return Binding(
        decoder=msgspec.json.Decoder(type),
        info=info,
        takes_any=_takes_any(info),
        takes_nothing=isinstance(info, mi.StructType) and not any(field.required for field in fields),
        fields={field.encode_name: _without_none(field.type) for field in fields},
    )


def decode_body(body: bytes, type: type[T]) -> T:
    """The body as ``type``; ``BadRequest`` with the platform's message, ``param`` and ``code`` where it is not one.

    An empty body stands for ``{}`` where nothing is required, as in the reference's own ``-d ''``; null for what need
    not be given means that it is not given, at any depth, unless the type has a null of its own there.
    """
    return read_body(body, type)[0]


def read_body(body: bytes, type: type[T]) -> tuple[T, bytes]:
    """As ``decode_body``, and with it the bytes for whoever passes them on: as they came, but for nulls like those."""
    bound = bind(cast(Any, type))
    if len(body) > MAX_VALUES:
        _refuse_crumbs(body)
    if bound.takes_any:
        _refuse_thickets(body)
    try:
        value = bound.decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value, body = _decode_slowly(body, type, bound)
    if b"\\u0000" in body:
        _refuse_nul_in_names(_parse(body))
    return cast(T, value), body


_SPELT_OUT = re.compile(rb"\\u00[4-7]")
"""A letter as an escape: so might the name of a member be written."""


def said_once(raw: bytes, body: JsonObject, names: Sequence[bytes]) -> bytes:
    """The bytes of a request that has been read as ``body``, for whoever reads them again: where one of ``names`` may
    stand there twice, of which some parsers take the first, what was read is written anew.
    """
    for name in names:
        if raw.count(name) > 1:
            return encode(body)
    return encode(body) if _SPELT_OUT.search(raw) else raw


# --- the second look -----------------------------------------------------------------------------------------------


def _decode_slowly(body: bytes, type: type[T], bound: Binding) -> tuple[T, bytes]:
    if body.startswith(codecs.BOM_UTF8):
        return read_body(body.removeprefix(codecs.BOM_UTF8), type)
    if bound.takes_nothing and not body.strip():
        return convert({}, type), body
    value = _parse(body)
    if isinstance(bound.info, mi.StructType) and not isinstance(value, dict):
        raise BadRequest(_UNREADABLE)
    if b"null" in body and _leave_out_nulls(value, bound.info):
        body = encode(value)
    if fault := explain(value, bound.info):
        raise fault
    # No fault in what counts: a member given twice, say, the first time wrongly. The last one wins.
    return convert(value, type), body


def _leave_out_nulls(value: Any, info: mi.Type) -> bool:
    """Take out of parsed JSON the members that are null, need not be given and may not be null; whether any were.

    Those that the form does not know are among them: typed clients send the members of a whole family of forms.
    """
    if isinstance(value, list):
        items = next((each for each in _choices(info) if isinstance(each, mi.ListType)), None)
        return items is not None and sum(_leave_out_nulls(item, items.item_type) for item in value) > 0
    struct = _struct_of(value, info) if isinstance(value, dict) else None
    if struct is None:
        return False
    found = False
    for field in struct.fields:
        member = value.get(field.encode_name)
        if member is not None:
            found = _leave_out_nulls(member, field.type) or found
        elif field.encode_name in value and not field.required and not _takes_null(field.type):
            del value[field.encode_name]
            found = True
    known = {field.encode_name for field in struct.fields} | {struct.tag_field}
    for name in [name for name, member in value.items() if member is None and name not in known]:
        del value[name]
        found = True
    return found


def _struct_of(value: dict[str, Any], info: mi.Type) -> mi.StructType | None:
    """The form that an object is of: the only one, or the one whose tag it bears."""
    structs = [each for each in _choices(info) if isinstance(each, mi.StructType)]
    if len(structs) == 1:
        return structs[0]
    return next((each for each in structs if each.tag_field and value.get(each.tag_field) == each.tag), None)


def _choices(info: mi.Type) -> tuple[mi.Type, ...]:
    return info.types if isinstance(info, mi.UnionType) else (info,)


def _takes_null(info: mi.Type) -> bool:
    return any(isinstance(each, mi.NoneType | mi.AnyType | mi.RawType) for each in _choices(info))


def _parse(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(_UNREADABLE) from error


_WHERE = re.compile(r"(?s)^(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?$")


def convert(value: Any, type: type[T]) -> T:
    """Parsed JSON without a fault that ``explain`` knows of, as ``type``. Errors: 400 in msgspec's words."""
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        # A kind of type that ``explain`` has no words for: msgspec's own sentence is better than none.
        found = _WHERE.match(str(error))
        text, param = found.groups() if found else (str(error), None)
        raise BadRequest(f"Invalid '{param}': {text}." if param else f"{text}.", param=param) from error


def _refuse_nul_in_names(value: Any) -> None:
    """Ids and names become columns and parts of queries, where U+0000 cannot stand; other text may hold it."""
    rest = [("", "", value)]
    while rest:
        path, key, value = rest.pop()
        if isinstance(value, dict):
            rest.extend((below(path, name), name, member) for name, member in value.items())
        elif isinstance(value, list):
            rest.extend((f"{path}[{index}]", key, item) for index, item in enumerate(value))
        elif isinstance(value, str) and "\0" in value and _NAME.search(key):
            raise nul_in(path)


_NAME = re.compile(r"(?:^|_)(?:ids?|name|model|file)$")


def nul_in(path: str) -> BadRequest:
    """A text that may hold no U+0000 and does."""
    text = "string contains a null character. Expected a string without null characters."
    return invalid(path, text, "invalid_value")


# --- depth ---------------------------------------------------------------------------------------------------------

_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def _refuse_thickets(body: bytes) -> None:
    """Refuse JSON that nests too deeply or holds too many arrays and objects, before anything is built of it.

    All of it is done by a few calls on bytes: ordinary bodies cost two counts, hostile ones no more than decoding.
    """
    if body.count(b"[") + body.count(b"{") <= MAX_NESTING:
        return
    outside = _outside(body).translate(_BRACKETS, _OTHERS)
    if outside.count(b"[") > MAX_CONTAINERS:
        raise BadRequest(f"Invalid body: too many arrays and objects. Expected at most {MAX_CONTAINERS}.")
    for _ in range(MAX_NESTING):
        shallower = outside.replace(b"[]", b"")  # One level less.
        if len(shallower) == len(outside):
            return  # Nothing left, or brackets that do not match, which the decoder will tell.
        outside = shallower
    if outside:
        raise BadRequest(f"Invalid body: nested too deeply. Expected at most {MAX_NESTING} levels of JSON.")


def _refuse_crumbs(body: bytes) -> None:
    """Refuse a large body of tiny values before it is decoded to many times its size."""
    if body.count(b",") > MAX_VALUES and _outside(body).count(b",") > MAX_VALUES:
        raise _too_many_values()


def _too_many_values() -> BadRequest:
    return BadRequest(f"Invalid body: too many values. Expected at most {MAX_VALUES}.")


def _outside(body: bytes) -> bytes:
    """What of a body stands outside its strings. Errors: 400 for more strings than there may be values."""
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    if unescaped.count(b'"') > 2 * MAX_VALUES:
        raise _too_many_values()  # Taken apart, they would be many times the body.
    return b"".join(unescaped.split(b'"')[::2])


def _takes_any(info: Any) -> bool:
    if isinstance(info, mi.AnyType | mi.RawType):
        return True
    if isinstance(info, mi.StructType):
        return not info.forbid_unknown_fields or any(_takes_any(field.type) for field in info.fields)
    if isinstance(info, mi.UnionType):
        return any(map(_takes_any, info.types))
    parts = (getattr(info, name, None) for name in ("type", "item_type", "key_type", "value_type"))
    return any(_takes_any(part) for part in parts if part is not None)


def _without_none(info: mi.Type) -> mi.Type:
    if isinstance(info, mi.UnionType):
        choices = [choice for choice in info.types if not isinstance(choice, mi.NoneType)]
        return choices[0] if len(choices) == 1 else mi.UnionType(tuple(choices))
    return info
