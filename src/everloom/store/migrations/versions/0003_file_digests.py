"""Digests of files, by which is known whether their bytes are still those that were kept."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "file_digests",
        sa.Column("project", _NAME, nullable=False),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("project", "id"),
    )
    op.create_index("ix_file_digests_rank", "file_digests", ["project", "rank", "id"])
