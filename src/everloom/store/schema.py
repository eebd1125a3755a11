"""The tables, as the kinds ask for them, in SQLAlchemy Core. Imported to make or compare a schema, never to serve.

A kind's table is ``project, id, rank, body`` and one column per name of its ``index``. What is listed
is listed by ``(rank, id)``, so each such column has an index that ends in them. A boolean column is
for finding the few rows where it is true (a thread's active run): it gets partial indexes of those
rows, one beside each other column and one over all projects, and none of its own. A kind that has a
``clustered_by`` is ordered by it, in place of an index, and found by its id through one.

``postings`` has what objects are found by besides: a row for each term of an object, in the order of lists.
"""

from collections.abc import Iterator
from typing import Any, get_type_hints

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

from everloom.objects.audit import AUDIT_COLUMNS
from everloom.objects.ledger import DIMENSIONS, MEASURES, LedgerRow
from everloom.store.kinds import KINDS, Kind

NAME: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
"""Compared byte by byte on both databases: lists end in the id, and no locale may order that otherwise."""


def metadata() -> MetaData:
    """Every table of the store."""
    tables = MetaData()
    for kind in KINDS.values():
        _kind_table(kind, tables)
    Table(
        "events",
        tables,
        Column("project", NAME, primary_key=True),
        Column("log", NAME, primary_key=True),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("name", Text, nullable=False),
        Column("data", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    Table(
        "outbox",
        tables,
        Column("id", NAME, primary_key=True),
        *(Column(name, NAME, nullable=False) for name in ("project", "kind", "key", "lane")),
        Column("due", BigInteger, nullable=False, server_default="0"),
        Index("ix_outbox_lane", "lane", "id"),
        sqlite_with_rowid=False,
    )
    Table(
        "postings",
        tables,
        Column("term", LargeBinary, primary_key=True),
        Column("rank", BigInteger, primary_key=True, autoincrement=False),
        Column("id", NAME, primary_key=True),
        sqlite_with_rowid=False,
    )
    _ledger_tables(tables)
    _audit_tables(tables)
    return tables


def _ledger_tables(tables: MetaData) -> None:
    """The rows in the order of their time, those that are in no sum yet in an index of theirs; and the sums."""
    sql_types: dict[type[Any], TypeEngine[Any]] = {bool: SmallInteger(), int: BigInteger(), str: NAME}
    types = {name: column_type(LedgerRow, name) for name in (*DIMENSIONS, *MEASURES)}
    fresh = text("rolled = 0")
    Table(
        "ledger",
        tables,
        Column("at", BigInteger, primary_key=True, autoincrement=False),
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        *(Column(name, sql_types[type], nullable=False) for name, type in types.items()),
        Column("rolled", SmallInteger, nullable=False),
        Index("ix_ledger_fresh", "at", sqlite_where=fresh, postgresql_where=fresh),
        sqlite_with_rowid=False,
    )
    Table(
        "ledger_sums",
        tables,
        Column("width", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        *(Column(name, sql_types[type], nullable=False) for name, type in types.items()),
        PrimaryKeyConstraint("width", "at", *DIMENSIONS),
        sqlite_with_rowid=False,
    )


def _audit_tables(tables: MetaData) -> None:
    """The chain's rows, each column that is asked for in an index; beside it its end, what was signed of it, and what
    sinks have.
    """
    seq = BigInteger().with_variant(Integer, "sqlite")  # SQLite's own number of the row, so that rows lie in its order
    Table(
        "audit_events",
        tables,
        Column("seq", seq, primary_key=True, autoincrement=False),
        Column("id", NAME, nullable=False),
        Column("type", NAME, nullable=False),
        Column("effective_at", BigInteger, nullable=False),
        *(Column(name, NAME, nullable=False) for name in AUDIT_COLUMNS[4:9]),
        Column("body", LargeBinary, nullable=False),
        Column("hash", LargeBinary, nullable=False),
        Index("ix_audit_events_id", "id", unique=True),
        *(Index(f"ix_audit_events_{name}", name, "seq") for name in AUDIT_COLUMNS[2:9]),
    )
    _audit_side_tables(tables)


def _audit_side_tables(tables: MetaData) -> None:
    Table(
        "audit_heads",
        tables,
        Column("id", SmallInteger, primary_key=True, autoincrement=False),
        Column("seq", BigInteger, nullable=False),
        Column("hash", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    Table(
        "audit_checkpoints",
        tables,
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("hash", NAME, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("key", NAME, primary_key=True),
        Column("signature", NAME, nullable=False),
        sqlite_with_rowid=False,
    )
    Table(
        "audit_sinks",
        tables,
        Column("name", NAME, primary_key=True),
        Column("seq", BigInteger, nullable=False),
        Column("holder", NAME, nullable=False),
        Column("until", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def column_type(cls: type[Any], name: str) -> type[bool] | type[int] | type[str]:
    """What an index column holds, read from the annotation of the field or property."""
    attribute = getattr(cls, name, None)
    hints = get_type_hints(attribute.fget) if isinstance(attribute, property) else get_type_hints(cls)
    hint = hints["return" if isinstance(attribute, property) else name]
    if hint is bool:
        return bool
    return int if hint in (int, int | None) else str


def _kind_table(kind: Kind, tables: MetaData) -> None:
    types = {name: column_type(kind.cls, name) for name in kind.index}
    sql_types: dict[type[Any], TypeEngine[Any]] = {bool: SmallInteger(), int: BigInteger(), str: NAME}
    keys = ("project", kind.clustered_by, "rank", "id") if kind.clustered_by else ("project", "id")
    Table(
        kind.table,
        tables,
        Column("project", NAME, nullable=False),
        Column("id", NAME, nullable=False),
        Column("rank", BigInteger, nullable=False),
        Column("body", LargeBinary, nullable=False),
        *(Column(name, sql_types[type], nullable=name != kind.clustered_by) for name, type in types.items()),
        PrimaryKeyConstraint(*keys),
        *_indexes(kind, types),
        sqlite_with_rowid=not kind.clustered_by,
    )


def _indexes(kind: Kind, types: dict[str, type[Any]]) -> Iterator[Index]:
    table = kind.table
    names = [name for name, type in types.items() if type is not bool]
    yield Index(f"ix_{table}_rank", "project", "rank", "id")
    if kind.clustered_by:
        yield Index(f"ix_{table}_id", "project", "id", unique=True)
    if kind.everywhere:
        yield Index(f"ix_{table}_all", "rank", "id")
    within = dict(kind.within)
    for name in names:
        if name in within:
            yield Index(f"ix_{table}_{within[name]}_{name}", "project", within[name], name, "rank", "id")
        elif name != kind.clustered_by:
            yield Index(f"ix_{table}_{name}", "project", name, "rank", "id")
    for true in (name for name, type in types.items() if type is bool):
        where = text(f"{true} = 1")
        yield Index(f"ix_{table}_{true}", "rank", "id", sqlite_where=where, postgresql_where=where)
        for name in (name for name in names if name not in within):
            columns = ("project", name, "rank", "id")
            yield Index(f"ix_{table}_{name}_{true}", *columns, sqlite_where=where, postgresql_where=where)
