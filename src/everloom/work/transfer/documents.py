"""JSON values out of files as scripts save them: lines, single objects, arrays, several objects one behind the other.

A file is read a block at a time, and of what it holds no more is held than one object. Values are looked for by their
brackets alone, so that one which cannot be read costs nothing but itself.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from everloom.kit.errors import NO_JSON
from everloom.objects.base import JsonObject
from everloom.work.files.lines import LineSplitter

LONGEST = 64 * 1024 * 1024
"""Bytes of one object, or of one page of a list, that are held in memory."""

LINES = frozenset({".jsonl", ".ndjson"})
JSON = frozenset({".json", *LINES})

_BLOCK = 1024 * 1024
_DEEPEST = 6
"""How many lists and objects may be around a record."""


class NoRecord(Exception):
    """A piece of a file that is no record; its text says why."""


class FoundRecord(NamedTuple):
    """A JSON object of a file, or why there is none: ``fault``. ``listed``: it came in a page of an API's list."""

    line: int
    value: JsonObject
    fault: str = ""
    listed: bool = False


def found_in(
    path: Path, *, whole: bool = False, told: Callable[[int], None] = lambda size: None
) -> Iterator[FoundRecord]:
    """Every object of a JSON file that may be a record, taken out of lists and pages of lists, or with ``whole`` of
    nothing else. ``told`` hears of the bytes that are read. Errors: ``OSError``.
    """
    for line, data in _values(path, told):
        if isinstance(data, str):
            yield FoundRecord(line, {}, data)
            continue
        try:
            value = msgspec.json.decode(data)
        except NO_JSON as error:
            yield FoundRecord(line, {}, f"no JSON: {error}")
            continue
        yield from _documents(value, line) if whole else unpacked(value, line)


def _documents(value: Any, line: int) -> Iterator[FoundRecord]:
    """Documents as databases export them: by themselves, in lists, or in an answer's ``Documents``."""
    if isinstance(value, dict) and isinstance(value.get("Documents"), list):
        value = value["Documents"]
    for each in value if isinstance(value, list) else [value]:
        yield FoundRecord(line, each) if isinstance(each, dict) else FoundRecord(line, {}, "no JSON object")


def unpacked(value: Any, line: int, *, listed: bool = False, depth: int = 0) -> Iterator[FoundRecord]:
    """The records in a value: itself, what a list has, and what hangs on a record (a thread with its messages)."""
    if depth > _DEEPEST:
        yield FoundRecord(line, {}, "nested too deep")
    elif isinstance(value, list):
        for each in value:
            yield from unpacked(each, line, listed=listed, depth=depth + 1)
    elif not isinstance(value, dict):
        yield FoundRecord(line, {}, "no JSON object")
    elif isinstance(value.get("data"), list) and "id" not in value:
        yield from unpacked(value["data"], line, listed=True, depth=depth + 1)
    elif "object" in value or _is_flat(value):
        yield FoundRecord(line, value, listed=listed)
        if str(value.get("object")) in _HOLDERS:
            for name in value:
                if name in _HELD and isinstance(value[name], list | dict):
                    yield from unpacked(value[name], line, depth=depth + 1)
    else:
        yield from _held(value, line, depth)


_HOLDERS = frozenset({"thread", "thread.run", "vector_store"})
_HELD = frozenset({"messages", "runs", "steps", "run_steps", "files"})
"""Under which names scripts hang lists on the objects that they belong to."""


def _is_flat(value: JsonObject) -> bool:
    """Whether an object without a type has members of its own, and is no mere box around others."""
    return not any(isinstance(each, dict | list) for each in value.values()) or "role" in value


def _held(value: JsonObject, line: int, depth: int) -> Iterator[FoundRecord]:
    inner = [each for each in value.values() if isinstance(each, dict | list)]
    for each in inner:
        yield from unpacked(each, line, depth=depth + 1)


# --- values by their brackets ----------------------------------------------------------------------------------------


def _values(path: Path, told: Callable[[int], None]) -> Iterator[tuple[int, bytes | str]]:
    """The values of a file, each with the line that it begins on; a text is a fault."""
    with path.open("rb") as file:
        head = file.read(_BLOCK)
        file.seek(0)
        if path.suffix.lower() in LINES or _is_lines(head):
            yield from _lines(_blocks(file, told))
        else:
            yield from _scanned(_blocks(file, told))


def _blocks(file: IO[bytes], told: Callable[[int], None]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
        told(len(block))


def _is_lines(head: bytes) -> bool:
    """Whether the first line of a file is an object by itself, and not the only one."""
    first, feed, rest = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    if not feed or not rest.strip() or not first.startswith(b"{"):
        return False
    try:
        msgspec.json.decode(first)
    except NO_JSON:
        return False
    return True


def _lines(blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes | str]]:
    splitter = LineSplitter(LONGEST)
    for block in blocks:
        for line in splitter.feed(block):
            yield line.number, f"longer than {LONGEST} bytes" if line.data is None else line.data
    for line in splitter.finish():
        yield line.number, f"longer than {LONGEST} bytes" if line.data is None else line.data


_BRACKET = re.compile(rb'["{}\[\]]')
_IN_TEXT = re.compile(rb'["\\]')


def _scanned(blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes | str]]:
    """The objects that stand in no other, whatever lists are around them."""
    scanner = _Scanner()
    for block in blocks:
        yield from scanner.feed(block)
        if scanner.held > LONGEST:
            yield scanner.line, f"an object of more than {LONGEST} bytes; what follows it in this file is not read"
            return
    if scanner.depth:
        yield scanner.line, "the file ends within an object"
    elif not scanner.found:
        yield 1, "no JSON object in this file"


class _Scanner:
    """Cuts blocks into objects. ``line`` is that of the object which is being read, ``held`` what is held of it."""

    def __init__(self) -> None:
        self.depth = 0
        self.line = 1
        self.held = 0
        self.found = False
        self._rest: list[bytes] = []
        self._in_text = False
        self._feeds = 1
        self._skip = 0

    def feed(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        begin, place = 0, self._skip
        counted = self._skip = 0
        while (hit := (_IN_TEXT if self._in_text else _BRACKET).search(block, place)) is not None:
            place = hit.end()
            mark = hit.group()
            if mark == b"\\":
                place += 1
            elif mark == b'"':
                self._in_text = not self._in_text
            elif mark == b"{" or (mark == b"[" and self.depth):
                if not self.depth:
                    begin = hit.start()
                    self._feeds += block.count(b"\n", counted, begin)
                    counted, self.line = begin, self._feeds
                self.depth += 1
            elif self.depth and mark in b"}]":
                self.depth -= 1
                if not self.depth:
                    self.found = True
                    self._rest.append(block[begin:place])
                    yield self.line, b"".join(self._rest)
                    self._rest.clear()
                    self.held = 0
        self._skip = max(0, place - len(block))
        self._feeds += block.count(b"\n", counted)
        if self.depth:
            self._rest.append(block[begin:])
            self.held += len(block) - begin
