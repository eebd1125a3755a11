"""What is to be taken, laid out on this machine's disk: found in any order, written in the order that it had.

Each object has its place in its list from here, by nothing but what was found, so that whoever imports the same again
gives it the same one. A list is ordered by the times of its objects. Those of one second stand as the list had them,
from its end where it had the newest first.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from everloom.kit.ids import rank_at
from everloom.objects.base import Object, encode
from everloom.objects.files import File
from everloom.store.kinds import KINDS, own_rank
from everloom.work.transfer.shapes import NOUNS, Shaped

_NUMBERS = {cls: number for number, cls in enumerate(NOUNS.values())}
_CLASSES = list(NOUNS.values())

_TABLES = """
CREATE TABLE files (number INTEGER PRIMARY KEY, path BLOB, name TEXT, stem TEXT, size INTEGER);
CREATE INDEX by_name ON files (name);
CREATE INDEX by_stem ON files (stem);
CREATE TABLE records (
    seq INTEGER PRIMARY KEY, kind INTEGER, key TEXT, parent TEXT, created INTEGER, file INTEGER, line INTEGER,
    listed INTEGER, older INTEGER, weak INTEGER, body BLOB, UNIQUE (kind, key)
);
CREATE INDEX by_list ON records (kind, parent, created, seq);
CREATE TABLE named (assistant TEXT, place INTEGER, file_id TEXT, PRIMARY KEY (assistant, place)) WITHOUT ROWID;
CREATE TABLE places (ord INTEGER PRIMARY KEY, seq INTEGER, tie INTEGER);
CREATE TABLE faults (number INTEGER PRIMARY KEY, file INTEGER, line INTEGER, kind TEXT, id TEXT, why TEXT);
"""

_ADD = """
INSERT INTO records (kind, key, parent, created, file, line, listed, older, weak, body) VALUES (?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (kind, key) DO UPDATE SET parent = excluded.parent, created = excluded.created, file = excluded.file,
    line = excluded.line, older = excluded.older, weak = excluded.weak, body = excluded.body
WHERE excluded.weak <= records.weak
"""

_EACH = "SELECT seq, key, parent, file, line, body FROM records"

_LISTS = """
CREATE TEMP TABLE lists AS
SELECT ends.kind AS kind, ends.parent AS parent, a.file AS file, a.listed AS listed,
    ends.first = ends.last AS single,
    CASE WHEN a.created > z.created THEN 1 WHEN a.created < z.created THEN 0 END AS back
FROM (SELECT kind, parent, MIN(seq) AS first, MAX(seq) AS last FROM records GROUP BY kind, parent) AS ends
JOIN records AS a ON a.seq = ends.first JOIN records AS z ON z.seq = ends.last
"""

_WAYS = "CREATE TEMP TABLE ways AS SELECT file, AVG(back) > 0.5 AS back FROM lists WHERE back IS NOT NULL GROUP BY file"
"""Which way round most lists of a file are; those whose objects are all of one second are taken for the same."""

_DIRECTIONS = """
UPDATE lists SET back = CASE WHEN single THEN 0
    ELSE COALESCE((SELECT ways.back FROM ways WHERE ways.file = lists.file), listed) END
WHERE back IS NULL
"""

_PLACES = """
INSERT INTO places (ord, seq, tie)
SELECT ROW_NUMBER() OVER (ORDER BY kind, parent, created, turn), seq,
    ROW_NUMBER() OVER (PARTITION BY kind, parent, created ORDER BY turn) - 1
FROM (
    SELECT r.kind AS kind, r.parent AS parent, r.created AS created, r.seq AS seq,
        CASE WHEN l.back THEN -r.seq ELSE r.seq END AS turn
    FROM records AS r JOIN lists AS l ON l.kind = r.kind AND l.parent = r.parent
)
"""

_OWN_SECONDS = 3600
"""How far the time in an id of our own make may be from the object's. An id of another make that looks like one of ours
says some other time, but for one in a million.
"""


class Staged(NamedTuple):
    """An object in its place; ``file`` and ``line`` say where it was found."""

    ord: int
    cls: type[Object]
    key: str
    parent: str
    rank: int
    file: int
    line: int
    thing: Any


class ContentFile(NamedTuple):
    """A file that has the bytes of another object: its number, where it is, and how many bytes it has."""

    number: int
    path: Path
    size: int


class Stage:
    """The layout of one import, in the file ``path``, which is nobody else's."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -16000"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")
        self._decoders: dict[type[Object], msgspec.json.Decoder[Any]] = {
            cls: msgspec.json.Decoder(cls) for cls in _CLASSES
        }

    def close(self) -> None:
        self._database.close()

    # --- files -------------------------------------------------------------------------------------------------------

    def add_file(self, path: Path, size: int) -> int:
        """Note a file, which may be named as a place of records or be the content of one; its number."""
        name = os.fsencode(path.name).decode("utf-8", "replace")
        row = (os.fsencode(path), name, name.partition(".")[0], size)
        return self._database.execute("INSERT INTO files (path, name, stem, size) VALUES (?,?,?,?)", row).lastrowid or 0

    def content_of(self, file: File) -> ContentFile | None:
        """The file beside the records that has a file's bytes: its number, path and size. By its id, else by its name,
        then the only one of this size, or of this name.
        """
        find = "SELECT number, path, size FROM files WHERE "
        for where, value in (("name = ?", file.id), ("stem = ?", file.id), ("name = ?", file.filename)):
            found = self._database.execute(find + where, (value,)).fetchmany(1000)
            rows = [ContentFile(number, Path(os.fsdecode(path)), size) for number, path, size in found]
            fitting = [row for row in rows if row.size == file.bytes]
            if len(fitting) == 1 or (fitting and value == file.id):
                return fitting[0]
            if len(rows) == 1:
                return rows[0]
        return None

    def forget_records_of(self, file: int) -> None:
        """Take back what was found in a file that turned out to be the content of another object."""
        self._database.execute("DELETE FROM records WHERE file = ?", (file,))
        self._database.execute("DELETE FROM faults WHERE file = ?", (file,))

    # --- records -----------------------------------------------------------------------------------------------------

    def add(self, found: Shaped, file: int, line: int, *, listed: bool = False) -> None:
        """Lay out an object. Of two records of one object the later counts, or the one that had ended."""
        thing = found.thing
        row = (_NUMBERS[type(thing)], found.key, found.parent, thing.created_at, file, line, listed, found.older)
        self._database.execute(_ADD, (*row, found.weak, encode(thing)))
        for place, file_id in enumerate(found.file_ids):
            self._database.execute("INSERT OR IGNORE INTO named VALUES (?,?,?)", (thing.id, place, file_id))

    def remove(self, cls: type[Object], key: str) -> None:
        """Take an object out again."""
        self._database.execute("DELETE FROM records WHERE kind = ? AND key = ?", (_NUMBERS[cls], key))

    def replace(self, cls: type[Object], key: str, thing: Object) -> None:
        """Lay out another body of an object."""
        row = (encode(thing), _NUMBERS[cls], key)
        self._database.execute("UPDATE records SET body = ? WHERE kind = ? AND key = ?", row)

    def named_by(self, assistant_id: str) -> list[str]:
        """The files that an assistant's record named, in order."""
        rows = self._database.execute("SELECT file_id FROM named WHERE assistant = ? ORDER BY place", (assistant_id,))
        return [id for (id,) in rows]

    def get(self, cls: type[Object], key: str) -> Any:
        """An object that was laid out, or None."""
        row = self._database.execute(
            "SELECT body FROM records WHERE kind = ? AND key = ?", (_NUMBERS[cls], key)
        ).fetchone()
        return None if row is None else self._decoders[cls].decode(row[0])

    def created_at(self, cls: type[Object], keys: Sequence[str]) -> dict[str, int]:
        """When those of these objects were made that are laid out."""
        asked = f"SELECT key, created FROM records WHERE kind = ? AND key IN ({', '.join('?' * len(keys))})"
        return dict(self._database.execute(asked, (_NUMBERS[cls], *keys)).fetchall())

    def each(self, cls: type[Object], *, older: bool = False) -> Iterator[Staged]:
        """The objects of a kind in no particular order, to be looked at while others are laid out."""
        text = f"{_EACH} WHERE kind = ? AND seq > ?{' AND older' * older} ORDER BY seq LIMIT 200"
        last = 0
        while rows := self._database.execute(text, (_NUMBERS[cls], last)).fetchall():
            yield from (self._looked_at(cls, *row) for row in rows)
            last = rows[-1][0]

    def hung_on(self, parent: str, cls: type[Object], mark: bytes = b"") -> Iterator[Staged]:
        """The objects of a kind that hang on another, and have these bytes in their bodies. Nothing may be laid out
        while they are looked at.
        """
        index = _EACH.replace("records", "records INDEXED BY by_list")
        text = f"{index} WHERE kind = ? AND parent = ? AND instr(body, ?)"
        for row in self._database.execute(text, (_NUMBERS[cls], parent, mark)):
            yield self._looked_at(cls, *row)

    def _looked_at(self, cls: type[Object], seq: int, key: str, of: str, file: int, line: int, body: bytes) -> Staged:
        return Staged(seq, cls, key, of, 0, file, line, self._decoders[cls].decode(body))

    def orphans(self, cls: type[Object], parent: type[Object], after: str) -> list[tuple[str, int, int, int]]:
        """Ids of parents that objects hang on and that are not laid out, in order, with the earliest time of those
        objects, and where the first was found.
        """
        text = """
            SELECT parent, MIN(created), MIN(file), MIN(line) FROM records AS r
            WHERE kind = ? AND parent > ? AND NOT EXISTS
                (SELECT 1 FROM records AS p WHERE p.kind = ? AND p.key = r.parent)
            GROUP BY parent ORDER BY parent LIMIT 200
        """
        return self._database.execute(text, (_NUMBERS[cls], after, _NUMBERS[parent])).fetchall()

    # --- places ------------------------------------------------------------------------------------------------------

    def settle(self) -> int:
        """Give every object its place; how many there are."""
        for text in (
            *("DROP TABLE IF EXISTS lists", _LISTS, "CREATE UNIQUE INDEX temp.by_parent ON lists (kind, parent)"),
            *("DROP TABLE IF EXISTS ways", _WAYS, "CREATE UNIQUE INDEX temp.by_file ON ways (file)"),
            *(_DIRECTIONS, "DELETE FROM places", _PLACES),
        ):
            self._database.execute(text)
        return self.count()

    def count(self, cls: type[Object] | None = None) -> int:
        """How many objects are laid out, of a kind or of all."""
        where, of = ("", ()) if cls is None else (" WHERE kind = ?", (_NUMBERS[cls],))
        return int(self._database.execute(f"SELECT COUNT(*) FROM records{where}", of).fetchone()[0])

    def settled(self, cls: type[Object], most: int, size: int) -> Iterator[list[Staged]]:
        """The objects of a kind in their order, so many at a time, or some of not much more bytes than ``size``."""
        text = (
            "SELECT p.ord, r.key, r.parent, r.created, p.tie, r.file, r.line, r.body FROM places AS p"
            " JOIN records AS r ON r.seq = p.seq WHERE p.ord > ? AND p.ord <= ? ORDER BY p.ord LIMIT ?"
        )
        last, group, held = self._before(cls), list[Staged](), 0
        end = last + self.count(cls)
        while rows := self._database.execute(text, (last, end, most)).fetchall():
            for ord, key, parent, created, tie, file, line, body in rows:
                group.append(self._placed(cls, ord, key, parent, created, tie, file, line, body))
                held += len(body)
                if held >= size or len(group) >= most:
                    yield group
                    group, held = [], 0
            last = rows[-1][0]
        if group:
            yield group

    def _before(self, cls: type[Object]) -> int:
        """The place before the first of a kind."""
        row = self._database.execute("SELECT COUNT(*) FROM records WHERE kind < ?", (_NUMBERS[cls],)).fetchone()
        return int(row[0])

    def _placed(self, cls: type[Object], ord: int, key: str, parent: str, created: int, tie: int, *rest: Any) -> Staged:
        file, line, body = rest
        rank = own_rank(KINDS[cls], key)
        if rank is None or abs(rank - rank_at(created)) > rank_at(_OWN_SECONDS):
            rank = rank_at(created) + tie
        return Staged(ord, cls, key, parent, rank, file, line, self._decoders[cls].decode(body))

    # --- faults ------------------------------------------------------------------------------------------------------

    def note(self, file: int, line: int, kind: str, id: str, why: str) -> None:
        """Note what was not taken, or not as it was, and why."""
        row = (file, line, kind, id[:128], why[:500])
        self._database.execute("INSERT INTO faults (file, line, kind, id, why) VALUES (?,?,?,?,?)", row)

    def faults(self, limit: int = -1) -> Iterator[dict[str, Any]]:
        """What was noted, in order."""
        text = (
            "SELECT COALESCE(path, x''), line, kind, id, why FROM faults"
            " LEFT JOIN files ON files.number = file ORDER BY faults.number LIMIT ?"
        )
        for path, line, kind, id, why in self._database.execute(text, (limit,)):
            yield {"file": path.decode("utf-8", "replace"), "line": line, "object": kind, "id": id, "why": why}

    def count_faults(self) -> dict[str, int]:
        """How many were noted, by what the API calls them."""
        return dict(self._database.execute("SELECT kind, COUNT(*) FROM faults GROUP BY kind ORDER BY kind").fetchall())

    def clear(self) -> None:
        """Forget the objects and the files, and keep what was noted."""
        for table in ("records", "places", "named", "files"):
            self._database.execute(f"DELETE FROM {table}")
