"""How a delivery is signed, after Standard Webhooks 1.0 (standardwebhooks.com): HMAC-SHA256 of id, time and body.

Pure: knows no database and no HTTP.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook as Signer

_SECRET_BYTES = 32
"""The standard asks for 24 to 64."""


def new_secret() -> str:
    """`whsec_` and base64, as the standard's libraries take it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def signed_headers(delivery_id: str, moment: datetime, body: str, signers: Sequence[str]) -> dict[str, str]:
    """The three headers of one attempt.

    Args:
        moment: when the attempt is made, aware UTC.
        signers: secrets, each of which signs: whoever knows one of them can tell that the body is ours.
    """
    signatures = [Signer(secret).sign(delivery_id, moment, body) for secret in signers]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
