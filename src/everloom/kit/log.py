"""Logs: one line a record on standard error, as plain text or as JSON.

Nothing logs bodies or keys on purpose; the settings' secrets and what looks like a key are masked all the same, since
the texts of other people's exceptions are logged too.
"""

import json
import logging
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

from everloom.kit.secrets import HIDDEN, SECRETS

_KEY = re.compile(r"\bsk-[\w-]{4,}|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)|(?<=Bearer )\S+")
"""API keys, the user and password in a URL, and bearer tokens."""

_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Whatever is no letter, but for tabs, or turns lines around."""

_QUIET = ("asyncio", "dbos", "alembic", "sqlalchemy", "aiohttp", "uvicorn")
"""Libraries whose chatter below a warning is shown at ``debug`` only."""

_OUTAGES = "everloom.outage"
"""The logger of everything that is said because something the server stands on is away."""

_OUTAGES_OF_LIBRARIES = ("asyncpg.pool",)
"""Loggers that say the same, with a traceback each time."""

_OUTAGE_SECONDS = 1.0
"""Between two such lines: in an outage everything that is in hand would speak at once."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def setup(level: str = "info", format: str = "plain") -> None:
    """Send every logger's records to standard error. ``format`` is ``plain`` or ``json``; may be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if format == "json" else PlainLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET if level == "debug" else max(logging.WARNING, root.level))
    seldom = _Seldom(_OUTAGE_SECONDS)
    for name in (_OUTAGES, *_OUTAGES_OF_LIBRARIES):
        logging.getLogger(name).filters[:] = [seldom]


def outage(what: str, problem: object) -> None:
    """Say that ``what`` has to wait since something is away; of many such lines one a second is shown."""
    logging.getLogger(_OUTAGES).warning("%s has to wait: %s", what, problem)


class _Seldom(logging.Filter):
    """Lets a record through every so many seconds, without its traceback, and says how many it has kept back."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._last = float("-inf")
        self._kept_back = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if time.monotonic() - self._last < self._seconds:
            self._kept_back += 1
            return False
        if self._kept_back:
            record.msg = f"{record.msg} ({self._kept_back} more such lines were left out)"
        self._last = time.monotonic()
        self._kept_back = 0
        record.exc_info = record.exc_text = None
        return True


def mask(text: str) -> str:
    """The text with the secrets of this process in it replaced, and everything that looks like one."""
    return _KEY.sub(HIDDEN, SECRETS.hide(text))


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class PlainLines(logging.Formatter):
    """``TIME LEVEL logger: message key=value``, a traceback on the same line with its newlines escaped."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        told = " ".join([fields.pop("message"), *[f"{name}={value}" for name, value in fields.items()]])
        return f"{_when(record)} {record.levelname} {record.name}: {_one_line(mask(told))}"


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time, level, logger, message`` and whatever ``extra`` brought."""

    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _when(record), "level": record.levelname.lower(), "logger": record.name}
        told = {name: mask(value) if isinstance(value, str) else value for name, value in _fields(record).items()}
        return json.dumps(head | told, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The message and what ``extra`` brought: numbers as they are, all else as text."""
    fields: dict[str, Any] = {"message": record.getMessage()}
    for name, value in vars(record).items():
        if name not in _OWN:
            fields[name] = value if isinstance(value, int | float) else str(value)
    if record.exc_info:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _one_line(text: str) -> str:
    """What others have said may hold what moves a terminal's cursor, too."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
