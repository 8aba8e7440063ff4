"""The request that caused a job, for logs and traces; tallies, figures that outlive the rows they were taken from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("label", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", "label"),
    )
    # In place: writing the table of jobs anew would take their steps with it.
    op.add_column("jobs", sa.Column("request_id", sa.String(64)))
    op.add_column("jobs", sa.Column("trace", sa.String(64)))


def downgrade() -> None:
    op.drop_column("jobs", "trace")
    op.drop_column("jobs", "request_id")
    op.drop_table("tallies")
