"""Images of entries, and the state of drift tests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("entries", sa.Column("image", sa.LargeBinary()))
    op.create_table(
        "drift",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("version", sa.String(), primary_key=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed", sa.DateTime()),
    )


def downgrade() -> None:
    op.drop_table("drift")
    op.drop_column("entries", "image")
