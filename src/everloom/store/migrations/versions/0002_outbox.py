"""The outbox: jobs stand in it from the write that starts them until they are done.

What was under way under an earlier program is looked at again: its jobs stood in the engine's own tables.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", _NAME, primary_key=True),
        *(sa.Column(name, _NAME, nullable=False) for name in ("project", "kind", "key", "lane")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_outbox_lane", "outbox", ["lane", "id"])
    # Ids of their own make, which sort before all that ``new_id`` gives.
    op.execute(
        "INSERT INTO outbox (id, project, kind, key, lane)"
        " SELECT 'job_0' || project || id, project, 'run', id, 'live' FROM runs WHERE active = 1"
    )
    op.execute(
        "INSERT INTO outbox (id, project, kind, key, lane)"
        " SELECT 'job_0' || project || job, project, 'ingest', job, 'background' FROM index_tasks GROUP BY project, job"
    )
