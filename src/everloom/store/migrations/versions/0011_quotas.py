"""What processes have taken of rate limits and budgets, and have reserved."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    for table in ("rate_windows", "spends", "server_processes"):
        _table(table)
    _table("reservations", "process_id")


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
