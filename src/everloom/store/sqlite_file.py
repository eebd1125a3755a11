"""SQLite's file: how it is opened, and put into WAL mode."""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BUSY_SECONDS = 30.0
"""How long a process waits for another one's transaction on the same file."""


def mode(path: Path) -> str:
    """To read only; where nothing can be made beside the file, which readers otherwise do, nobody else changes it."""
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return "mode=ro&immutable=1" if alone else "mode=ro"


def use_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for others when it changes the journal's mode, so this does."""
    _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))


def _patiently(do: Callable[[], Any]) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            do()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
