"""The schema's history ends where the kinds are, and is not looked at when nothing is to be done."""

import asyncio
import contextlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.store import migrations
from everloom.store.base import Database
from everloom.store.migrations import NEWEST, TooNew, history, keep, kept, statements
from everloom.store.schema import column_type, metadata
from everloom.store.sqlite import SqliteDatabase
from tests.store.databases import address, database_at, every_adapter, opened


async def _nothing(database: Database) -> None:
    assert await database.across(Thread) == []


def _shape(url: str) -> dict[str, Any]:
    """Tables with their columns, keys and indexes, as the database itself tells them."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        shape = {
            table: (
                {(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)},
                inspector.get_pk_constraint(table)["constrained_columns"],
                {
                    (index["name"], tuple(index["column_names"]), str(index["dialect_options"].get("sqlite_where")))
                    for index in inspector.get_indexes(table)
                },
            )
            for table in inspector.get_table_names()
            if table != "alembic_version"
        }
    engine.dispose()
    return shape


def test_the_migrations_end_at_the_tables_of_the_kinds(tmp_path: Path) -> None:
    asyncio.run(opened(str(tmp_path / "migrated.db"), _nothing))
    made = sa.create_engine(f"sqlite:///{tmp_path / 'made.db'}")
    metadata().create_all(made)
    made.dispose()
    migrated = _shape(f"sqlite:///{tmp_path / 'migrated.db'}")
    assert migrated == _shape(f"sqlite:///{tmp_path / 'made.db'}"), "kinds.py and migrations/versions differ"
    assert "events" in migrated


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_migrations_say_what_the_schema_says(dialect: str) -> None:
    url = {"sqlite": "sqlite://", "postgresql": "postgresql+psycopg://"}[dialect]
    said: list[str] = []
    engine = sa.create_mock_engine(url, lambda ddl, *_: said.append(str(ddl.compile(dialect=engine.dialect))))
    metadata().create_all(engine, checkfirst=False)
    migrated = _with_later_columns(_left([_squeezed(text) for text in statements(dialect, None) if _is_schema(text)]))
    assert migrated == {_squeezed(text) for text in said}


def _left(texts: list[str]) -> list[str]:
    """The statements whose tables and indexes are not dropped later on."""
    dropped = {text.removeprefix("DROP TABLE ") for text in texts if text.startswith("DROP TABLE ")}
    indexes = {text.removeprefix("DROP INDEX ") for text in texts if text.startswith("DROP INDEX ")}
    of_dropped = re.compile(
        rf"(?:DROP TABLE|CREATE TABLE|CREATE INDEX \w+ ON) (?:{'|'.join(dropped)})\b"
        rf"|(?:DROP|CREATE) INDEX (?:{'|'.join(indexes)})\b"
    )
    return [text for text in texts if not of_dropped.match(text)]


def _with_later_columns(texts: list[str]) -> set[str]:
    """The tables with the columns that they have been given since."""
    made: dict[str, str] = {}
    for text in texts:
        if (added := re.fullmatch(r"ALTER TABLE (\w+) ADD COLUMN (.*)", text)) is None:
            made[text.partition(" (")[0]] = text
        else:
            table = f"CREATE TABLE {added[1]}"
            made[table] = made[table].replace(", PRIMARY KEY", f", {added[2]}, PRIMARY KEY", 1)
    return set(made.values())


def _is_schema(text: str) -> bool:
    """Not a revision's number, and not a row that a migration makes of others."""
    return "alembic_version" not in text and not text.startswith(("INSERT", "UPDATE"))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip(" ;")


def test_the_newest_revision_is_the_one_the_program_works_with() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST]


@every_adapter
def test_a_database_of_a_later_program_is_refused(adapter: str, tmp_path: Path) -> None:
    where = address(adapter, tmp_path)
    asyncio.run(opened(where, _nothing))
    url = where.replace("postgresql://", "postgresql+psycopg://") if "://" in where else f"sqlite:///{where}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(TooNew, match="9999"):
        asyncio.run(database_at(where).open())


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_what_an_empty_database_gets_is_what_the_history_makes(dialect: str) -> None:
    told = "a migration was added: python -m everloom.store.migrations"
    assert kept(dialect).read_text("utf-8") == keep(dialect), told
    assert statements(dialect, None) == history(dialect, None)


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_a_start_imports_neither_alembic_nor_sqlalchemy(tmp_path: Path, first: bool) -> None:
    where = str(tmp_path / "everloom.db")
    if not first:
        asyncio.run(opened(where, _nothing))
    program = (
        "import asyncio, pathlib, sys; from everloom.store.sqlite import SqliteDatabase\n"
        "async def main():\n"
        " database = SqliteDatabase(pathlib.Path(sys.argv[1])); await database.open(); await database.close()\n"
        "asyncio.run(main()); print(sorted({'alembic', 'sqlalchemy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program, where], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_columns_take_their_types_from_the_nouns() -> None:
    assert column_type(Run, "active") is bool
    assert column_type(Run, "expires_at") is int
    assert column_type(Run, "thread_id") is str


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "everloom.db"
    path.write_bytes(b"somebody's letter, not a database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        asyncio.run(SqliteDatabase(path).open())
    assert path.read_bytes().startswith(b"somebody's letter")


def test_the_file_is_left_whole_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "everloom.db"
    asyncio.run(opened(str(path), _nothing))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not path.with_name("everloom.db-wal").exists()
