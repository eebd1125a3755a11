"""Whether the arguments of a call fit the schema of its function."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from everloom.models.llama.grammar import without
from everloom.objects.base import JsonObject, encode

_REMEMBERED = 256


class ToolSchemas:
    """The functions that may be called in free form, with the JSON schemas of their arguments."""

    def __init__(self, schemas: Mapping[str, JsonObject]) -> None:
        self._schemas = schemas
        self.names = frozenset(schemas)

    def fits(self, name: str, arguments: str) -> bool:
        """Whether ``arguments`` are JSON, and what the function ``name`` takes."""
        try:
            read = msgspec.json.decode(arguments)
            return bool(_validator(encode(self._schemas[name])).is_valid(read))
        except (msgspec.DecodeError, RecursionError, ValueError):  # no JSON, or nested too deeply
            return False


@lru_cache(_REMEMBERED)
def _validator(schema: bytes) -> Any:
    """What checks arguments by a schema, or by as much of it as can be checked; nothing is fetched for it. Patterns are
    matched in linear time, since they are a caller's.
    """
    import jsonschema_rs

    whole: JsonObject = {**msgspec.json.decode(schema), "type": "object"}
    patterns = jsonschema_rs.RegexOptions()
    for less in (whole, without(whole, ("pattern", "format", "$schema")), {"type": "object"}):
        try:
            return jsonschema_rs.validator_for(less, offline=True, validate_formats=False, pattern_options=patterns)
        except (ValueError, jsonschema_rs.ReferencingError):
            continue
    raise AssertionError("a schema of an object alone cannot be checked")
