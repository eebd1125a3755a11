"""Files and folders as they were given, read into a stage: what each record is, and why one is none."""

import asyncio
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from everloom.objects.base import JsonObject
from everloom.work.transfer.documents import JSON, LONGEST, FoundRecord, NoRecord, found_in
from everloom.work.transfer.shapes import Shaped, shaped
from everloom.work.transfer.stage import Stage
from everloom.work.transfer.texts import is_text, text_message

_MOST_NAMES = 100
"""Names of what was left out that are remembered."""

_BREATH = 500
"""Records that are read without a pause."""

Reader = Callable[[JsonObject], Iterable[Shaped]]
"""What a record says; ``NoRecord`` where it says nothing that can be taken."""


def api_objects(record: JsonObject) -> Iterable[Shaped]:
    """A record of the API's own shapes, or a message of a dump that has no more than its text."""
    if is_text(record):
        return text_message(record)
    if record.get("object") == "thread.message.file":
        return []  # The message names it, too.
    return [shaped(record)]


class Reading:
    """Reads into one stage, by the API's own shapes or as ``mapped`` says. ``told`` hears how many bytes have been read
    of how many.
    """

    def __init__(self, stage: Stage, mapped: Reader | None = None) -> None:
        self._stage = stage
        self._reader = mapped or api_objects
        self._whole = mapped is not None
        self.told: Callable[[int, int], None] = lambda done, total: None
        self.left_out: Counter[str] = Counter()
        self.unfinished = 0
        self._progress = (0, 0)

    async def read(self, paths: Iterable[Path]) -> None:
        """Read files, and folders with all that is in them. Errors: ``OSError`` for a path that is not there."""
        files = [(path, given) for given in paths for path in _files_in(given)]
        sizes = [path.stat().st_size for path, _ in files]
        done = 0
        for (path, given), size in zip(files, sizes, strict=True):
            number = self._stage.add_file(path, size)
            self._progress = (done, sum(sizes))
            if path.suffix.lower() in READ or path == given:
                await self._read_file(path, number)
            done += size
            self.told(done, sum(sizes))

    async def _read_file(self, path: Path, number: int) -> None:
        try:
            is_table = path.suffix.lower() == ".csv"
            records = rows_of(path) if is_table else found_in(path, whole=self._whole, told=self._tell)
            for count, found in enumerate(records):
                self.take(found, number)
                if count % _BREATH == 0:
                    await asyncio.sleep(0)  # Or nobody could interrupt it.
        except OSError as error:
            self._stage.note(number, 0, "", "", f"cannot be read: {error.strerror or error}")

    def _tell(self, size: int) -> None:
        done, total = self._progress
        self._progress = (done + size, total)
        self.told(*self._progress)

    def take(self, found: FoundRecord, file: int) -> None:
        """Lay out one record."""
        record = found.value
        try:
            if found.fault:
                raise NoRecord(found.fault)
            for each in self._reader(record):
                self._stage.add(each, file, found.line, listed=found.listed)
                self.left_out.update(each.left_out if len(self.left_out) < _MOST_NAMES else ())
                self.unfinished += each.weak
        except NoRecord as error:
            self._stage.note(file, found.line, _text(record.get("object")), _text(record.get("id")), str(error))


def _text(value: Any) -> str:
    return value[:64] if isinstance(value, str) else ""


READ = JSON | {".csv"}
"""Files of these are read where a folder was given; one that was named is read whatever it is called."""


def _files_in(path: Path) -> Iterator[Path]:
    """All regular files, in the order of their names as people count: page 2 stands before page 10."""
    if not path.is_dir():
        path.stat()
        yield path
        return
    for child in sorted(path.iterdir(), key=lambda child: _natural(child.name)):
        if child.name.startswith(".") or child.is_symlink():
            continue
        if child.is_dir() or child.is_file():
            yield from _files_in(child)


_DIGITS = re.compile(r"(\d+)")


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _DIGITS.split(name) if part]


def rows_of(path: Path) -> Iterator[FoundRecord]:
    """The lines of a CSV file as objects, by the names in its first line. Errors: ``OSError``."""
    csv.field_size_limit(LONGEST)
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                yield FoundRecord(
                    reader.line_num, {name: text for name, text in row.items() if name and text is not None}
                )
        except csv.Error as error:
            yield FoundRecord(reader.line_num, {}, f"no CSV: {error}; what follows it is not read")
