"""The audit log: its chain of rows and the chain's end, checkpoints, and what sinks have been sent."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ZEROS = {"sqlite": "zeroblob(32)", "postgresql": "decode(repeat('00', 32), 'hex')"}
_FOUND_BY = ("project_id", "key_id", "actor_id", "actor_email", "resource_id")


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("type", _NAME, nullable=False),
        sa.Column("effective_at", sa.BigInteger, nullable=False),
        *(sa.Column(name, _NAME, nullable=False) for name in _FOUND_BY),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_audit_events_id", "audit_events", ["id"], unique=True)
    for name in ("type", "effective_at", *_FOUND_BY):
        op.create_index(f"ix_audit_events_{name}", "audit_events", [name, "seq"])
    op.create_table(
        "audit_heads",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    zeros = _ZEROS[op.get_context().dialect.name]
    op.execute(f"INSERT INTO audit_heads (id, seq, hash) VALUES (1, 0, {zeros})")
    op.create_table(
        "audit_checkpoints",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", _NAME, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("key", _NAME, primary_key=True),
        sa.Column("signature", _NAME, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_sinks",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("holder", _NAME, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
