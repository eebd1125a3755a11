"""The log of a run that has ended, in few rows: many events a row, compressed.

Most of a log says the same again and again: a run as a whole at each of its states, an answer in its deltas and in its
message. A row of packed events stands at the number of its last one, so that rows are still read by ``seq > ?``.
"""

import zlib
from collections.abc import Iterable, Iterator

import msgspec

from everloom.objects.events import EventName
from everloom.store import sql
from everloom.store.base import Event, Pack
from everloom.store.sql import Dialect, Procedure, Statement

PACKED = "packed"
"""The name of a row that holds events, where others have that of their event."""

ROW_BYTES = 64 * 1024
"""A row ends with the event that brings what it holds to so much, so that nobody unpacks much for a little."""

_LAST_SEQ = 2**63 - 1

_Stored = tuple[int, EventName, bytes, tuple[int, ...]]
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[_Stored])


def _rows(events: Iterable[Event]) -> Iterator[list[_Stored]]:
    row: list[_Stored] = []
    size = 0
    for event in events:
        row.append((event.seq, event.name, event.data, event.pieces))
        size += len(event.data)
        if size >= ROW_BYTES:
            yield row
            row, size = [], 0
    if row:
        yield row


def _unpacked(data: bytes) -> list[Event]:
    return [Event(*stored) for stored in _decoder.decode(zlib.decompress(data))]


def events(dialect: Dialect, project: str, log: str, after: int, limit: int) -> Procedure[list[Event]]:
    """``Store.events``."""
    rows = yield Statement(sql.events(dialect), [project, log, min(after, _LAST_SEQ), limit])
    found: list[Event] = []
    for seq, name, data in rows:
        if name == PACKED:
            found += [event for event in _unpacked(data) if event.seq > after]
        else:
            found.append(Event(seq, name, data))
        if len(found) >= limit:
            break
    return found[:limit]


def last_seq(dialect: Dialect, project: str, log: str) -> Procedure[int]:
    """``Store.last_seq``."""
    rows = yield Statement(sql.last_seq(dialect), [project, log])
    seq: int = rows[0][0]
    return seq


def pack(dialect: Dialect, project: str, pack: Pack) -> Procedure[None]:
    """``Pack``."""
    yield Statement(sql.drop_log(dialect), [project, pack.log], True)
    for row in _rows(pack.events):
        parameters = [project, pack.log, row[-1][0], PACKED, zlib.compress(_encode(row))]
        yield Statement(sql.put_event(dialect), parameters, True)
