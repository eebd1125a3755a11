"""The ledger of what was used, its sums by hour and day, and the code interpreter's sessions."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_DIMENSIONS = ("kind", "model", "project", "key_id", "user_id", "batch", "estimated", "size", "source")
_FLAGS = ("batch", "estimated")
_MEASURES = (
    *("requests", "input_tokens", "cached_tokens", "output_tokens", "input_audio_tokens", "output_audio_tokens"),
    *("images", "characters", "milliseconds", "bytes"),
)


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        *_columns(),
        sa.Column("rolled", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    fresh = sa.text("rolled = 0")
    op.create_index("ix_ledger_fresh", "ledger", ["at"], sqlite_where=fresh, postgresql_where=fresh)
    op.create_table(
        "ledger_sums",
        sa.Column("width", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        *_columns(),
        sa.PrimaryKeyConstraint("width", "at", *_DIMENSIONS),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "code_sessions",
        sa.Column("project", _NAME, nullable=False),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("project", "id"),
    )
    op.create_index("ix_code_sessions_rank", "code_sessions", ["project", "rank", "id"])


def _columns() -> Iterator[sa.Column[Any]]:
    for name in _DIMENSIONS:
        yield sa.Column(name, sa.SmallInteger if name in _FLAGS else _NAME, nullable=False)
    for name in _MEASURES:
        yield sa.Column(name, sa.BigInteger, nullable=False)
