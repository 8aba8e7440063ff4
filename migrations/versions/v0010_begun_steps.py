"""An index of the waiting steps of jobs that have begun: they are looked for first, among thousands that begin one."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BEGUN = text("state = 'ready' AND (kind != 'plan' OR round != 0)")


def upgrade() -> None:
    op.create_index("ix_steps_begun", "steps", ["state", "send_after"], sqlite_where=_BEGUN, postgresql_where=_BEGUN)


def downgrade() -> None:
    op.drop_index("ix_steps_begun", "steps")
