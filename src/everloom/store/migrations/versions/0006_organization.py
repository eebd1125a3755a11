"""The organization: users, invites, members and service accounts of projects; keys with ids of their own.

Projects get the column that tells the archived ones, keys one for the hash of their secret, which was their id. Keys
that stood become those of the organization's first owner, whom the next start makes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

_FIRST_OWNER = "user-owner"

_RANDOM = {
    "sqlite": "lower(hex(randomblob(12)))",
    "postgresql": "substr(md5(random()::text || clock_timestamp()::text || id), 1, 24)",
}
"""24 digits, others for each row."""

_BODY = {
    "sqlite": "CAST(json_set(json_remove(CAST(body AS TEXT), '$.scope'), '$.id', id, '$.secret_hash', secret_hash,"
    " '$.project_id', project_id, '$.owner_id', owner_id) AS BLOB)",
    "postgresql": "convert_to(((convert_from(body, 'UTF8')::jsonb - 'scope') || jsonb_build_object('id', id,"
    " 'secret_hash', secret_hash, 'project_id', project_id, 'owner_id', owner_id))::text, 'UTF8')",
}


def upgrade() -> None:
    _table("organizations")
    _table("users", "email", "role")
    _table("invites")
    _table("organization_projects", "name", "status")
    _table("project_users", "project_id", "user_id")
    _table("service_accounts", "project_id")
    _table("api_keys", "secret_hash", "project_id", "owner_id")
    op.execute(
        "INSERT INTO organization_projects (project, id, rank, body, name, status)"
        " SELECT project, id, rank, body, name, 'active' FROM projects"
    )
    dialect = op.get_context().dialect.name
    # In two steps: a random text that is named twice in one statement may be made twice.
    op.execute(
        "INSERT INTO api_keys (project, id, rank, body, secret_hash, project_id, owner_id)"
        f" SELECT project, 'key_' || {_RANDOM[dialect]}, rank, body, id, COALESCE(project_id, ''), '{_FIRST_OWNER}'"
        " FROM key_hashes"
    )
    op.execute(f"UPDATE api_keys SET body = {_BODY[dialect]}")
    op.drop_table("projects")
    op.drop_table("key_hashes")


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
