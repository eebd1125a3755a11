"""Postings, by which objects are found by their metadata and by the files they name; and indexes for lists and sweeps
that read more than they needed. Whoever migrates posts what stands already (``store/postings.py``).
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "postings",
        sa.Column("term", sa.LargeBinary, primary_key=True),
        sa.Column("rank", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", _NAME, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_blob_drafts_all", "blob_drafts", ["rank", "id"])
    op.create_index("ix_index_tasks_all", "index_tasks", ["rank", "id"])
    op.drop_index("ix_vector_store_files_status")
    columns = ["project", "vector_store_id", "status", "rank", "id"]
    op.create_index("ix_vector_store_files_vector_store_id_status", "vector_store_files", columns)
    _flag("vector_store_files", "open", "status = 'in_progress'", "vector_store_id", "file_id")
    _flag("fine_tuning_jobs", "running", "status = 'running'", "status")


def _flag(table: str, name: str, when: str, *columns: str) -> None:
    """A boolean column that is true ``when``, with the indexes of its rows."""
    op.add_column(table, sa.Column(name, sa.SmallInteger, nullable=True))
    op.execute(f"UPDATE {table} SET {name} = 1 WHERE {when}")
    where = sa.text(f"{name} = 1")
    indexes = {f"ix_{table}_{name}": ["rank", "id"]}
    indexes |= {f"ix_{table}_{column}_{name}": ["project", column, "rank", "id"] for column in columns}
    for index, keys in indexes.items():
        op.create_index(index, table, keys, sqlite_where=where, postgresql_where=where)
