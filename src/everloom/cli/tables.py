"""How commands tell what they found: as tables, or in the API's own JSON."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from everloom.objects.base import JsonObject, encode

LONGEST_NAME = 64
"""Characters of a name in a table, so that one makes no table wide; ``--json`` has it whole."""

_NAMES = {"name", "project", "opens", "owner"}
"""Columns of what people have called something; ids and addresses are always whole."""


def show(things: list[JsonObject], columns: Sequence[str], *, as_json: bool) -> None:
    """Things as a table of these members."""
    if as_json:
        say(things)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.removesuffix("_at").replace("_", " ").upper())
    for thing in things:
        table.add_row(*(Text(_cell(column, thing.get(column))) for column in columns))
    # Into a file or a pipe no line is broken: who reads it there looks for whole ids.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column.endswith("_at"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
    text = printable(str(value))
    return f"{text[: LONGEST_NAME - 1]}…" if column in _NAMES and len(text) > LONGEST_NAME else text


def printable(text: str) -> str:
    """A text that others have written, fit for a terminal: it may hold anything."""
    return "".join(character if character.isprintable() else "?" for character in text)


def say(things: Any) -> None:
    """Things in JSON."""
    print(msgspec.json.format(encode(things)).decode())
