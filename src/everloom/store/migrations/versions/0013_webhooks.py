"""Webhook endpoints, what the server knows of them, and what is to be delivered to them."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _table("webhook_endpoints")
    _table("webhook_states")
    _table("webhook_deliveries", "endpoint_id")


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
