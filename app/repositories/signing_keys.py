"""Keys that receipts are signed with. They belong to the service, not to a tenant, and are never changed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from app.erasure_tables import SigningKey


def newest(session: Session) -> SigningKey | None:
    """The key that signs; None before the first."""
    return session.exec(select(SigningKey).order_by(col(SigningKey.created_at).desc())).first()


def add(session: Session, key_id: str, private_pem: str) -> SigningKey:
    """Keep a new key."""
    key = SigningKey(id=key_id, private_pem=private_pem)
    session.add(key)
    session.flush()
    return key


def all_keys(session: Session) -> Sequence[SigningKey]:
    """Every key there ever was, newest first."""
    return session.exec(select(SigningKey).order_by(col(SigningKey.created_at).desc())).all()
