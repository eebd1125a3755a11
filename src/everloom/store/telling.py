"""Logs in a write: what it tells is gathered, and appended in one go behind the operations."""

from collections.abc import Sequence

from everloom.store import sql
from everloom.store.base import DropLog, Retract
from everloom.store.sql import Dialect, Procedure, Statement

_AT_ONCE = 32
"""Events in one statement of SQLite, which has a text for each count and keeps them."""


class Telling:
    """The log that one write tells to."""

    __slots__ = ("_data", "_dialect", "_names", "_project", "log")

    def __init__(self, dialect: Dialect, project: str, log: str | None) -> None:
        self._dialect = dialect
        self._project = project
        self.log = log
        self._names: list[str] = []
        self._data: list[bytes] = []

    def say(self, names: Sequence[str], data: bytes) -> None:
        """Have ``data`` appended, once under each name."""
        for name in names:
            self._names.append(name)
            self._data.append(data)

    def retract(self, retract: Retract) -> Procedure[None]:
        """A ``Retract``: of what was told by earlier writes, and by this one before it."""
        yield from self.append()
        yield Statement(sql.retract(self._dialect), [self._project, self.log, retract.seq], True)

    def drop(self, drop: DropLog) -> Procedure[None]:
        """A ``DropLog``."""
        yield from self.append()
        yield Statement(sql.drop_log(self._dialect), [self._project, drop.log], True)

    def append(self) -> Procedure[None]:
        """Append what was gathered."""
        if not self._names:
            return
        names, data = self._names, self._data
        self._names, self._data = [], []
        place = [self._project, self.log]
        if self._dialect == "postgresql":
            yield Statement(sql.TELL, [*place, names, data], True)
        elif len(names) == 1:
            yield Statement(sql.TELL_ONE, [*place, *place, names[0], data[0]], True)
        else:
            # The log's end is looked up once, not for each: every statement of Python's lets others run in between.
            last = (yield Statement(sql.last_seq("sqlite"), place))[0][0]
            for start in range(0, len(names), _AT_ONCE):
                told = list(zip(names[start : start + _AT_ONCE], data[start : start + _AT_ONCE], strict=True))
                parts = [part for each in told for part in each]
                yield Statement(sql.tell_behind(len(told)), [*place, last + start, *parts], True)
