"""What the official libraries signed and judged, replayed; and the two sides signing for each other, live."""

import time
from datetime import UTC, datetime

import pytest
import standardwebhooks
import stripe

from services.errors import NotVerified
from services.models import Delivery
from services.signatures.catalogue import STANDARD_WEBHOOKS, STRIPE
from services.signatures.scheme import Scheme
from tests.vectors.cases import Case, read_cases, read_request

CASES = [
    pytest.param(folder, scheme, case, id=f"{folder}-{case.name}")
    for folder, scheme in (("stripe", STRIPE), ("standardwebhooks", STANDARD_WEBHOOKS))
    for case in read_cases(folder)
]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"id":"evt_1","text":"Zürich"}'


@pytest.mark.parametrize(("folder", "scheme", "case"), CASES)
def test_each_vector_gets_its_verdict(folder: str, scheme: Scheme, case: Case) -> None:
    request = read_request(folder, case)
    if case.verdict == "verified":
        scheme.verify(request, case.secrets, case.at)
    else:
        with pytest.raises(NotVerified) as refused:
            scheme.verify(request, case.secrets, case.at)
        assert refused.value.reason == case.verdict


@pytest.mark.parametrize(
    ("folder", "count"), [("stripe", 27), ("standardwebhooks", 28)], ids=["stripe", "standardwebhooks"]
)
def test_no_vector_is_lost(folder: str, count: int) -> None:
    assert len(read_cases(folder)) == count


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
