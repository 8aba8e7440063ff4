"""How long a job was paused, which does not count for its `max_seconds`.

Columns are added and dropped in place: writing the table anew, as batch mode does, would take the jobs' steps with it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("paused_at", sa.DateTime(timezone=True)))
    op.add_column("jobs", sa.Column("paused_seconds", sa.Float(), nullable=False, server_default=sa.text("0")))
    # A job that is paused now has been so since it was last told to.
    op.execute(
        "UPDATE jobs SET paused_at = "
        "(SELECT max(created_at) FROM events WHERE events.job_id = jobs.id AND events.kind = 'status') "
        "WHERE status = 'paused'"
    )


def downgrade() -> None:
    op.drop_column("jobs", "paused_seconds")
    op.drop_column("jobs", "paused_at")
