"""How a SQLite file is brought up to date, and what its planner is told of the tables.

Without statistics SQLite takes a project for ten rows, and reads all that it has to find three by their ids in order.
It is told here what is true of a large database, at each migration, and nobody else analyzes: so a query is answered in
the same way however much is stored (``tests/store/test_sql.py``).
"""

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

from everloom.store import migrations
from everloom.store.kinds import KINDS
from everloom.store.postings import POSTED, post_all

_ROWS = 1_000_000
"""Of each table, all of one project."""

_ALIKE = {"id": 1, "rank": 1, "email": 1, "secret_hash": 1, "file_id": 5, "run_id": 10}
_ALIKE |= dict.fromkeys(("status", "purpose", "role", "model"), 1000)
_ALIKE_OTHERS = 100
"""How many rows of a project have the same value in a column: what counts is which of two columns has fewer."""


def migrate(connection: sqlite3.Connection, run: Callable[[sqlite3.Connection, Any], Any]) -> None:
    """Bring the file up to date; ``run`` runs a procedure. Errors: ``migrations.TooNew``."""
    if revision_of(connection) == migrations.NEWEST:
        return
    connection.execute("BEGIN EXCLUSIVE")  # one process migrates; the others find it done
    try:
        revision = revision_of(connection)
        if revision != migrations.NEWEST:
            for statement in migrations.statements("sqlite", revision):
                connection.execute(statement)
            if migrations.is_to_be_posted(revision):
                run(connection, post_all("sqlite", POSTED))
            _describe(connection)
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    connection.execute("ANALYZE sqlite_master")  # has this connection read what the others find


def revision_of(connection: sqlite3.Connection) -> str | None:
    """The file's schema; None for an empty one."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    row = connection.execute(migrations.READ).fetchone() if known else None
    return str(row[0]) if row else None


def roll_back(connection: sqlite3.Connection) -> None:
    """End a failed transaction, which SQLite may have done already."""
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("ROLLBACK")


def _describe(connection: sqlite3.Connection) -> None:
    """Write the statistics that ``ANALYZE`` would find in a large database."""
    connection.execute("ANALYZE alembic_version")  # makes the table of statistics
    connection.execute("DELETE FROM sqlite_stat1")
    described = {"postings", *(kind.table for kind in KINDS.values())}
    for table, made in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
        if table not in described:
            continue
        ordered_by_key = made.rstrip().endswith("WITHOUT ROWID")  # then the key goes by the table's name
        for _, index, _, origin, _ in connection.execute(f"PRAGMA index_list({table})").fetchall():
            columns = [name for _, _, name in connection.execute(f"PRAGMA index_info({index})")]
            row = (table, table if origin == "pk" and ordered_by_key else index, _statistics(columns))
            connection.execute("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", row)


def _statistics(columns: list[str]) -> str:
    """How many rows an index has, and how many of them are alike in its first column, its first two, and so on."""
    alike = [_ROWS]
    for column in columns:
        alike.append(min(alike[-1], _ROWS if column == "project" else _ALIKE.get(column, _ALIKE_OTHERS)))
    return " ".join(map(str, alike))
