"""The tables of the first release: the Assistants family, files, uploads, images, vector stores, projects and keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _table("assistants")
    _table("assistant_files", "assistant_id", "file_id")
    _table("threads")
    _table("messages", "thread_id", "run_id")
    _table("runs", "thread_id", true="active")
    _table("run_steps", "run_id", beside="run_id")
    _table("run_leases", "holder")
    _table("generations", "run_id")
    _table("tool_works", "run_id")
    _table("files", "purpose")
    _table("blob_drafts")
    _table("uploads")
    _table("upload_tallies", true="open")
    _table("upload_parts", "upload_id")
    _table("generated_images")
    _table("vector_stores", true="mortal")
    _table("store_models")
    _table("vector_store_files", "vector_store_id", "file_id", "status")
    _table("file_batches", "vector_store_id")
    _table("file_batch_members", "batch_id", "file_id", "vector_store_id")
    _table("index_tasks", "job", "vector_store_id", "file_id")
    _table("stored_completions", "model")
    _table("stored_prompts")
    _table("projects", "name")
    _table("key_hashes", "scope", "project_id")
    op.create_table(
        "events",
        sa.Column("project", _NAME, primary_key=True),
        sa.Column("log", _NAME, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


def _table(name: str, *columns: str, true: str | None = None, beside: str | None = None) -> None:
    """A kind's table as ``schema.py`` drew it at this revision: text columns, and one boolean at most."""
    op.create_table(
        name,
        sa.Column("project", _NAME, nullable=False),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        *(sa.Column(column, _NAME, nullable=column != beside) for column in columns),
        *([sa.Column(true, sa.SmallInteger)] if true else []),
        sa.PrimaryKeyConstraint(*(["project", beside, "rank", "id"] if beside else ["project", "id"])),
        sqlite_with_rowid=not beside,
    )
    op.create_index(f"ix_{name}_rank", name, ["project", "rank", "id"])
    if beside:
        op.create_index(f"ix_{name}_id", name, ["project", "id"], unique=True)
    for column in columns:
        if column != beside:
            op.create_index(f"ix_{name}_{column}", name, ["project", column, "rank", "id"])
    if true:
        where = sa.text(f"{true} = 1")
        indexes = {f"ix_{name}_{true}": ["rank", "id"]}
        indexes |= {f"ix_{name}_{column}_{true}": ["project", column, "rank", "id"] for column in columns}
        for index, keys in indexes.items():
            op.create_index(index, name, keys, sqlite_where=where, postgresql_where=where)
