"""Which folders of the store a step was about to write, so that what a killed worker left is found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # In place: writing the table anew would take the trials with it.
    op.add_column("steps", sa.Column("leaves", sa.JSON()))


def downgrade() -> None:
    op.drop_column("steps", "leaves")
