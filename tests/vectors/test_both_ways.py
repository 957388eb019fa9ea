"""Two official libraries and ours, signing for each other, at the present time."""

import time
from datetime import UTC, datetime

import standardwebhooks
import stripe

from services.models import Delivery
from services.signatures.catalogue import STANDARD_WEBHOOKS, STRIPE

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"id":"evt_1","text":"Zürich"}'


def unsigned(now: datetime, **headers: str) -> Delivery:
    return Delivery(
        method="POST", url="https://x.example/", headers=headers, body=BODY.encode(), received_at=now
    )


def test_the_stripe_library_accepts_what_we_sign() -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    signed = STRIPE.sign(unsigned(now), SECRET, now)
    assert stripe.WebhookSignature.verify_header(BODY, signed.headers["stripe-signature"], SECRET, 300)


def test_we_accept_what_the_stripe_library_signs() -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    header = stripe.WebhookSignature.generate_signature_header(BODY, SECRET)
    STRIPE.verify(unsigned(now, **{"stripe-signature": header}), [SECRET], now)


def test_the_standardwebhooks_library_accepts_what_we_sign() -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    signed = STANDARD_WEBHOOKS.sign(unsigned(now, **{"webhook-id": "msg_1"}), SECRET, now)
    assert standardwebhooks.Webhook(SECRET).verify(BODY, dict(signed.headers)) == {
        "id": "evt_1",
        "text": "Zürich",
    }


def test_we_accept_what_the_standardwebhooks_library_signs() -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    signature = standardwebhooks.Webhook(SECRET).sign("msg_1", now, BODY)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    STANDARD_WEBHOOKS.verify(unsigned(now, **headers), [SECRET], now)
