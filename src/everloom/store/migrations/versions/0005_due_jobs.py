"""Jobs that nobody is to look at before their time."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("outbox", sa.Column("due", sa.BigInteger, nullable=False, server_default="0"))
