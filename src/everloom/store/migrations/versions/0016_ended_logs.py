"""Runs whose logs are to be compacted: at first all that have ended."""

import sqlalchemy as sa
from alembic import context, op

revision = "0016"
down_revision = "0015"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

_BODY = {
    "sqlite": "CAST(json_object('id', id, 'created_at', 0, 'waiting', json('true')) AS BLOB)",
    "postgresql": "convert_to(jsonb_build_object('id', id, 'created_at', 0, 'waiting', true)::text, 'UTF8')",
}


def upgrade() -> None:
    op.create_table(
        "ended_logs",
        sa.Column("project", _NAME, nullable=False),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("waiting", sa.SmallInteger, nullable=True),
        sa.PrimaryKeyConstraint("project", "id"),
        sqlite_with_rowid=True,
    )
    body = _BODY[context.get_context().dialect.name]
    op.execute(
        "INSERT INTO ended_logs (project, id, rank, body, waiting)"
        f" SELECT project, id, rank, {body}, 1 FROM runs WHERE active = 0"
    )
    op.create_index("ix_ended_logs_rank", "ended_logs", ["project", "rank", "id"])
    where = sa.text("waiting = 1")
    op.create_index("ix_ended_logs_waiting", "ended_logs", ["rank", "id"], sqlite_where=where, postgresql_where=where)
