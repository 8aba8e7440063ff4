"""What clients see of an erasure. Knows no HTTP."""

from __future__ import annotations

from sqlmodel import Session

from app.erasure_tables import Erasure
from app.forgetting.receipts import user_digest
from app.repositories import erasures
from app.schemas.erasures import ErasureOut, HolderOut, Removed


def erasure_out(session: Session, erasure: Erasure) -> ErasureOut:
    """The erasure as it stands, with everybody it waits or waited for."""
    return ErasureOut(
        id=erasure.id,
        kind=erasure.kind,
        user_digest=user_digest(erasure),
        state="complete" if erasure.completed_at else "erasing",
        removed=Removed.model_validate(erasure.removed),
        requested_at=erasure.requested_at,
        completed_at=erasure.completed_at,
        holders=[
            HolderOut.model_validate(holder, from_attributes=True) for holder in erasures.holders(session, erasure)
        ],
        receipt=erasure.receipt,
    )
