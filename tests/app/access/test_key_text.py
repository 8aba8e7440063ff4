"""What a key looks like, and that no secret can be read off what is kept of it."""

from __future__ import annotations

import pytest

from app.access.key_text import is_secret_of, key_text, new_secret, parsed, secret_digest, without_secrets
from app.tables import new_id

SECRET = "5e" * 32


def test_a_key_is_its_id_and_its_secret_and_is_taken_apart_again() -> None:
    key_id, secret = new_id("key"), new_secret()
    text = key_text(key_id, secret)
    assert text.startswith("milp_")
    assert parsed(text) == (key_id, secret)


@pytest.mark.parametrize(
    "text", ["", "milp_", f"milp_{'a' * 24}", f"milp_{'A' * 24}_{SECRET}", f"sk_{'a' * 24}_{SECRET}"]
)
def test_any_other_text_is_no_key(text: str) -> None:
    assert parsed(text) is None
    assert parsed(f"milp_{'a' * 24}_{SECRET}{text or 'x'}") is None


def test_secrets_are_256_random_bits() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(bytes.fromhex(secret)) * 8 for secret in secrets} == {256}


def test_a_secret_is_known_by_its_digest_alone() -> None:
    digest = secret_digest(SECRET)
    assert SECRET not in digest
    assert is_secret_of(SECRET, digest)
    assert not is_secret_of(SECRET[:-1] + "f", digest)
    assert not is_secret_of(SECRET, None)


def test_a_key_in_a_text_is_cut_to_its_id() -> None:
    text = f'{{"path": "/v1/milp_{"0" * 24}_{SECRET}", "other": "milp_{"1" * 24}_{SECRET}!"}}'
    shown = without_secrets(text)
    assert SECRET not in shown
    assert f"/v1/milp_{'0' * 24}_…" in shown
    assert f"milp_{'1' * 24}_…!" in shown
