"""Logs: one line a record, and no secrets in it."""

import json
import logging
import subprocess
import sys

import pytest

from everloom.kit.log import JsonLines, PlainLines, mask

PROGRAM = """
import logging, sys
from everloom.kit import log
log.setup(*sys.argv[1:])
try:
    raise ValueError("two\\nlines about sk-proj-0123456789abcdef")
except ValueError:
    logging.getLogger("everloom.x").exception("it %s", "broke", extra={"run": "run_1"})
logging.getLogger("everloom.x").debug("fine print")
logging.getLogger("uvicorn.error").info("chatter")
"""


def logged(*arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_plain_lines() -> None:
    (line,) = logged("info", "plain")
    assert "Z ERROR everloom.x: it broke run=run_1 traceback=Traceback" in line
    assert "two\\nlines about ***" in line


def test_what_would_move_a_cursor_is_told_by_its_number() -> None:
    record = logging.makeLogRecord({"msg": "220 \x1b[2J\x07\x9b1m\u202eabc\r\n\tok \N{SNOWMAN}"})
    line = PlainLines().format(record)
    assert line.endswith(": 220 \\x1b[2J\\x07\\x9b1m\\u202eabc\\r\\n\tok \N{SNOWMAN}")


def test_json_lines() -> None:
    (line,) = logged("warning", "json")
    record = json.loads(line)
    assert (record["level"], record["logger"], record["message"], record["run"]) == (
        "error",
        "everloom.x",
        "it broke",
        "run_1",
    )
    assert record["traceback"].endswith("lines about ***")


def test_debug_shows_what_libraries_say() -> None:
    assert [line.split(": ", 1)[1] for line in logged("debug")[1:]] == ["fine print", "chatter"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key sk-proj-AbC0_d-9 is wrong", "key *** is wrong"),
        ("at postgresql://me:pass@host:5432/db now", "at postgresql://***@host:5432/db now"),
        ("authorization: Bearer abc.def", "authorization: Bearer ***"),
        ("the task-list and risk-free", "the task-list and risk-free"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
    ],
)
def test_mask(text: str, shown: str) -> None:
    assert mask(text) == shown


def test_formatters_take_any_record() -> None:
    record = logging.makeLogRecord({"msg": "line\r\nbreak", "levelname": "INFO", "name": "n"})
    assert "\n" not in PlainLines().format(record)
    assert json.loads(JsonLines().format(record))["message"] == "line\r\nbreak"
