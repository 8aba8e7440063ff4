"""Receipts of erasures: JSON Web Signatures (RFC 7515, EdDSA with Ed25519) that anyone can verify with the public keys.

The keys lie in the database, for all API processes sign with the same: a receipt proves that this service said so, to
everybody but those who can write its database.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from sqlmodel import Session

from app.erasure_tables import Erasure, SigningKey
from app.repositories import erasures, signing_keys

_ISSUER = "milp-serve"


def signed(session: Session, erasure: Erasure) -> str:
    """The receipt of an erasure as it stands. The key is made with the first."""
    at = erasure.completed_at or erasure.requested_at
    key = signing_keys.newest(session) or signing_keys.add(session, *_new_key())
    claims = {
        "iss": _ISSUER,
        "jti": erasure.id,
        "iat": int(at.timestamp()),
        "sub": user_digest(erasure),
        "tenant": erasure.tenant_id,
        "kind": erasure.kind.value,
        "removed": erasure.removed,
        "requested_at": erasure.requested_at.isoformat(),
        "completed_at": erasure.completed_at.isoformat() if erasure.completed_at else None,
        "holders": {holder.name: holder.state.value for holder in erasures.holders(session, erasure)},
    }
    return jwt.encode(claims, key.private_pem, algorithm="EdDSA", headers={"kid": key.id})


def public_keys(session: Session) -> list[dict[str, Any]]:
    """The keys that receipts verify with, as JSON Web Keys (RFC 7517, 8037)."""
    return [{**_public_key(key), "kid": key.id, "use": "sig", "alg": "EdDSA"} for key in signing_keys.all_keys(session)]


def user_digest(erasure: Erasure) -> str:
    """What stands for the user: see `adapters_store.layout.user_digest`."""
    return erasure.folder.rpartition("/")[2]


def _new_key() -> tuple[str, str]:
    """(id, PEM) of a new private key; the id is the beginning of its public key's digest."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return hashlib.sha256(public).hexdigest()[:16], pem.decode()


def _public_key(key: SigningKey) -> dict[str, Any]:
    private = serialization.load_pem_private_key(key.private_pem.encode(), password=None)
    assert isinstance(private, Ed25519PrivateKey)  # noqa: S101 - for the type checker
    found: dict[str, Any] = json.loads(OKPAlgorithm.to_jwk(private.public_key()))
    return found
