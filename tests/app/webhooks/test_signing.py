"""Signatures: those of the standard, which its own library checks, and both of them while a secret is replaced."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from app.database import Database
from app.tables import now
from app.webhooks import managing
from app.webhooks.signing import new_secret, signed_headers
from tests.app.webhooks.helpers import DEED, add_webhook, end_job, let_pass, send, sender
from tests.support.receiver import Receiver

BODY = '{"test": 2432232314}'
VECTOR = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    """The vector that the standard's libraries test themselves by."""
    moment = datetime.fromtimestamp(1614265330, UTC)
    assert signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", moment, BODY, [VECTOR]) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_an_id_a_time_or_a_body_that_was_changed_is_not_what_was_signed() -> None:
    secret = new_secret()
    headers = signed_headers("msg_1", now(), BODY, [secret])
    assert Verifier(secret).verify(BODY, headers) == {"test": 2432232314}
    for name, value in (("webhook-id", "msg_2"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA")):
        with pytest.raises(WebhookVerificationError):
            Verifier(secret).verify(BODY, headers | {name: value})
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(BODY.replace("2", "3"), headers)


def test_secrets_are_long_random_and_never_the_same() -> None:
    secrets = {new_secret() for _ in range(50)}
    assert len(secrets) == 50
    for secret in secrets:
        assert secret.startswith("whsec_")
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


def test_after_a_rotation_both_secrets_sign_until_the_time_of_grace_is_over(
    database: Database, receiving: Receiver
) -> None:
    first = add_webhook(database, receiving)
    second = managing.rotate(database, DEED, first.id, timedelta(hours=1))
    end_job(database)
    send(sender(database))
    request = receiving.requests[-1]
    assert len(request.headers["webhook-signature"].split()) == 2
    for secret in (first.secret, second.secret):
        Verifier(secret).verify(request.body, request.headers)

    with database.write() as session:
        session.add(second)
        second.previous_until = now() - timedelta(seconds=1)
    end_job(database)
    send(sender(database))
    request = receiving.requests[-1]
    Verifier(second.secret).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(first.secret).verify(request.body, request.headers)


def test_after_a_leak_the_old_secret_signs_nothing_more_and_is_not_kept(
    database: Database, receiving: Receiver
) -> None:
    first = add_webhook(database, receiving)
    receiving.answers = [500]
    end_job(database)
    send(sender(database))
    second = managing.rotate(database, DEED, first.id, timedelta(0))
    assert (second.previous_secret, second.previous_until) == (None, None)
    # What was signed with the old one before is signed with the new one when it is tried again.
    let_pass(database)
    send(sender(database))
    before, after = receiving.requests
    assert before.id == after.id
    with pytest.raises(WebhookVerificationError):
        Verifier(first.secret).verify(after.body, after.headers)
    Verifier(second.secret).verify(after.body, after.headers)
