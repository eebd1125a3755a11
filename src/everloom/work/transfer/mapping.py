"""Documents of a database of one's own, read as threads and messages by a small file that says where what stands.

A table ``[[documents]]`` of it says what it is (``is``: ``"thread"`` or ``"message"``), which documents it is about
(``when``: members and their values) and where its values are: by paths of names with dots, in the document or, with
``each``, in each object of a list in it; there a path that begins with ``..`` is the document's. ``{ value = "…" }`` is
a value by itself. A document may be what several tables say.
"""

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from everloom.objects.base import JsonObject
from everloom.work.transfer.documents import NoRecord
from everloom.work.transfer.shapes import Shaped, shaped
from everloom.work.transfer.texts import identifier, message, seconds


class WrongMapping(Exception):
    """A mapping file that says nothing; its text says why."""


class Given(Struct, forbid_unknown_fields=True):
    """A value that stands in no document."""

    value: str


Place = str | Given


class DocumentTable(Struct, kw_only=True, forbid_unknown_fields=True):
    """What one kind of documents says."""

    noun: Literal["thread", "message"] = field(name="is")
    when: dict[str, str | int | bool] = {}
    each: str = ""
    id: Place | None = None
    created_at: Place
    thread_id: Place | None = None
    role: Place | None = None
    text: Place | None = None
    assistant_id: Place | None = None
    metadata: dict[str, Place] = {}
    roles: dict[str, Literal["user", "assistant"]] = {}

    def check(self) -> None:
        """Ask that it says what its noun needs. Errors: ``WrongMapping``."""
        needed = {"thread": ("id",), "message": ("thread_id", "role", "text")}[self.noun]
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise WrongMapping(f"a table of {self.noun}s has to say where these are: {', '.join(missing)}")


class DocumentTables(Struct, kw_only=True, forbid_unknown_fields=True):
    documents: list[DocumentTable]


class Mapping:
    """A mapping file. Errors: ``WrongMapping``."""

    def __init__(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8")
            tables = msgspec.convert(tomllib.loads(text), DocumentTables)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise WrongMapping(f"{path}: {error}") from error
        self._tables: Sequence[DocumentTable] = tables.documents
        for table in self._tables:
            table.check()

    def read(self, document: JsonObject) -> Iterable[Shaped]:
        """The threads and messages that a document is, or has. Errors: ``NoRecord``."""
        found: list[Shaped] = []
        fitting = [table for table in self._tables if _fits(table, document)]
        if not fitting:
            raise NoRecord("no table of the mapping fits this document")
        for table in fitting:
            for part in _parts(table, document):
                found.append(_read(table, document, part))
        return found


def _fits(table: DocumentTable, document: JsonObject) -> bool:
    return all(_at(document, path) == value for path, value in table.when.items())


def _parts(table: DocumentTable, document: JsonObject) -> list[JsonObject]:
    if not table.each:
        return [document]
    parts = _at(document, table.each)
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _read(table: DocumentTable, document: JsonObject, part: JsonObject) -> Shaped:
    def value(place: Place | None) -> Any:
        if place is None or isinstance(place, Given):
            return place and place.value
        return _at(document, place[2:]) if place.startswith("..") else _at(part, place)

    metadata = {name: str(said) for name, place in table.metadata.items() if (said := value(place)) is not None}
    if table.noun == "thread":
        id = identifier(value(table.id), "id")
        own = {"id": id, "object": "thread", "created_at": seconds(value(table.created_at)), "metadata": metadata}
        return shaped(own)
    role = value(table.role)
    return message(
        thread_id=value(table.thread_id),
        id=value(table.id),
        role=table.roles.get(str(role), role),
        text=value(table.text),
        created_at=value(table.created_at),
        assistant_id=value(table.assistant_id),
        metadata=metadata,
    )


def _at(document: Any, path: str) -> Any:
    """What stands at a path, or None. A name of digits is a place in a list."""
    for name in path.split("."):
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document
