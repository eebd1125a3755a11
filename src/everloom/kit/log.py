"""Logs: one line a record on standard error, as plain text or as JSON.

Nothing logs bodies or keys on purpose; the settings' secrets and what looks like a key are masked all the same, since
the texts of other people's exceptions are logged too.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from everloom.kit.secrets import HIDDEN, SECRETS

_KEY = re.compile(r"\bsk-[\w-]{4,}|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)|(?<=Bearer )\S+")
"""API keys, the user and password in a URL, and bearer tokens."""

_QUIET = ("asyncio", "dbos", "alembic", "sqlalchemy", "aiohttp", "uvicorn")
"""Libraries whose chatter below a warning is shown at ``debug`` only."""

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


def mask(text: str) -> str:
    """The text with the secrets of this process in it replaced, and everything that looks like one."""
    return _KEY.sub(HIDDEN, SECRETS.hide(text))


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class PlainLines(logging.Formatter):
    """``TIME LEVEL logger: message key=value``, a traceback on the same line with its newlines escaped."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        told = " ".join([fields.pop("message"), *(f"{name}={value}" for name, value in fields.items())])
        return f"{_when(record)} {record.levelname} {record.name}: {_one_line(told)}"


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time, level, logger, message`` and whatever ``extra`` brought."""

    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _when(record), "level": record.levelname.lower(), "logger": record.name}
        return json.dumps(head | _fields(record), ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, str]:
    fields = {"message": record.getMessage()}
    fields |= {name: str(value) for name, value in vars(record).items() if name not in _OWN}
    if record.exc_info:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return {name: mask(value) for name, value in fields.items()}


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")
