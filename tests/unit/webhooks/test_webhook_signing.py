"""Secrets, signatures, and the example for receivers that docs/webhooks.md shows."""

import json
import time
from uuid import UUID

import pytest

from backend.workloads.webhooks import signing
from tests.webhook_receiver import verifying_example

KEY = "k" * 32
SALT = bytes(range(32))
UID = UUID("0b9c5c59-8c0f-4c35-a7a6-6c4f1a0f5f0e")
BODY = json.dumps({"id": str(UID), "type": "ping"}).encode()
SECRET = signing.secret_of(KEY, SALT)


def headers(*, at: float = 0.0, secret: str = SECRET, uid: UUID = UID) -> dict[str, str]:
    return dict(signing.headers(secret, int(time.time() + at), uid, "ping", BODY))


def test_the_signature_is_the_hmac_of_timestamp_id_and_body() -> None:
    # echo -n '1700000000.0b9c5c59-….{}' | openssl dgst -sha256 -hmac secret
    found = signing.signature("secret", 1_700_000_000, UID, b"{}")

    assert found == "v1=4af18dab18f828bb6d2ddc39f1a8c54135ff6a80e8ce9f07fe508a4126be5af9"


def test_what_was_signed_now_is_accepted() -> None:
    assert verifying_example()(SECRET, headers(), BODY) == {"id": str(UID), "type": "ping"}
    for edge in (-signing.WINDOW + 5, signing.WINDOW - 5):
        verifying_example()(SECRET, headers(at=edge), BODY)


@pytest.mark.parametrize("off", [-signing.WINDOW - 5, signing.WINDOW + 5])
def test_a_timestamp_outside_the_window_is_refused(off: float) -> None:
    with pytest.raises(ValueError, match="five minutes"):
        verifying_example()(SECRET, headers(at=off), BODY)


@pytest.mark.parametrize(
    ("changed", "body"),
    [
        ({}, BODY + b" "),
        ({signing.TIMESTAMP: str(int(time.time()) + 60)}, BODY),
        ({signing.ID: str(UUID(int=7))}, BODY),
        ({signing.SIGNATURE: "v1="}, BODY),
        ({signing.SIGNATURE: ""}, BODY),
    ],
)
def test_whatever_is_altered_is_refused(changed: dict[str, str], body: bytes) -> None:
    with pytest.raises(ValueError, match="signature"):
        verifying_example()(SECRET, {**headers(), **changed}, body)


def test_another_webhooks_secret_is_refused() -> None:
    other = signing.secret_of(KEY, bytes(32))

    with pytest.raises(ValueError, match="signature"):
        verifying_example()(SECRET, headers(secret=other), BODY)


def test_a_secret_follows_from_both_key_and_salt_and_its_check_tells_them_apart() -> None:
    secrets = {SECRET, signing.secret_of("j" * 32, SALT), signing.secret_of(KEY, bytes(32))}

    assert len(secrets) == 3
    assert len({signing.check_of(secret) for secret in secrets}) == 3
    assert signing.secret_of(KEY, SALT) == SECRET
    assert SALT.hex() not in SECRET
