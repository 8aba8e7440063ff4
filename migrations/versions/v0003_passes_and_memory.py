"""Versions that are asked with the memory prompt; how many passes a search chose; no stacks of trials are kept.

A winner is trained anew before it is published, so the store holds published versions only.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("with_memory", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("passes", sa.Integer()))
    op.drop_column("trials", "artifact")


def downgrade() -> None:
    op.add_column("trials", sa.Column("artifact", sa.String(512)))
    op.drop_column("jobs", "passes")
    op.drop_column("versions", "with_memory")
