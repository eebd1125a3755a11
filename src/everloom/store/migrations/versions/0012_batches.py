"""Batches, what is to be done of them, and what has come of it."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _table("batches", "input_file_id", true="open")
    _table("batch_works")
    _table("batch_segments", "batch_id")
    _table("batch_answers", "part")
    _table("enqueued_tokens")


def _table(name: str, *columns: str, true: str = "") -> None:
    flags = [sa.Column(true, sa.SmallInteger, nullable=True)] if true else []
    op.create_table(
        name,
        sa.Column("project", _NAME, nullable=False),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        *flags,
        *(sa.Column(column, _NAME, nullable=True) for column in columns),
        sa.PrimaryKeyConstraint("project", "id"),
        sqlite_with_rowid=True,
    )
    op.create_index(f"ix_{name}_rank", name, ["project", "rank", "id"])
    for column in columns:
        op.create_index(f"ix_{name}_{column}", name, ["project", column, "rank", "id"])
    if true:
        where = sa.text(f"{true} = 1")
        indexes = {f"ix_{name}_{true}": ["rank", "id"]}
        indexes |= {f"ix_{name}_{column}_{true}": ["project", column, "rank", "id"] for column in columns}
        for index, keys in indexes.items():
            op.create_index(index, name, keys, sqlite_where=where, postgresql_where=where)
