"""The times at which files are to be deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "file_deadlines",
        sa.Column("project", _NAME, nullable=False),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("pending", sa.SmallInteger),
        sa.PrimaryKeyConstraint("project", "id"),
        sqlite_with_rowid=True,
    )
    op.create_index("ix_file_deadlines_rank", "file_deadlines", ["project", "rank", "id"])
    pending = sa.text("pending = 1")
    op.create_index(
        "ix_file_deadlines_pending", "file_deadlines", ["rank", "id"], sqlite_where=pending, postgresql_where=pending
    )
