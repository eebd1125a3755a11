"""Messages of which no more is known than who said what, and when: lines of a dump, rows of a table, chat exports."""

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from everloom.objects.base import JsonObject
from everloom.work.transfer.documents import NoRecord
from everloom.work.transfer.shapes import Shaped, shaped

ROLES = {
    **dict.fromkeys(("user", "human", "customer", "client"), "user"),
    **dict.fromkeys(("assistant", "ai", "bot", "agent", "model"), "assistant"),
}
"""Who the API knows, by what dumps call them."""

_MILLISECONDS = 10**11
"""A time that is greater is no time in seconds."""

_TEXTS = ("text", "content", "message", "value")
_IDS = ("message_id", "id")
_TIMES = ("created_at", "timestamp", "time", "_ts")


def is_text(record: JsonObject) -> bool:
    """Whether a record without a type is a message of a dump."""
    return "object" not in record and "thread_id" in record and "role" in record


def text_message(record: JsonObject) -> Iterable[Shaped]:
    """The message of a dump's line. Errors: ``NoRecord``."""
    given = {name: _first(record, names) for name, names in (("text", _TEXTS), ("id", _IDS), ("at", _TIMES))}
    return [
        message(
            thread_id=record.get("thread_id"),
            id=given["id"],
            role=record.get("role"),
            text=given["text"],
            created_at=given["at"],
            assistant_id=record.get("assistant_id"),
        )
    ]


def _first(record: JsonObject, names: Iterable[str]) -> Any:
    return next((record[name] for name in names if record.get(name) not in (None, "")), None)


def message(
    *,
    thread_id: Any,
    id: Any,
    role: Any,
    text: Any,
    created_at: Any,
    assistant_id: Any = None,
    metadata: JsonObject | None = None,
) -> Shaped:
    """A message by its values. One without an id gets one that follows from the others. Errors: ``NoRecord``."""
    if (known := ROLES.get(str(role).strip().lower())) is None:
        raise NoRecord(f"role {str(role)[:64]!r}: a message is a user's or an assistant's")
    if text is None:
        raise NoRecord("it has no text")
    said = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    thread, at = identifier(thread_id, "thread_id"), seconds(created_at)
    if id in (None, ""):
        digest = blake2b(json.dumps([thread, at, known, said]).encode("utf-8", "replace"), digest_size=12)
        id = f"msg_{digest.hexdigest()}"
    record: JsonObject = {
        "id": identifier(id, "id"),
        "object": "thread.message",
        "created_at": at,
        "thread_id": thread,
        "role": known,
        "content": [{"type": "text", "text": {"value": said, "annotations": []}}],
        "metadata": metadata or {},
    }
    if known == "assistant" and assistant_id not in (None, ""):
        record["assistant_id"] = identifier(assistant_id, "assistant_id")
    return shaped(record)


def identifier(value: Any, what: str) -> str:
    """An id, which may have been a number. Errors: ``NoRecord``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise NoRecord(f"it has no {what}")
    return value


def seconds(value: Any) -> int:
    """A time in Unix seconds, out of seconds, milliseconds or a date of ISO 8601 (UTC, where it names no zone). Errors:
    ``NoRecord``.
    """
    try:
        if isinstance(value, str):
            value = value.strip()
            try:
                value = float(value)
            except ValueError:
                date = datetime.fromisoformat(value)
                value = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return math.floor(value / 1000 if abs(value) >= _MILLISECONDS else value)
    except (ValueError, OverflowError):
        pass
    raise NoRecord(f"created_at {str(value)[:64]!r} is no time")
