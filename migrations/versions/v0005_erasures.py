"""Erasures, who has confirmed them, what signs their receipts; the deleted samples that a version has learned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("folder", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("removed", sa.JSON(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_erasures_tenant", "erasures", ["tenant_id", "requested_at", "id"])
    op.create_index("ix_erasures_folder", "erasures", ["folder", "completed_at"])
    op.create_table(
        "erasure_holders",
        sa.Column("erasure_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("where", sa.String(256), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["erasure_id"], ["erasures.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("erasure_id", "name"),
    )
    op.create_index("ix_erasure_holders_name", "erasure_holders", ["name", "state"])
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("private_pem", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    # In place: writing the table of versions anew would lock it for as long as it is large.
    op.add_column("versions", sa.Column("deleted_samples", sa.JSON()))


def downgrade() -> None:
    op.drop_column("versions", "deleted_samples")
    op.drop_table("signing_keys")
    op.drop_table("erasure_holders")
    op.drop_table("erasures")
    op.drop_table("processes")
