"""The rules of projects and of the organization, and their spend alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _table("rules")
    _table("spend_alerts", "project_id")


def _table(name: str, *columns: str) -> None:
    op.create_table(
        name,
        sa.Column("project", _NAME, nullable=False),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        *(sa.Column(column, _NAME, nullable=True) for column in columns),
        sa.PrimaryKeyConstraint("project", "id"),
        sqlite_with_rowid=True,
    )
    op.create_index(f"ix_{name}_rank", name, ["project", "rank", "id"])
    for column in columns:
        op.create_index(f"ix_{name}_{column}", name, ["project", column, "rank", "id"])
